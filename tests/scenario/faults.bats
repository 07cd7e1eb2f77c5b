#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What fails under a running service: ledger, disk, signer, CA (tokens: token.bats). No issuance, an explicit answer, a log line that names
# the cause, status from signed data, and the way back by itself where that is safe.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_io_fault
    use_test_clock
    # A CA that ends in 20 days: what it issues ends with it.
    instance_up "extra_labels=$(cat <<'YAML'
  - {name: short, domain: example, profile: short-device, auth_password: true}
YAML
)" "config_edit=$(cat <<'SED'
/^profiles:/ i\
  - name: short-ca\
    issuer: fleet-root\
    token: issuing\
    key: p256\
    profile: short-ca\
    subject: "CN=Example Short CA,O=Example Fleet"\
    ocsp_token: ocsp\
    ocsp_profile: short-ocsp\
    crl_validity: 1d\

/^profiles:/ a\
  - {name: short-ca, kind: issuing-ca, validity: 20d, path_len: 0, key_usage: [keyCertSign, cRLSign], crl_url: true, ocsp_url: true}\
  - {name: short-ocsp, kind: ocsp-signer, ca: short-ca, subject: "CN=Example Short CA OCSP", key_algs: [p256], key_usage: [digitalSignature], eku: [OCSPSigning], validity: 10d}\
  - {name: short-device, kind: ldevid, ca: short-ca, subject: "CN={device_id},serialNumber={device_id},O=Example Fleet", key_algs: [p256], key_usage: [digitalSignature], eku: [clientAuth], validity: 365d}
SED
)"
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    group_secret 'flt-*'
    [ "$(enroll flt-known)" = 200 ]
    answers good "$units/flt-known.pem"
}
teardown_file() {
    instance_load
    umount "$dir/state/ledger" 2> /dev/null || true
    instance_down
    side_dir_remove
}
setup() { fault_load; }
# What a test that failed leaves would be the next one's trouble.
teardown() {
    io_rule
    rm -f "$dir/state/ledger/filler"
}

cert_rows() { ledger_query "SELECT COUNT(*) FROM cert"; }

# plain_ocsp CERT: good, revoked or an error word, by a request that may be answered from what is kept
plain_ocsp() {
    openssl ocsp -no_nonce -issuer "$dir/fleet-ca.pem" -cert "$1" -url "http://localhost:$((port + 1))/ocsp" -CAfile "$dir/ca.pem" 2>&1 |
        sed -n "s#^$1: ##p; s/^Responder Error: //p"
}

@test "a second core on the same ledger is refused, and the first goes on" {
    local other=$side/second ports
    ports=$(free_port)
    mkdir -p "$other"
    # The same configuration with another run directory and other ports: only the ledger is shared.
    sed -e "s#run: $dir/run#run: $other/run#; s#log_file: .*#log_file: $other/inkan.log#" -e "s#:$port\"#:$ports\"#; s#:$((port + 1))\"#:$((ports + 1))\"#; s#:$((port + 2))\"#:$((ports + 2))\"#" \
        "$dir/inkan.yaml" > "$other/inkan.yaml"
    [ "$(id -u)" -ne 0 ] || chown inkan: "$other"
    "$programs/inkand" -c "$other/inkan.yaml" 3>&- 4>&- || true
    # Neither a ledger nor a token is ever open twice.
    refused() { grep 'proc=core' "$other/inkan.log" | grep -q 'another process holds'; }
    wait_for 60 refused || no_refusal=1
    [ "$(enroll flt-a)" = 200 ]
    waits_for 60 health_is_ready
    second=$(cat "$other/run/inkand.pid")
    kill "$second"
    wait_for 60 sh -c "! kill -0 $second"
    cut -c1-200 "$other/inkan.log"
    [ -z "${no_refusal:-}" ]
    no grep -q 'signal=11' "$other/inkan.log"
    [ "$(enroll flt-a2)" = 200 ]
}

@test "a ledger locked by another program: 503 that names it in the log, nothing issued, well again when the lock goes" {
    local rows lines
    rows=$(cert_rows)
    lines=$(log_lines)
    python3 - "$dir/state/ledger/ledger.db" "$side/locked" 3>&- <<'PY' &
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
open(sys.argv[2], "w").close()
while os.path.exists(sys.argv[2]):
    time.sleep(0.05)
db.execute("ROLLBACK")
PY
    local locker=$!
    waits_for 60 test -e "$side/locked"
    status=$(enroll flt-b)
    rm -f "$side/locked"
    wait "$locker"
    [ "$status" = 503 ]
    [ "$(cert_rows)" = "$rows" ]
    log_after "$lines" | grep -i 'level=error' | grep -i -q 'lock\|busy'
    waits_for 60 enrolls flt-b
    [ "$(cert_rows)" = $((rows + 1)) ]
}

@test "a full disk: 503 and nothing issued, status answers, and it recovers when there is room" {
    [ "$(id -u)" -eq 0 ] || skip "needs root to mount a small file system"
    stop_service
    cp -a "$dir/state/ledger" "$side/ledger"
    mount -t tmpfs -o size=3m,mode=700 tmpfs "$dir/state/ledger"
    chown inkan-core: "$dir/state/ledger"
    cp -a "$side/ledger/." "$dir/state/ledger/"
    start_again
    waits_for 60 health_is_ready
    [ "$(enroll flt-c)" = 200 ]
    answers good "$units/flt-c.pem"
    local lines row=0
    lines=$(log_lines)
    # What was reserved already may serve a few more, and a core that starts again empties its journal: that room is taken too. Then
    # it is over, for long enough that a back-off would grow, if there were one.
    refused=1
    for _ in {1..40}; do
        dd if=/dev/zero of="$dir/state/ledger/filler" bs=4k oflag=append conv=notrunc 2> /dev/null || true
        status=$(enroll "flt-c-$refused")
        case $status in
        503) row=$((row + 1)) ;;
        200) row=0 refused=$((refused + 1)) ;;
        *) false ;;
        esac
        [ "$row" -lt 7 ] || break
        sleep 1
    done
    echo "refused from $refused on"
    [ "$row" -eq 7 ]
    log_after "$lines" | grep -i -q 'disk is full\|no space\|SQLITE_FULL\|full'
    for _ in {1..8}; do # neither while the core starts again nor between
        not_ready
        sleep 0.4
    done
    [ "$(plain_ocsp "$units/flt-known.pem")" = good ]
    # Nothing that was answered is missing, nothing that was not answered is there as a certificate.
    rm "$dir/state/ledger/filler"
    local began
    began=$(now_ms)
    waits_for 60 enrolls "flt-c-$refused"
    took=$(($(now_ms) - began))
    echo "issued again after $took ms"
    [ "$took" -le 5000 ]
    for n in $(seq 1 "$refused"); do
        inkan cert show "$units/flt-c-$n.pem" > /dev/null
    done
    [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 0")" = 0 ]
    stop_service
    cp -a "$dir/state/ledger/." "$side/ledger/"
    umount "$dir/state/ledger"
    cp -a "$side/ledger/." "$dir/state/ledger/"
    start_again
    waits_for 60 health_is_ready
    inkan cert show "$units/flt-c-$refused.pem" > /dev/null
}

@test "fsync fails: nobody of the batch is answered, the core starts again, and what was in doubt is resolved" {
    local lines rows core
    lines=$(log_lines)
    rows=$(cert_rows)
    core=$(pid_of core)
    "$programs/mkcsr" flt-d- 400 > "$side/d.csr"
    io_rule process=core call=sync n=0 do=delay value=50 # so slow that it is not over before the disk fails
    "$source_dir/tests/fault/enroll_load" --port "$port" --ca "$dir/fleet-root.pem" --user "$user" --secret "$secret" --out "$side/d.issued" \
        --connections 8 --tries 400 < "$side/d.csr" > "$side/d.load" 3>&- &
    local load=$!
    some_are_out() { [ "$(wc -l < "$side/d.issued")" -ge 5 ]; }
    wait_for 60 some_are_out
    io_rule process=core call=sync n=0 do=errno value=5
    in_doubt() { log_after "$lines" | grep -q 'event=ledger-in-doubt'; }
    waits_for 60 in_doubt
    sleep 1.5
    answered=$(wc -l < "$side/d.issued")
    sleep 0.5
    still=$(wc -l < "$side/d.issued")
    io_rule
    wait "$load"
    # While nothing became durable nobody was answered.
    [ "$answered" = "$still" ]
    [ "$still" -lt 400 ]
    cat "$side/d.load"
    [ "$(pid_of core)" != "$core" ]
    log_after "$lines" | grep 'event=ledger-in-doubt' | grep -q 'proc=core'
    log_after "$lines" | grep 'process=core' | grep 'event=process-ended' | grep -q 'exit=75'
    # Everybody has one certificate in the end, and each of them is in the ledger.
    [ "$(jq .issued "$side/d.load")" = 400 ]
    [ "$(jq '(.answers["503"] // 0) + (.answers["0"] // 0)' "$side/d.load")" -gt 0 ]
    ledger_query "SELECT lower(hex(der)) FROM cert" | sort > "$side/d.rows"
    [ -z "$(cut -d' ' -f2 "$side/d.issued" | sort | comm -23 - "$side/d.rows")" ]
    [ "$(cut -d' ' -f1 "$side/d.issued" | sort -u | wc -l)" = 400 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 0")" = 0 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM cert c WHERE NOT EXISTS (SELECT 1 FROM intent i WHERE i.issuer = c.issuer AND i.serial = c.serial AND i.state = 1)")" = 0 ]
    [ "$(cert_rows)" = $((rows + 400)) ]
}

@test "the issuing signer stands still: 503 at the deadline, and it goes on when the signer does" {
    local signer began took lines
    signer=$(pid_of signer-issuing)
    lines=$(log_lines)
    kill -STOP "$signer"
    began=$(now_ms)
    status=$(enroll flt-f)
    took=$(($(now_ms) - began))
    # OCSP has a signer of its own.
    ocsp=$(ocsp_says "$units/flt-known.pem")
    kill -CONT "$signer"
    echo "$status after $took ms, OCSP $ocsp"
    [ "$status" = 503 ]
    [ "$took" -lt 15000 ]
    [ "$ocsp" = good ]
    log_after "$lines" | grep 'level=error' | grep -q -i 'deadline\|no answer\|in time\|timed'
    waits_for 60 enrolls flt-f
    # The certificate that was signed too late belongs to nobody: its intent is void.
    [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 2")" -ge 1 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM cert WHERE requester LIKE '%flt-f'")" = 1 ]
}

@test "the OCSP signer stands still: what is kept is answered, live requests get tryLater, issuance is not touched" {
    local signer began took
    [ "$(plain_ocsp "$units/flt-known.pem")" = good ]
    signer=$(pid_of signer-ocsp)
    kill -STOP "$signer"
    kept=$(plain_ocsp "$units/flt-known.pem")
    began=$(now_ms)
    live=$(ocsp_says "$units/flt-known.pem")
    took=$(($(now_ms) - began))
    issued=$(enroll flt-g)
    kill -CONT "$signer"
    echo "kept: $kept, live: $live after $took ms, issued: $issued"
    [ "$kept" = good ]
    [ "$live" = "trylater (3)" ]
    [ "$took" -lt 8000 ]
    [ "$issued" = 200 ]
    waits_for 60 answers good "$units/flt-known.pem"
}

@test "no descriptor is free for a new list: the front goes on with the one it has, and gets the new one later" {
    local lines before
    served() { curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" | openssl crl -inform DER -noout -crlnumber; }
    newer() { [ "$(served)" != "$before" ]; }
    lines=$(log_lines)
    before=$(served)
    io_rule process=core call=dup path=/crl/fleet-ca n=0 do=errno value=24
    inkan crl publish --issuer fleet-ca
    # So long that all of it was tried once more, in vain.
    tried_again() { [ "$(log_after "$lines" | grep 'proc=core' | grep -c "event=link-send-failed")" -ge 3 ]; }
    waits_for 60 tried_again
    [ "$(served)" = "$before" ]
    [ "$(enroll flt-dup)" = 200 ]
    io_rule
    waits_for 60 newer
}

@test "a CA near its end: certificates end with it, never after it" {
    [ "$(est_url short)" ]
    new_csr flt-short-1 /CN=flt-short-1
    made=$(inkan secret add --group 'flt-short-*' --profile short-device --quota 5 --valid 1d --json)
    status=$(curl -sS --max-time 20 --cacert "$dir/fleet-root.pem" -o "$dir/body" -w '%{http_code}' -u "$(jq -r .user <<< "$made"):$(jq -r .secret <<< "$made")" \
        -H 'Content-Type: application/pkcs10' --data-binary "@$units/flt-short-1.csr" "$(est_url short)/simpleenroll")
    [ "$status" = 200 ]
    openssl base64 -d -A < "$dir/body" | openssl pkcs7 -inform DER -print_certs | sed -n '/^-----BEGIN/,/^-----END/p' > "$units/flt-short-1.pem"
    inkan ca show short-ca --pem > "$side/short-ca.pem"
    ends() { date -d "$(openssl x509 -in "$1" -noout -enddate | cut -d= -f2)" +%s; }
    [ "$(ends "$units/flt-short-1.pem")" -le "$(ends "$side/short-ca.pem")" ]
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$side/short-ca.pem" "$units/flt-short-1.pem"
    # A CA with time left gives the whole year.
    [ "$(ends "$units/flt-known.pem")" -gt $(($(date +%s) + 360 * 86400)) ]
}

@test "a CA past its end issues nothing and says so; the others go on" {
    stop_service
    set_clock $((21 * 86400))
    start_again
    waits_for 60 enrolls_anyhow flt-h
    lines=$(log_lines)
    rows=$(cert_rows)
    new_csr flt-short-2 /CN=flt-short-2
    made=$(inkan secret add --group 'flt-short-*' --profile short-device --quota 5 --valid 1d --json)
    status=$(curl -sSk --max-time 20 -o "$dir/body" -w '%{http_code}' -u "$(jq -r .user <<< "$made"):$(jq -r .secret <<< "$made")" \
        -H 'Content-Type: application/pkcs10' --data-binary "@$units/flt-short-2.csr" "$(est_url short)/simpleenroll")
    echo "$status"
    [ "$status" = 503 ] || [ "$status" = 403 ]
    [ "$(cert_rows)" = "$rows" ]
    log_after "$lines" | grep 'event=enroll-refused' | grep -q 'short-ca'
    inkan doctor --json | jq -e '.[] | select(.check == "CA short-ca" and .state == "fail")'
    stop_service
    set_clock 0
}
enrolls_anyhow() { [ "$(enroll "$1" -k)" = 200 ]; }
