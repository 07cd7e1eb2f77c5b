#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The issuing token is down: requests of units are kept, the units move on, and each is signed once when it is back.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_shim
    instance_up
    fault_load
    station issue-1
    open_order WO-1 L1- 40 30
    open_order WO-2 L2- 40 2
    open_order WO-3 L3- 40 0
    start_again
}
teardown_file() {
    side_dir_remove
    instance_down
}
setup() {
    fault_load
    cert=(--cert "$units/issue-1.pem" --key "$units/issue-1.key")
}

station() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$units/$1.key" -out "$units/$1.req" 2> /dev/null
    inkan cert issue --profile station --name "$1" --domain example --csr "$units/$1.req" --out "$units/$1.pem"
    stop_service
    sqlite3 "$dir/state/ledger/ledger.db" "INSERT INTO station VALUES (NULL, '$1', 'example', 'L1', 63, 'station', unixepoch(), unixepoch() + 86400, 0);
        UPDATE cert SET station = '$1', domain = 'example' WHERE profile = 'station'"
}

open_order() {
    sqlite3 "$dir/state/ledger/ledger.db" "INSERT INTO work_order VALUES (NULL, '$1', 'example', 'demo', '', '', '', 'ldevid', 0, $3, 0, '$2', 1, 4, 'issue-1
', '', '', unixepoch() - 60, unixepoch() + 86400, 5, 5, $4, 3600, 0, x'', '', zeroblob(32), 'me', '00', 0, unixepoch(), 0, 0);
      INSERT INTO order_tally VALUES ((SELECT max(id) FROM work_order), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
}

# issue ORDER ID [curl options]: prints the status
issue() {
    [ -e "$units/$2.csr" ] || new_csr "$2" "/CN=$2/serialNumber=$2"
    EST_OPERATION=$1/simpleenroll est_enroll "$2" "${cert[@]}" "${@:3}"
}

token_down() { shim_rules issuing "C_SignInit rv=0x32"; }
token_up() { shim_rules issuing; }

unit_state() { # ID
    ledger_query "SELECT u.state FROM unit u JOIN device d ON d.id = u.device WHERE d.device_id = '$1'"
}

is_issued() { [ "$(unit_state "$1")" = 2 ]; }

@test "with the token there a unit is issued at once" {
    [ "$(issue WO-1 L1-0001)" = 200 ]
    is_issued L1-0001
}

@test "token down: 202 with a text and Retry-After; back: signed by itself, once; the same request fetches it" {
    token_down
    [ "$(issue WO-1 L1-0002 -H 'Inkan-Unit: badge=B-7;tool=st/1')" = 202 ]
    grep -q '^captured: ' "$dir/body"
    grep -qi '^retry-after: [1-9]' "$dir/headers"
    [ "$(unit_state L1-0002)" = 1 ]
    [ "$(issue WO-1 L1-0002)" = 202 ]
    [ "$(inkan capture list --order WO-1 --json | jq -r '.[] | .device_id + " " + .badge')" = "L1-0002 B-7" ]
    [ "$(inkan status --json | jq .captures.waiting)" = 1 ]
    token_up
    issued() { is_issued L1-0002; }
    waits_for 30 issued
    [ "$(issue WO-1 L1-0002)" = 200 ]
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/L1-0002.pem"
    [ "$(inkan cert list --device L1-0002 --json | jq length)" = 1 ]
    [ "$(inkan capture list --json | jq length)" = 0 ]
}

@test "no more than the order allows; without an allowance 503" {
    token_down
    [ "$(issue WO-2 L2-0001)" = 202 ]
    [ "$(issue WO-2 L2-0002)" = 202 ]
    [ "$(issue WO-2 L2-0003)" = 503 ]
    grep -q 'defer-used' "$dir/body"
    [ "$(issue WO-2 L2-0001)" = 202 ]
    [ "$(issue WO-3 L3-0001)" = 503 ]
    no grep -q captured "$dir/body"
    token_up
    issued() { is_issued L2-0002; }
    waits_for 30 issued
    [ "$(ledger_query "SELECT n FROM order_count WHERE reason = 'defer-used'")" = 1 ]
}

@test "another key before the signature takes the place of the first; a key of another unit is refused" {
    token_down
    [ "$(issue WO-1 L1-0003)" = 202 ]
    rm "$units/L1-0003.key" "$units/L1-0003.csr"
    [ "$(issue WO-1 L1-0003)" = 202 ]
    new_csr L1-0004 /CN=L1-0004/serialNumber=L1-0004 "$units/L1-0003.key"
    [ "$(issue WO-1 L1-0004)" = 403 ]
    grep -q 'key-of-other-unit' "$dir/body"
    token_up
    issued() { is_issued L1-0003; }
    waits_for 30 issued
    [ "$(issue WO-1 L1-0003)" = 200 ]
    [ "$(openssl x509 -in "$units/L1-0003.pem" -noout -pubkey)" = "$(openssl pkey -in "$units/L1-0003.key" -pubout)" ]
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
    token_up
    issued() { is_issued L1-0023; }
    waits_for 30 issued
    aside() { [ "$(inkan capture list --json | jq '[.[] | select(.state == "set-aside")] | length')" = 2 ]; }
    waits_for 10 aside
    inkan capture list --json | jq -e '.[] | select(.device_id == "L1-0021") | .reason | test("p384")'
    inkan capture list --json | jq -e '.[] | select(.device_id == "L1-0022") | .reason | test("stopped")'
    inkan doctor --json | jq -e '.[] | select(.check | startswith("alarm capture-set-aside"))'
    mv "$dir/inkan.yaml.before" "$dir/inkan.yaml"
    kill -HUP "$(pid_of inkand)"
    allowed() { inkan profile show ldevid --json | grep -q p384; }
    waits_for 10 allowed
    inkan capture retry WO-1/L1-0021
    issued() { is_issued L1-0021; }
    waits_for 20 issued
    inkan capture drop WO-1/L1-0022 --yes
    [ "$(unit_state L1-0022)" = 8 ]
    [ "$(inkan capture list --json | jq length)" = 0 ]
    no inkan capture retry WO-1/L1-0022
    no bash -c "$programs/inkan --socket $dir/run/admin.sock doctor --json | grep -q capture-set-aside"
}

@test "the core dies again and again while it signs what was kept: every unit has one certificate, and normal traffic goes on" {
    token_down
    for i in 24 25 26 27 28 29 30 31 32 33 34 35; do
        [ "$(issue WO-1 "L1-00$i")" = 202 ]
    done
    shim_rules issuing "C_Sign latency_ms=150"
    left() { ledger_query "SELECT count(*) FROM capture"; }
    begun() { [ "$(left)" -lt 12 ]; }
    waits_for 30 begun
    kill -9 "$(pid_of core)"
    one_less() { [ "$(left)" -lt "$before" ]; }
    before=$(left)
    waits_for 30 one_less
    kill -9 "$(pid_of core)"
    up_again() { [ "$(issue WO-1 L1-0036)" = 200 ]; }
    waits_for 30 up_again
    none() { [ "$(left)" = 0 ]; }
    waits_for 40 none
    token_up
    [ "$(ledger_query "SELECT count(*) FROM unit u JOIN device d ON d.id = u.device WHERE d.device_id BETWEEN 'L1-0024' AND 'L1-0035' AND u.state = 2")" = 12 ]
    [ "$(ledger_query "SELECT max(n) FROM (SELECT count(*) n FROM cert WHERE device IS NOT NULL AND status = 0 GROUP BY device)")" = 1 ]
    [ "$(ledger_query "SELECT count(*) FROM cert c JOIN device d ON d.id = c.device WHERE d.device_id BETWEEN 'L1-0024' AND 'L1-0035'")" = 12 ]
    [ "$(issue WO-1 L1-0030)" = 200 ]
}

@test "a signer that hangs: nobody is sent away, and each unit has one certificate" {
    signer=$(pid_of signer-issuing)
    kill -STOP "$signer"
    for i in 11 12 13 14; do
        new_csr "L1-00$i" "/CN=L1-00$i/serialNumber=L1-00$i"
        curl -sS --cacert "$dir/fleet-root.pem" "${cert[@]}" -H 'Content-Type: application/pkcs10' -w '%{http_code}' \
            --data-binary "@$units/L1-00$i.csr" -o /dev/null "$(est_url WO-1)/simpleenroll" > "$dir/hang.$i" &
    done
    wait
    for i in 11 12 13 14; do
        [ "$(cat "$dir/hang.$i")" = 202 ]
    done
    kill -CONT "$signer" || true
    issued() { [ "$(ledger_query "SELECT count(*) FROM unit u JOIN device d ON d.id = u.device WHERE d.device_id LIKE 'L1-001%' AND u.state = 2")" = 4 ]; }
    waits_for 40 issued
    [ "$(ledger_query "SELECT max(n) FROM (SELECT count(*) n FROM cert WHERE device IS NOT NULL GROUP BY device)")" = 1 ]
}
