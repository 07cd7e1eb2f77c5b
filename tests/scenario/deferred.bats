#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# 202 (RFC 7030 4.2.3): requests that an operator decides, and requests of a line's units that are kept while the token is down.
load ../lib/instance
load ../lib/fault

setup_file() {
    local ldevid='kind: ldevid, ca: fleet-ca, subject: "CN={device_id},serialNumber={device_id},O=Example Fleet", validity: 365d'
    config_edit='s/{name: "", domain: example, profile: ldevid,/{name: "", domain: example, profile: asked,/' # for clients that know no labels
    side_dir
    use_shim
    instance_up extra_profiles="
  - {name: asked, $ldevid, approval: operator, approval_retry: 2s}
  - {name: asked-first, $ldevid, approval: first}
  - {name: asked-bound, $ldevid, approval: operator, pop_required: true, approval_retry: 1s}
  - {name: asked-soon, $ldevid, approval: operator, approval_within: 3s}
  - {name: boot, $ldevid, pop_required: true}
  - {name: asked-made, $ldevid, approval: operator, keygen: service, keygen_clear: true}
  - {name: asked-again, $ldevid, idevid_reenroll: approve}" extra_labels="
  - {name: asked, domain: example, profile: asked}
  - {name: first, domain: example, profile: asked-first}
  - {name: bound, domain: example, profile: asked-bound}
  - {name: soon, domain: example, profile: asked-soon}
  - {name: boot, domain: example, profile: boot, auth_cert: false, auth_password: false, auth_key: true}
  - {name: made, domain: example, profile: asked-made}
  - {name: again, domain: example, profile: asked-again}
" extra_config="requests: {max: 40, per_device: 3}"
    python3 - "$source_dir/tests/lib" "$programs/inkan" "$dir" <<'PY'
import subprocess, sys
sys.path.insert(0, sys.argv[1])
import line
program, directory = sys.argv[2:]
inkan = lambda *args: subprocess.run([program, "--socket", directory + "/run/admin.sock", *args], check=True)
line.add_station(inkan, directory, "issue-1", "issue,verify,pack,qa")
for n, defer in ((1, 30), (2, 2), (3, 0)):
    line.open_order(inkan, directory, f"WO-{n}", 40, ["issue-1"], profile="ldevid", defer=defer, rekeys=5,
                    device_ids={"range": {"prefix": f"L{n}-", "first": 1, "digits": 4}})
PY
}
teardown_file() {
    side_dir_remove
    instance_down
}
setup() { fault_load; }

# born ID: $birth holds curl's options for its birth identity, and there is a CSR for it
born() {
    unit_birth "$1"
    birth=(--cert "$units/$1.idevid.pem" --key "$units/$1.idevid.key")
    new_csr "$1" "/CN=$1/serialNumber=$1"
}

# ask LABEL NAME [curl options]: prints the status
ask() {
    EST_OPERATION=$1/simpleenroll est_enroll "${@:2}"
}

# client LABEL ID VERB: the reference client with that unit's birth identity. In a subshell it becomes that program.
client() {
    local program=("$programs/inkan-device" "$3" --dir "$units/$2" --url "$(est_url "$1")" --anchor "$dir/fleet-root.pem"
        --idevid-cert "$units/$2.idevid.pem" --idevid-key "$units/$2.idevid.key")
    [ "$3" != run ] || exec "${program[@]}"
    "${program[@]}"
}

# as_renewal NAME: a CSR for the key of NAME with the subject of its certificate
as_renewal() {
    new_csr "$1" "$(openssl x509 -in "$units/$1.pem" -noout -subject -nameopt compat | sed 's/^subject=//')"
}

# request_of DEVICE [STATE]: the number of its newest request
request_of() {
    inkan request list ${2:+--state "$2"} --json | jq -r "[.[] | select(.device_id == \"$1\")] | last | .id"
}

trail() { # EVENT REQUEST
    ledger_query "SELECT count(*) FROM audit WHERE event = '$1' AND object = 'request:$2'"
}

@test "202 with Retry-After and nothing else; approved: one certificate, and the same bytes again" {
    born wait-1
    [ "$(ask asked wait-1 "${birth[@]}")" = 202 ]
    grep -qi '^retry-after: 2'$'\r' "$dir/headers"
    grep -qi '^content-length: 0'$'\r' "$dir/headers"
    no grep -qi '^content-type' "$dir/headers"
    [ "$(ask asked wait-1 "${birth[@]}")" = 202 ]
    id=$(request_of wait-1 waiting)
    [ "$(inkan request list --json | jq '[.[] | select(.device_id == "wait-1")] | length')" = 1 ]
    [ "$(inkan request show "$id" --json | jq -r '.state + " " + .operation + " " + .label + " " + .why')" = "waiting simpleenroll asked enrollment" ]
    [ "$(inkan status --json | jq .requests.waiting)" -ge 1 ]
    inkan doctor --json | jq -e '.[] | select(.check == "requests" and .state == "warn")'
    inkan request approve "$id"
    [ "$(inkan cert list --device wait-1 --profile asked --json | jq length)" = 0 ]
    [ "$(ask asked wait-1 "${birth[@]}")" = 200 ]
    cp "$units/wait-1.pem" "$dir/first.pem"
    [ "$(ask asked wait-1 "${birth[@]}")" = 200 ]
    cmp "$dir/first.pem" "$units/wait-1.pem"
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/wait-1.pem"
    [ "$(inkan request show "$id" --json | jq -r '.state + " " + .serial')" = "issued $(cert_serial "$units/wait-1.pem")" ]
    for event in request-deferred request-approved request-issued; do
        [ "$(trail "$event" "$id")" = 1 ]
    done
    run inkan request approve "$id"
    [ "$status" = 1 ]
}

@test "eight polls at once after the approval mint one certificate" {
    born rush-1
    [ "$(ask asked rush-1 "${birth[@]}")" = 202 ]
    inkan request approve "$(request_of rush-1)"
    for i in 1 2 3 4 5 6 7 8; do
        curl -sS --cacert "$dir/fleet-root.pem" "${birth[@]}" -H 'Content-Type: application/pkcs10' \
            --data-binary "@$units/rush-1.csr" -o "$dir/rush.$i" "$(est_url asked)/simpleenroll" &
    done
    wait
    for i in 2 3 4 5 6 7 8; do
        cmp "$dir/rush.1" "$dir/rush.$i"
    done
    [ "$(inkan cert list --device rush-1 --profile asked --json | jq length)" = 1 ]
}

@test "refused: 403 with the operator's reason, and no certificate" {
    born no-1
    [ "$(ask asked no-1 "${birth[@]}")" = 202 ]
    id=$(request_of no-1)
    run inkan request refuse "$id"
    [ "$status" != 0 ]
    inkan request refuse "$id" --reason "stolen on the way"
    [ "$(ask asked no-1 "${birth[@]}")" = 403 ]
    grep -q 'stolen on the way' "$dir/body"
    [ "$(trail request-refused "$id")" = 1 ]
    run inkan request approve "$id"
    [ "$status" = 1 ]
    [ "$(inkan cert list --device no-1 --profile asked --json | jq length)" = 0 ]
}

@test "expired: 403, before and after the core has noted it" {
    born late-1
    [ "$(ask soon late-1 "${birth[@]}")" = 202 ]
    id=$(request_of late-1)
    expired() { [ "$(inkan request show "$id" --json | jq -r .state)" = expired ]; }
    waits_for 60 expired
    [ "$(ask soon late-1 "${birth[@]}")" = 403 ]
    grep -q expired "$dir/body"
    [ "$(trail request-expired "$id")" = 1 ]
    grep -q 'event=request-expired' "$dir/log/inkan.log"
}

@test "signed anew it is the same request, with another subject another one; too many of a device are 429" {
    born many-1
    [ "$(ask asked many-1 "${birth[@]}")" = 202 ]
    new_csr many-1 /CN=many-1/serialNumber=many-1
    [ "$(ask asked many-1 "${birth[@]}")" = 202 ]
    [ "$(inkan request list --json | jq '[.[] | select(.device_id == "many-1")] | length')" = 1 ]
    for name in two three four; do
        new_csr many-1 "/CN=$name/serialNumber=many-1"
        code=$(ask asked many-1 "${birth[@]}")
    done
    [ "$code" = 429 ]
    grep -qi '^retry-after: [1-9]' "$dir/headers"
    [ "$(inkan request list --json | jq '[.[] | select(.device_id == "many-1")] | length')" = 3 ]
}

@test "bound to the connection: another CSR at each poll, found by its key" {
    unit_birth tied-1
    run client bound tied-1 enroll
    [ "$status" = 3 ]
    run client bound tied-1 enroll
    [ "$status" = 3 ]
    [ "$(inkan request list --json | jq '[.[] | select(.device_id == "tied-1")] | length')" = 1 ]
    inkan request approve "$(request_of tied-1)"
    client bound tied-1 enroll
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/tied-1/cert.pem"
}

@test "inkan-device run asks again when Retry-After says, and goes to work" {
    unit_birth poll-1
    (client asked poll-1 run) 2> "$dir/poll-1.log" 3>&- &
    device=$!
    asked_twice() { [ "$(grep -c 'ask again in 2 s' "$dir/poll-1.log")" -ge 2 ]; }
    waits_for 60 asked_twice
    inkan request approve "$(request_of poll-1)"
    has_cert() { [ -e "$units/poll-1/cert.pem" ]; }
    waits_for 60 has_cert
    kill "$device"
    wait "$device" || true
    [ "$(inkan request list --json | jq '[.[] | select(.device_id == "poll-1")] | length')" = 1 ]
}

@test "strongSwan pki --est polls until the operator has decided" {
    PATH=$PATH:/usr/libexec/ipsec:/usr/lib/ipsec
    inkan device add swan-1 > /dev/null
    inkan secret add --device swan-1 --json > "$dir/swan.json"
    pki --gen --type ecdsa --size 256 --outform der > "$dir/swan.key"
    pki --req --type ecdsa --in "$dir/swan.key" --dn "CN=swan-1" --outform der > "$dir/swan.req"
    pki --est --url "https://localhost:$port" --in "$dir/swan.req" --cacert "$dir/fleet-root.pem" --cacert "$dir/fleet-ca.pem" \
        --userpass "$(jq -r '.user + ":" + .secret' "$dir/swan.json")" --interval 1 --maxpolltime 60 > "$dir/swan.crt" 2> "$dir/swan.log" 3>&- &
    swan=$!
    waiting() { [ -n "$(request_of swan-1 waiting | grep -v null)" ]; }
    waits_for 60 waiting
    inkan request approve "$(request_of swan-1)"
    wait "$swan"
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$dir/swan.crt"
}

@test "approval of the first enrollment only: a renewal is decided at once, under operator it waits too" {
    born one-1
    [ "$(ask first one-1 "${birth[@]}")" = 202 ]
    inkan request approve "$(request_of one-1)"
    [ "$(ask first one-1 "${birth[@]}")" = 200 ]
    as_renewal one-1
    [ "$(EST_OPERATION=first/simplereenroll est_enroll one-1 --cert "$units/one-1.pem" --key "$units/one-1.key")" = 200 ]
    born two-1
    [ "$(ask asked two-1 "${birth[@]}")" = 202 ]
    inkan request approve "$(request_of two-1)"
    [ "$(ask asked two-1 "${birth[@]}")" = 200 ]
    cp "$units/two-1.pem" "$units/two-1.old.pem"
    renew=(--cert "$units/two-1.old.pem" --key "$units/two-1.key")
    as_renewal two-1
    [ "$(EST_OPERATION=asked/simplereenroll est_enroll two-1 "${renew[@]}")" = 202 ]
    inkan request approve "$(request_of two-1 waiting)"
    [ "$(EST_OPERATION=asked/simplereenroll est_enroll two-1 "${renew[@]}")" = 200 ]
    [ "$(cert_serial "$units/two-1.pem")" != "$(cert_serial "$units/two-1.old.pem")" ]
}

@test "idevid_reenroll: approve: a factory reset waits; approved it supersedes" {
    born reset-1
    [ "$(ask again reset-1 "${birth[@]}")" = 200 ]
    cp "$units/reset-1.pem" "$units/reset-1.old.pem"
    rm "$units/reset-1.key"
    new_csr reset-1 /CN=reset-1/serialNumber=reset-1
    [ "$(ask again reset-1 "${birth[@]}")" = 202 ]
    [ "$(ocsp_status "$units/reset-1.old.pem")" = good ]
    [ "$(inkan request show "$(request_of reset-1)" --json | jq -r .why)" = "in service" ]
    inkan request approve "$(request_of reset-1)"
    [ "$(ask again reset-1 "${birth[@]}")" = 200 ]
    [ "$(ocsp_status "$units/reset-1.old.pem")" = revoked ]
    [ "$(ocsp_status "$units/reset-1.pem")" = good ]
}

@test "serverkeygen: no key before the approval; a lost answer is repeated with a new one, without another decision" {
    born made-1
    keys() { est made/serverkeygen -H 'Content-Type: application/pkcs10' --data-binary "@$units/made-1.csr" "${birth[@]}"; }
    [ "$(keys)" = 202 ]
    grep -qi '^content-length: 0'$'\r' "$dir/headers"
    [ "$(inkan request show "$(request_of made-1)" --json | jq -r .operation)" = serverkeygen ]
    [ "$(ledger_query "SELECT count(*) FROM spki s JOIN device d ON d.id = s.unit WHERE d.device_id = 'made-1'")" = 1 ] # the birth key
    inkan request approve "$(request_of made-1)"
    [ "$(keys)" = 200 ]
    grep -qi '^content-type: multipart/mixed' "$dir/headers"
    cp "$dir/body" "$dir/made.first"
    [ "$(keys)" = 200 ]
    no cmp -s "$dir/made.first" "$dir/body"
    [ "$(ledger_query "SELECT count(*) FROM cert c JOIN device d ON d.id = c.device WHERE d.device_id = 'made-1' AND c.profile = 'asked-made' AND c.status = 0")" = 1 ]
    [ "$(inkan request list --json | jq '[.[] | select(.device_id == "made-1")] | length')" = 1 ]
}

@test "stopped or revoked meanwhile: an approval helps nobody" {
    born gone-1
    [ "$(ask asked gone-1 "${birth[@]}")" = 202 ]
    inkan request approve "$(request_of gone-1)"
    inkan device stop gone-1 --yes
    [ "$(ask asked gone-1 "${birth[@]}")" = 403 ]
}

@test "what waits and what is approved outlives a kill of the core" {
    born crash-1
    born crash-2
    crash_2=(--cert "$units/crash-2.idevid.pem" --key "$units/crash-2.idevid.key")
    crash_1=(--cert "$units/crash-1.idevid.pem" --key "$units/crash-1.idevid.key")
    [ "$(ask asked crash-1 "${crash_1[@]}")" = 202 ]
    [ "$(ask asked crash-2 "${crash_2[@]}")" = 202 ]
    inkan request approve "$(request_of crash-1)"
    kill -9 "$(pid_of core)"
    up_again() { [ "$(ready)" = 200 ] && inkan status > /dev/null; }
    waits_for 60 up_again
    [ "$(ask asked crash-1 "${crash_1[@]}")" = 200 ]
    [ "$(ask asked crash-2 "${crash_2[@]}")" = 202 ]
    [ "$(inkan request list --json | jq '[.[] | select(.device_id == "crash-2")] | length')" = 1 ]
}

# ---- the issuing token is down: requests of units are kept, the units move on, and each is signed once when it is back ----

# issue ORDER ID [curl options]: as the station; prints the status
issue() {
    [ -e "$units/$2.csr" ] || new_csr "$2" "/CN=$2/serialNumber=$2"
    EST_OPERATION=$1/simpleenroll est_enroll "$2" --cert "$dir/issue-1.pem" --key "$dir/issue-1.key" "${@:3}"
}

token_down() { shim_rules issuing "C_SignInit rv=0x32"; }
token_up() { shim_rules issuing; }

unit_is() { # STATE ORDER/ID
    [ "$(inkan unit show "$2" --json | jq -r .state)" = "$1" ]
}

in_state() { # STATE FIRST LAST: how many units with numbers from FIRST to LAST are in it
    ledger_query "SELECT count(*) FROM unit u JOIN device d ON d.id = u.device WHERE d.device_id BETWEEN '$2' AND '$3' AND u.state = $1"
}

@test "with the token there a unit is issued at once" {
    [ "$(issue WO-1 L1-0001)" = 200 ]
    unit_is issued WO-1/L1-0001
}

@test "token down: 202 with a text and Retry-After; back: signed by itself, once; the same request fetches it" {
    token_down
    [ "$(issue WO-1 L1-0002 -H 'Inkan-Unit: badge=B-7;tool=st/1')" = 202 ]
    grep -q '^captured: ' "$dir/body"
    grep -qi '^retry-after: [1-9]' "$dir/headers"
    unit_is captured WO-1/L1-0002
    [ "$(issue WO-1 L1-0002)" = 202 ]
    [ "$(inkan capture list --order WO-1 --json | jq -r '.[] | .device_id + " " + .badge')" = "L1-0002 B-7" ]
    [ "$(inkan status --json | jq .captures.waiting)" = 1 ]
    token_up
    waits_for 60 unit_is issued WO-1/L1-0002
    [ "$(issue WO-1 L1-0002)" = 200 ]
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/L1-0002.pem"
    [ "$(inkan cert list --device L1-0002 --json | jq length)" = 1 ]
    [ "$(inkan capture list --json | jq length)" = 0 ]
}

@test "no more than the order allows, else 503; another key takes the place of the first; a key of another unit is refused" {
    token_down
    [ "$(issue WO-1 L1-0003)" = 202 ]
    rm "$units/L1-0003.key" "$units/L1-0003.csr"
    [ "$(issue WO-1 L1-0003)" = 202 ]
    new_csr L1-0004 /CN=L1-0004/serialNumber=L1-0004 "$units/L1-0003.key"
    [ "$(issue WO-1 L1-0004)" = 403 ]
    grep -q 'key-of-other-unit' "$dir/body"
    [ "$(issue WO-2 L2-0001)" = 202 ]
    [ "$(issue WO-2 L2-0002)" = 202 ]
    [ "$(issue WO-2 L2-0003)" = 503 ]
    grep -q 'defer-used' "$dir/body"
    [ "$(issue WO-2 L2-0001)" = 202 ]
    [ "$(issue WO-3 L3-0001)" = 503 ]
    no grep -q captured "$dir/body"
    token_up
    waits_for 60 unit_is issued WO-2/L2-0002
    waits_for 60 unit_is issued WO-1/L1-0003
    [ "$(issue WO-1 L1-0003)" = 200 ]
    [ "$(openssl x509 -in "$units/L1-0003.pem" -noout -pubkey)" = "$(openssl pkey -in "$units/L1-0003.key" -pubout)" ]
    [ "$(ledger_query "SELECT n FROM order_count WHERE reason = 'defer-used'")" = 1 ]
}

@test "one that cannot be signed is set aside with its reason, the rest flows; retry and drop" {
    token_down
    openssl ecparam -name secp384r1 -genkey -noout -out "$units/L1-0021.key"
    [ "$(issue WO-1 L1-0021)" = 202 ]
    [ "$(issue WO-1 L1-0022)" = 202 ]
    [ "$(issue WO-1 L1-0023)" = 202 ]
    inkan device stop L1-0022 --yes
    cp "$dir/inkan.yaml" "$dir/inkan.yaml.before"
    sed -i '/^  - name: ldevid/,/validity/s/key_algs: .*/key_algs: [p256]/' "$dir/inkan.yaml"
    kill -HUP "$(pid_of inkand)"
    forbidden() { no grep -q p384 <<< "$(inkan profile show ldevid --json)"; }
    waits_for 60 forbidden
    token_up
    waits_for 60 unit_is issued WO-1/L1-0023
    aside() { [ "$(inkan capture list --json | jq '[.[] | select(.state == "set-aside")] | length')" = 2 ]; }
    waits_for 60 aside
    inkan capture list --json | jq -e '.[] | select(.device_id == "L1-0021") | .reason | test("p384")'
    inkan capture list --json | jq -e '.[] | select(.device_id == "L1-0022") | .reason | test("stopped")'
    inkan doctor --json | jq -e '.[] | select(.check | startswith("alarm capture-set-aside"))'
    mv "$dir/inkan.yaml.before" "$dir/inkan.yaml"
    kill -HUP "$(pid_of inkand)"
    allowed() { inkan profile show ldevid --json | grep -q p384; }
    waits_for 60 allowed
    inkan capture retry WO-1/L1-0021
    waits_for 60 unit_is issued WO-1/L1-0021
    inkan capture drop WO-1/L1-0022 --yes
    unit_is unused WO-1/L1-0022
    [ "$(inkan capture list --json | jq length)" = 0 ]
    no inkan capture retry WO-1/L1-0022
    no bash -c "$programs/inkan --socket $dir/run/admin.sock doctor --json | grep -q capture-set-aside"
}

@test "the core dies again and again while it signs what was kept: every unit has one certificate, and normal traffic goes on" {
    token_down
    for i in 24 25 26 27 28 29 30 31 32 33 34 35; do
        [ "$(issue WO-1 "L1-00$i")" = 202 ]
    done
    shim_rules issuing "C_Sign latency_ms=500" # so that both kills find some left
    left() { ledger_query "SELECT count(*) FROM capture"; }
    begun() { [ "$(left)" -lt 12 ]; }
    waits_for 60 begun
    kill -9 "$(pid_of core)"
    one_less() { [ "$(left)" -lt "$before" ]; }
    before=$(left)
    waits_for 60 one_less
    kill -9 "$(pid_of core)"
    up_again() { [ "$(issue WO-1 L1-0036)" = 200 ]; }
    waits_for 60 up_again
    token_up
    none() { [ "$(left)" = 0 ]; }
    waits_for 60 none
    [ "$(in_state 2 L1-0024 L1-0035)" = 12 ]
    [ "$(ledger_query "SELECT max(n) FROM (SELECT count(*) n FROM cert WHERE order_no <> '' AND status = 0 GROUP BY device)")" = 1 ]
    [ "$(ledger_query "SELECT count(*) FROM cert c JOIN device d ON d.id = c.device WHERE d.device_id BETWEEN 'L1-0024' AND 'L1-0035'")" = 12 ]
    [ "$(issue WO-1 L1-0030)" = 200 ]
}

@test "a signer that hangs: nobody is sent away, and each unit has one certificate" {
    signer=$(pid_of signer-issuing)
    kill -STOP "$signer"
    for i in 11 12 13 14; do
        new_csr "L1-00$i" "/CN=L1-00$i/serialNumber=L1-00$i"
        curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/issue-1.pem" --key "$dir/issue-1.key" -H 'Content-Type: application/pkcs10' -w '%{http_code}' \
            --data-binary "@$units/L1-00$i.csr" -o /dev/null "$(est_url WO-1)/simpleenroll" > "$dir/hang.$i" &
    done
    wait
    for i in 11 12 13 14; do
        [ "$(cat "$dir/hang.$i")" = 202 ]
    done
    kill -CONT "$signer" || true
    issued() { [ "$(in_state 2 L1-0011 L1-0014)" = 4 ]; }
    waits_for 60 issued
    [ "$(ledger_query "SELECT max(n) FROM (SELECT count(*) n FROM cert WHERE order_no <> '' GROUP BY device)")" = 1 ]
}

@test "first boot: a unit fetches its certificate with its registered key, bound to the connection, and is confirmed by that" {
    boot() { # ID VERB...
        "$programs/inkan-device" enroll --dir "$units/$1.dir" --url "$(est_url boot)" --anchor "$dir/fleet-root.pem" --id "$1" --bind
    }
    token_down
    [ "$(issue WO-1 L1-0005)" = 202 ]
    install -d -m 700 "$units/L1-0005.dir"
    install -m 600 "$units/L1-0005.key" "$units/L1-0005.dir/pending.key"
    run boot L1-0005
    [ "$status" = 3 ]
    token_up
    waits_for 60 unit_is issued WO-1/L1-0005
    # Without the binding, with another key, another number, at a label that does not offer it.
    [ "$(EST_OPERATION=boot/simpleenroll est_enroll L1-0005)" = 400 ]
    [ "$(EST_OPERATION=simpleenroll est_enroll L1-0005)" = 401 ]
    run boot L1-0001
    [ "$status" = 1 ]
    echo "$output" | grep -q 'no certificate is kept'
    run boot L1-0006
    [ "$status" = 1 ]
    unit_is issued WO-1/L1-0005
    boot L1-0005
    unit_is confirmed WO-1/L1-0005
    inkan unit show WO-1/L1-0005 --json | jq -e '.events[] | select(.event == "confirmed" and .detail.by == "first-boot" and .station == "")'
    [ "$(openssl x509 -in "$units/L1-0005.dir/cert.pem" -noout -serial | cut -d= -f2 | tr A-F a-f)" = "$(inkan unit show WO-1/L1-0005 --json | jq -r .cert.serial)" ]
    [ "$(inkan cert list --device L1-0005 --json | jq length)" = 1 ]
}

@test "an order that closes gives up what was kept and never signed" {
    token_down
    [ "$(issue WO-3 L3-0002)" = 503 ]
    [ "$(issue WO-1 L1-0037)" = 202 ]
    inkan order close WO-1 --yes
    token_up
    unit_is unused WO-1/L1-0037
    [ "$(inkan capture list --json | jq length)" = 0 ]
    [ "$(inkan cert list --device L1-0037 --json | jq length)" = 0 ]
    [ "$(inkan order status WO-1 --json | jq '.counts.captured > 20')" = true ]
}

@test "the trail holds it all" {
    inkan audit verify || [ $? -eq 3 ]
    for event in request-approved request-refused request-expired unit-captured capture-set-aside capture-retried capture-dropped; do
        [ "$(ledger_query "SELECT count(*) > 0 FROM audit WHERE event = '$event'")" = 1 ]
    done
}
