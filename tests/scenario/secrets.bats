#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Where secrets must not be: after 1,000 enrollments and keys made for devices in every form the memory of the live processes, the logs, the ledger and its replica, a
# backup and core files are searched for PINs, enrollment secrets and private keys in every form they could have. The same search
# finds a canary planted in each of these places. The CA keys are the real ones, taken out of SoftHSM's files with the PIN.
load ../lib/instance
load ../lib/fault
load ../lib/factory

setup_file() {
    [ "$(id -u)" -eq 0 ] || return 0
    side_dir
    # Released programs where there are any: a sanitizer keeps freed memory for a while on purpose.
    cp -r "${INKAN_RELEASE:-$(dirname "$INKAN_PROGRAMS")}/bin" "$side/bin"
    cp "$INKAN_PROGRAMS/mkcsr" "$side/bin/"
    chmod -R a+rX "$side/bin"
    ulimit -c unlimited
    key_labels
    INKAN_PROGRAMS=$side/bin instance_up fronts=2 "extra_profiles=$extra_profiles" "extra_labels=$extra_labels"
    group_secret 'hush-*'
    spend_secrets
    make_keys
    make_unit_secret
    list_secrets
}
teardown_file() {
    instance_down
    side_dir_remove
}
setup() {
    [ "$(id -u)" -eq 0 ] || skip "needs root to read other processes' memory"
    fault_load
}

# 1,000 enrollments: with the group's secret, 20 with secrets of single devices, 5 wrong ones.
spend_secrets() {
    local i made
    enroll_many hush-g 980 "$side/issued" > "$side/load"
    [ "$(jq .issued "$side/load")" = 980 ]
    for i in $(seq 20); do
        inkan device add "hush-d$i" --domain example > /dev/null
        made=$(inkan secret add --device "hush-d$i" --json)
        jq -r .secret <<< "$made" >> "$side/device-secrets"
        new_csr "hush-d$i" "/CN=hush-d$i"
        [ "$(est_enroll "hush-d$i" -u "$(jq -r .user <<< "$made"):$(jq -r .secret <<< "$made")")" = 200 ]
    done
    for i in 1 2 3 4 5; do
        echo "wrong-secret-$i-$RANDOM$RANDOM" >> "$side/device-secrets"
        [ "$(est_enroll "hush-d$i" -u "hush-d$i:$(tail -n 1 "$side/device-secrets")")" = 401 ]
    done
}

made_by="service-p256 service-p384 service-ed25519 service-rsa2048 token-p256 token-rsa2048"

# Profiles and labels that make keys (RFC 7030 4.4).
key_labels() {
    local by
    for by in $made_by; do
        extra_profiles+="  - {name: $by, kind: ldevid, ca: fleet-ca, keygen: ${by%-*}, keygen_key: ${by#*-}, keygen_clear: true}
"
        extra_labels+="  - {name: $by, domain: example, profile: $by}
"
    done
}

# Keys of each kind, sent in clear and sealed for a key shared beforehand; $side/made lists them.
make_keys() {
    local by n form kek
    keygen() { /usr/bin/python3 "$source_dir/tests/lib/keygen.py" "$@"; }
    kek=$(inkan kek add 6b656b --json | jq -r .key)
    cat "$dir/maker-ca.pem" "$dir/maker-root.pem" > "$dir/maker.pem"
    (umask 077 && openssl rand -hex 32 > "$side/kek")
    inkan kek add 6b656c --key-file "$side/kek" > /dev/null
    { echo "kek $kek"; echo "kek-given $(cat "$side/kek")"; } > "$side/made"
    for by in $made_by; do
        for n in 1 2; do
            form=$([ "$n" = 1 ] || echo "kek=6b656b cap=aes256-wrap")
            # shellcheck disable=SC2086
            keygen csr "$side/csr" "hush-$by-$n" $form
            [ "$(est "$by/serverkeygen" -H 'Content-Type: application/pkcs10' --data-binary "@$side/csr" -u "$user:$secret")" = 200 ] || { cat "$dir/body"; return 1; }
            keygen split "$dir/body" "$dir/headers" "$side"
            [ "$n" = 1 ] || keygen open "$side/key.der" "$side/key.der" "$dir/maker.pem" kek="$kek" id=6b656b
            keygen secrets "$side/key.der" | sed "s/^made-0/made-$by-$n/" >> "$side/made"
        done
    done
    rm -f "$side/key.der" "$dir/body"
}

# The secret of a unit, sealed for the customer of its order.
make_unit_secret() {
    station_add issue-1 issue
    order_open WO-1 "$(customer_key owner)"
    [ "$(unit_issue issue-1 WO-1 WO-1-00000001)" = 200 ]
    [ "$(unit_post issue-1 WO-1 WO-1-00000001 secret)" = 200 ]
    echo "unit-secret $(body .secret)" >> "$side/made"
    rm "$dir/body"
}

hex_of() { xxd -p | tr -d '\n'; }

# list_secrets: $side/hidden, what nobody but a signer may hold, and $side/server-keys, what a front holds besides
list_secrets() {
    local token i=0
    {
        for token in maker-root fleet-root issuing ocsp; do
            echo "pin-$token $(tr -d '\n' < "$dir/pin/$token" | hex_of)"
            echo "so-pin-$token $(tr -d '\n' < "$dir/pin/$token.so" | hex_of)"
            python3 "$source_dir/tests/lib/softhsm_keys.py" "$dir/tokens" "inkan-$token" "$dir/pin/$token"
        done
        echo "group-secret $(printf %s "$secret" | hex_of)"
        while read -r text; do
            i=$((i + 1))
            echo "device-secret-$i $(printf %s "$text" | hex_of)"
        done < "$side/device-secrets"
        cat "$side/made"
        echo "canary $(head -c 24 /dev/urandom | hex_of)"
    } > "$side/hidden"
    for i in 0 1; do
        # The scalar is the octet string at the start of ECPrivateKey (RFC 5915).
        echo "server-key-$i $(openssl ec -in "$dir/state/tls/front-$i.key" -outform DER 2> /dev/null | xxd -p -s 7 -l 32 | tr -d '\n')"
    done > "$side/server-keys"
    cat "$side/hidden" "$side/server-keys" > "$side/all"
}

search() { python3 "$source_dir/tests/lib/secret_search.py" "$@"; }

canary() { sed -n 's/^canary //p' "$side/hidden"; }

# finds_canary PLACE...: the search finds it, and nothing else
finds_canary() {
    run search "$side/all" "$@"
    echo "$output"
    [ "$status" -eq 1 ]
    [ "$(grep -v '^searched' <<< "$output" | grep -vc ': canary (')" = 0 ]
}

@test "1,000 certificates were issued and the lists hold every kind of secret" {
    [ "$(ledger_query "SELECT COUNT(*) FROM cert WHERE profile = 'ldevid'")" = 1000 ]
    for kind in pin so-pin inkan-issuing-key inkan-fleet-root-key inkan-ocsp-key group-secret device-secret-20 device-secret-25 kek kek-given unit-secret made-service-p256-2 made-service-ed25519-2-seed made-service-rsa2048-1-prime1 \
        made-token-p256-1 made-token-rsa2048-2-private; do
        grep -q "^$kind" "$side/hidden"
    done
    [ "$(awk 'length($2) < 16' "$side/all" | wc -l)" = 0 ]
}

@test "each form of a secret is found in a file" {
    at=$BATS_TEST_TMPDIR/file
    forms() {
        python3 - "$(canary)" "$1" <<'PY'
import base64, sys, urllib.parse
value, form = bytes.fromhex(sys.argv[1]), sys.argv[2]
texts = {"raw": value, "reversed": value[::-1], "hex": value.hex().encode(), "HEX": value.hex().upper().encode()}
for n in range(3):
    texts[f"base64-{n}"] = base64.b64encode(b"user:"[:n] + value + b"end")
    texts[f"base64url-{n}"] = base64.urlsafe_b64encode(b"user:"[:n] + value + b"end")
texts["lines"] = b"\n".join(texts["base64-1"][i:i + 13] for i in range(0, 40, 13)) + b"\n"
texts["percent"] = urllib.parse.quote_from_bytes(value, safe="").encode()
sys.stdout.buffer.write(b"\0before " + texts[form] + b" behind")
PY
    }
    for form in raw reversed hex HEX base64-0 base64-1 base64-2 base64url-0 base64url-1 base64url-2 lines percent; do
        forms $form > "$at"
        no search "$side/all" "$at"
    done
    # One octet less is another secret; a place across the borders of what is read at once is one place.
    forms raw | sed 's/behind//' | head -c 30 > "$at"
    search "$side/all" "$at"
    { head -c $(((16 << 20) - 20)) /dev/zero; forms raw; } > "$at"
    no search "$side/all" "$at"
}

@test "no process but a signer holds a PIN, an enrollment secret or a private key; the server's key is in its front alone" {
    search "$side/all" "pid:$(pid_of inkand)" "pid:$(pid_of status)" "pid:$(pid_of core)"
    search "$side/hidden" "pid:$(pid_of front-0)" "pid:$(pid_of front-1)"
    grep -v server-key-0 "$side/server-keys" > "$side/foreign"
    search "$side/foreign" "pid:$(pid_of front-0)"
}

@test "the signers hold no PIN after the login, and no enrollment secret" {
    grep -vE '^inkan-' "$side/hidden" > "$side/not-keys"
    search "$side/not-keys" "pid:$(pid_of signer-issuing)" "pid:$(pid_of signer-ocsp)"
}

@test "logs, ledger, replica, marks, published files and a backup hold none" {
    inkan backup --out "$side/backup" > /dev/null
    [ -s "$side/backup" ]
    search "$side/all" "$dir/log" "$dir/state/ledger" "$dir/state/status" "$dir/state/crl" "$dir/state/pin" "$dir/marks" "$dir/run" "$side/backup"
}

@test "a process that crashes leaves no core file" {
    touch "$side/before"
    for process in front-0 status core signer-issuing; do
        pid=$(pid_of "$process")
        kill -SEGV "$pid"
        waits_for 60 sh -c "grep 'event=process-ended' '$dir/log/inkan.log' | grep 'process=$process ' | grep -q 'pid=$pid .*signal=11'"
        waits_for 60 health_is_ready
    done
    # The processes stand in the root directory; no other directory of theirs has one either.
    dumps() { find "$@" -type f \( -name core -o -name 'core.[0-9]*' \) -newer "$side/before"; }
    run echo "$(dumps / -maxdepth 1)" "$(dumps "$dir" "$side")"
    echo "$output"
    [ -z "${output// /}" ]
}

@test "a canary in the memory of each process is found by the same search" {
    for process in inkand core status front-0 front-1 signer-issuing signer-ocsp; do
        pid=$(pid_of "$process")
        at=$(search --plant "$pid" "$(canary)")
        case $process in
            front-*) list=$side/hidden ;;
            signer-*) grep -vE '^inkan-' "$side/hidden" > "$side/not-keys"; list=$side/not-keys ;;
            *) list=$side/all ;;
        esac
        run search "$list" "pid:$pid"
        search --wipe "$pid" "$at" 24
        echo "$output"
        [ "$status" -eq 1 ]
        [[ $output == *"[stack]: canary (as it is)"* ]]
        search "$list" "pid:$pid"
    done
}

@test "a server's key in its own front's memory is found, so the search sees keys as OpenSSL keeps them" {
    run search "$side/server-keys" "pid:$(pid_of front-1)"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ $output == *"server-key-1 "* ]]
}

@test "a canary in log, ledger, backup and a core file is found by the same search" {
    # Through the product where it can be: the name of a device.
    inkan device add "x$(canary)" --domain example > /dev/null
    finds_canary "$dir/state/ledger"
    inkan backup --out "$side/backup-2" > /dev/null
    finds_canary "$side/backup-2"
    echo "note=$(canary)" >> "$dir/log/inkan.log"
    finds_canary "$dir/log"
    case $(cat /proc/sys/kernel/core_pattern) in
        '|'*) return 0 ;; # a program of the host takes core files
    esac
    mkdir "$BATS_TEST_TMPDIR/crash"
    (cd "$BATS_TEST_TMPDIR/crash" && ulimit -c unlimited && python3 -c 'import os, sys; held = bytes.fromhex(sys.stdin.read()); os.abort()' <<< "$(canary)") || true
    finds_canary "$BATS_TEST_TMPDIR/crash"
}
