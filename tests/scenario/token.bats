#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A token that loses sessions, is slow, hangs, goes away, signs wrongly or holds other keys than it should, under a whole
# running service: no request is lost, no false certificate exists, and the service comes back by itself.
# PINs: pin.bats. Every result of every single call: tests/unit/test_signer.c.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_shim
    # A signer as released: the list of system calls of a sanitized one allows more.
    mkdir "$side/bin"
    cp "$INKAN_PROGRAMS"/* "$side/bin/"
    [ -z "${INKAN_RELEASE:-}" ] || cp "$INKAN_RELEASE/bin/inkan-signer" "$side/bin/"
    chmod -R a+rX "$side/bin"
    INKAN_PROGRAMS=$side/bin instance_up "token_env=$token_env"
    group_secret 'tok-*'
    [ "$(enroll tok-known)" = 200 ]
    answers good "$units/tok-known.pem"
}
teardown_file() {
    fault_load
    rm -f "$side"/rules-*
    instance_down
    side_dir_remove
}
setup() {
    fault_load
    shim_rules issuing
    waits_for 60 health_is_ready
    lines=$(log_lines)
    core=$(pid_of core)
    signer=$(pid_of signer-issuing)
}

kill_signer() { kill -9 "$(pid_of signer-issuing)"; }

# load_while COUNT FILE COMMAND...: that many enrollments while the command runs; their tally is FILE.load
load_while() {
    local count=$1 file=$2
    enroll_many "tok-$(basename "$file")-" "$count" "$file" --connections 8 --tries 400 > "$file.load" 3>&- &
    local load=$!
    "${@:3}"
    wait "$load"
    cat "$file.load"
}
# all_at_once FILE COUNT: each of them was answered with its certificate at the first try; if not, the log says why
all_at_once() {
    [ "$(jq -c .answers "$1.load")" = "{\"200\":$2}" ] && return
    log_after "$lines" | grep -E 'level=(warn|error)|status=503'
    return 1
}
some_are_out() { [ -s "$1" ] && [ "$(wc -l < "$1")" -ge "$2" ]; }

# all_are_right FILE COUNT: that many units have one certificate each, which the ledger knows; and whatever the ledger holds
# was signed by its issuer, after an intent
all_are_right() {
    local der n=0
    [ "$(jq .issued "$1.load")" = "$2" ]
    [ "$(cut -d' ' -f1 "$1" | sort -u | wc -l)" = "$2" ]
    ledger_query "SELECT lower(hex(der)) FROM cert" | sort > "$side/rows"
    [ -z "$(cut -d' ' -f2 "$1" | sort | comm -23 - "$side/rows")" ]
    [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 0")" = 0 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM cert c WHERE NOT EXISTS (SELECT 1 FROM intent i WHERE i.issuer = c.issuer AND i.serial = c.serial AND i.state = 1)")" = 0 ]
    rm -rf "$side/all"
    mkdir "$side/all"
    while read -r der; do
        n=$((n + 1))
        xxd -r -p <<< "$der" > "$side/all/$n.der"
    done < "$side/rows"
    cat "$dir/ca.pem" "$dir/maker-ca.pem" "$dir/maker-root.pem" > "$side/anchors.pem"
    [ "$(openssl verify -x509_strict -CAfile "$side/anchors.pem" "$side"/all/*.der | grep -c ': OK$')" = "$n" ]
}

@test "one session in a hundred is lost under load: every request is answered at its first try" {
    shim_rules issuing "C_SignInit lose=1 chance=100" "C_Sign lose=1 chance=100" "C_Sign latency_ms=1 jitter_ms=3"
    load_while 500 "$side/lost" true
    all_are_right "$side/lost" 500
    all_at_once "$side/lost" 500
    [ "$(log_after "$lines" | grep -c 'event=signer-session-reopened')" -ge 1 ]
    [ "$(pid_of signer-issuing)" = "$signer" ]
}

@test "all sessions dropped again and again under load: logged in again, and no request is lost" {
    : > "$side/calls-issuing"
    shim_rules issuing "C_SignInit drop=1 after=20 every=50 first=4"
    load_while 240 "$side/dropped" true
    all_are_right "$side/dropped" 240
    all_at_once "$side/dropped" 240
    [ "$(calls issuing C_Login)" = 4 ]
    [ "$(pid_of signer-issuing)" = "$signer" ]
}

@test "a flipped bit never leaves: the key is in quarantine until the signer is new" {
    shim_rules issuing "C_Sign flip=1 after=40 every=20"
    new_signer() {
        quarantined() { log_after "$lines" | grep -q 'event=signer-signature-bad'; }
        waits_for 60 quarantined
        waits_for 60 not_ready
        [ "$(enroll tok-flipped)" = 503 ]
        shim_rules issuing
        kill_signer
    }
    load_while 120 "$side/flipped" new_signer
    all_are_right "$side/flipped" 120
    [ "$(jq '.answers["503"]' "$side/flipped.load")" -gt 0 ]
    [ "$(jq '.answers["200"]' "$side/flipped.load")" = 120 ]
}

@test "one of a batch may no longer have its certificate when the signatures come: the others get theirs" {
    local i
    for i in 1 2 3 4 5 6; do new_csr "tok-batch-$i" "/CN=tok-batch-$i"; done
    kill -STOP "$signer"
    for i in 1 2 3 4 5 6; do
        curl -sS --cacert "$dir/fleet-root.pem" --max-time 20 -u "$user:$secret" -H 'Content-Type: application/pkcs10' -o /dev/null \
            -w '%{http_code}' --data-binary "@$units/tok-batch-$i.csr" "$(est_url)/simpleenroll" > "$side/batch.$i" 3>&- &
    done
    signing() { [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 0")" = 6 ]; }
    waits_for 60 signing
    inkan device stop tok-batch-4 --yes
    # The core reads all of them in one turn.
    kill -STOP "$core"
    before=$(wc -l < "$side/signed-issuing")
    kill -CONT "$signer"
    signed() { [ "$(wc -l < "$side/signed-issuing")" -ge $((before + 6)) ]; }
    waits_for 60 signed
    sleep 0.3 # verified, and on their way
    kill -CONT "$core"
    answered() { [ "$(cat "$side"/batch.? | wc -c)" = 18 ]; }
    waits_for 60 answered
    [ "$(cat "$side"/batch.?)" = 200200200403200200 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM cert c JOIN device d ON d.id = c.device WHERE device_id LIKE 'tok-batch-%'")" = 5 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 0")" = 0 ]
    [ "$(pid_of core)" = "$core" ]
}

@test "a slow token: 50 ms cost time only, at half a second the queue is bounded and says 503" {
    shim_rules issuing "C_Sign latency_ms=50"
    load_while 40 "$side/slow" true
    all_are_right "$side/slow" 40
    all_at_once "$side/slow" 40
    shim_rules issuing "C_Sign latency_ms=500"
    began=$(now_ms)
    enroll_many tok-slower- 40 "$side/slower" --connections 40 > "$side/slower.load"
    took=$(($(now_ms) - began))
    cat "$side/slower.load"
    # Two at a time, five seconds: about twenty. Nobody waited longer than the deadline, nobody was left without an answer.
    [ "$took" -lt 25000 ]
    [ "$(jq -r '.answers | keys | join(" ")' "$side/slower.load")" = "200 503" ]
    [ "$(jq '.answers["200"]' "$side/slower.load")" -ge 10 ]
    shim_rules issuing
    enrolls tok-quick
    [ "$(pid_of signer-issuing)" = "$signer" ]
}

@test "one signature takes seven seconds, another hangs: 503 at the deadline, the watchdog ends the signer, the ledger goes on" {
    shim_rules issuing "C_Sign latency_ms=7000 first=1" "C_Sign hang=1 after=1"
    began=$(now_ms)
    for n in 1 2 3; do
        (enroll "tok-late-$n" > "$side/late-$n"; now_ms > "$side/late-$n.end") 3>&- &
    done
    waits_for 60 test -e "$units/tok-late-3.csr"
    # What needs no signature of this token is served as ever.
    inkan device add tok-declared --domain example --product demo > /dev/null
    inkan cert revoke "$units/tok-known.pem" --yes
    answers revoked "$units/tok-known.pem"
    [ ! -e "$side/late-1.end" ] # all of that before the first of them was answered
    wait
    for n in 1 2 3; do
        [ "$(cat "$side/late-$n")" = 503 ]
        took=$(($(cat "$side/late-$n.end") - began))
        echo "503 after $took ms"
        [ "$took" -gt 4000 ]
        [ "$took" -lt 15000 ]
    done
    grep -qi '^retry-after: [1-9]' "$dir/headers"
    shim_rules issuing
    ended() { log_after "$lines" | grep 'process=signer-issuing' | grep -q 'event=process-ended'; }
    waits_for 60 ended
    took=$(($(now_ms) - began))
    echo "the signer ended after $took ms"
    [ "$took" -gt 8000 ]
    [ "$took" -lt 30000 ]
    log_after "$lines" | grep 'proc=signer-issuing' | grep -q 'hangs in the module'
    waits_for 60 enrolls tok-late-1
    [ "$(pid_of core)" = "$core" ]
    # What was signed too late belongs to nobody.
    [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 0")" = 0 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM cert WHERE requester LIKE '%tok-late-%'")" = 1 ]
}

# away_for SECONDS: the token goes and comes back; $back_ms is when it was there again
away_for() {
    mv "$dir/tokens" "$dir/tokens.away"
    sleep "$1"
    mv "$dir/tokens.away" "$dir/tokens"
    back_ms=$(now_ms)
}

@test "the token is taken out under load for ten seconds: 503, and within three seconds of its return it serves" {
    shim_rules issuing "C_Sign latency_ms=40" # so slow that not all is done before
    taken_out() {
        waits_for 60 some_are_out "$side/away" 20
        began=$(now_ms)
        enrolls tok-usual
        usual=$(($(now_ms) - began))
        (sleep 3 && enroll tok-away --max-time 20 > "$side/while-away") 3>&- &
        away_for 10
        refused=$(wc -l < "$side/away")
        waits_for 60 enrolls tok-again
        served_ms=$(now_ms)
    }
    load_while 300 "$side/away" taken_out
    echo "$refused before it returned; back after $((served_ms - back_ms)) ms; meanwhile $(cat "$side/while-away")"
    [ "$(cat "$side/while-away")" = 503 ]
    [ "$refused" -lt 300 ]
    [ $((served_ms - back_ms)) -le $((3000 + 2 * usual)) ] # and what an enrollment takes here
    all_are_right "$side/away" 300
    [ "$(pid_of core)" = "$core" ]
}

@test "the token is taken out while nobody signs: status answers from signed data, and it serves when it is back" {
    enrolls tok-idle-before
    waits_for 60 answers good "$units/tok-idle-before.pem"
    plain_ocsp() {
        openssl ocsp -no_nonce -issuer "$dir/fleet-ca.pem" -cert "$units/tok-idle-before.pem" -url "http://localhost:$((port + 1))/ocsp" \
            -CAfile "$dir/ca.pem" 2>&1 | sed -n "s#^$units/tok-idle-before.pem: ##p"
    }
    [ "$(plain_ocsp)" = good ]
    mv "$dir/tokens" "$dir/tokens.away"
    [ "$(enroll tok-idle)" = 503 ]
    grep -qi '^retry-after: [1-9]' "$dir/headers"
    [ "$(plain_ocsp)" = good ]
    waits_for 60 not_ready
    mv "$dir/tokens.away" "$dir/tokens"
    waits_for 60 enrolls tok-idle
    waits_for 60 answers good "$units/tok-idle.pem"
}

# delete_key DIRECTORY TYPE: the fleet CA's private or public object (privkey, pubkey) leaves that copy of the tokens
delete_key() {
    sed "s#^directories.tokendir.*#directories.tokendir = $1#" "$dir/softhsm2.conf" > "$side/softhsm2.conf"
    SOFTHSM2_CONF=$side/softhsm2.conf pkcs11-tool --module "$(INKAN_PKCS11_MODULE='' softhsm_module)" --token-label inkan-issuing --login \
        --pin "$(cat "$dir/pin/issuing")" --delete-object --type "$2" --id "$key_id" > /dev/null
}

own_tokens() { [ "$(id -u)" -ne 0 ] || chown -R inkan-signer: "$dir/tokens"; }

# starts_without NAME: the service is up, says which key is not usable, and issues nothing with it
starts_without() {
    start_again
    refuses() { [ "$(enroll "$1")" = 503 ]; }
    waits_for 60 refuses "$1"
    key_refused() { log_after "$lines" | grep 'event=signer-key-refused' | grep -q 'key=ca/fleet-ca/1'; }
    waits_for 60 key_refused
    log_after "$lines" | grep 'event=signer-key-refused' | tail -n 1
    waits_for 60 not_ready
    inkan doctor --json | jq -e '[.[] | select(.state == "fail")] | length > 0' > /dev/null
}

@test "a truncated, a missing and a swapped key: each is refused at the start by name, and nothing is issued" {
    rows=$(ledger_query "SELECT COUNT(*) FROM cert")
    stop_service
    cp -a "$dir/tokens" "$side/tokens"
    key_id=$(ledger_query "SELECT lower(hex(cka_id)) FROM key WHERE name = 'ca/fleet-ca/1'")
    # SoftHSM keeps each object in a file; which one is the key's shows when it is deleted.
    cp -a "$dir/tokens" "$side/probe"
    delete_key "$side/probe" privkey
    file=$(diff -rq "$side/tokens" "$side/probe" | sed -n 's/^Only in \(.*\): \(.*\.object\)$/\1\/\2/p')
    [ -s "$file" ]
    truncate -s 20 "$dir/tokens/${file#"$side/tokens/"}"
    starts_without tok-truncated
    stop_service

    rm -rf "$dir/tokens"
    cp -a "$side/probe" "$dir/tokens"
    own_tokens
    lines=$(log_lines)
    starts_without tok-missing
    stop_service

    # Another key under the same label and id.
    delete_key "$dir/tokens" pubkey
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$side/other.pem"
    SOFTHSM2_CONF=$side/softhsm2.conf softhsm2-util --import "$side/other.pem" --token inkan-issuing --label ca/fleet-ca/1 --id "$key_id" \
        --pin "$(cat "$dir/pin/issuing")" > /dev/null
    own_tokens
    lines=$(log_lines)
    starts_without tok-swapped
    stop_service

    [ "$(ledger_query "SELECT COUNT(*) FROM cert")" = "$rows" ]
    rm -rf "$dir/tokens"
    cp -a "$side/tokens" "$dir/tokens"
    start_again
    waits_for 60 enrolls tok-swapped
}

@test "the token's lock is held as long as its signer lives, and a module that forks ends its signer" {
    # That a second signer leaves then: tests/unit/test_signer.c.
    no flock -n "$dir/state/pin/issuing.lock" true
    # Started by exec: none of our processes is a copy of one that had loaded a module.
    [ "$(readlink "/proc/$signer/exe")" = "$programs/inkan-signer" ]
    [ ! -s "/proc/$signer/task/$signer/children" ]
    ! grep -q '__[at]san_init' "$programs/inkan-signer" || skip "a sanitizer's own system calls are allowed, and clone is one of them"
    shim_rules issuing "C_Sign fork=1 first=1"
    status=$(enroll tok-fork)
    [ "$status" = 503 ] || [ "$status" = 200 ]
    died() { log_after "$lines" | grep 'process=signer-issuing' | grep -q 'event=process-ended.*signal=31'; }
    waits_for 60 died
    shim_rules issuing
    waits_for 60 enrolls tok-fork
    [ "$(ledger_query "SELECT COUNT(*) FROM cert WHERE requester LIKE '%tok-fork'")" = 1 ]
}
