#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The runbooks of docs/operations.md: their blocks as they stand, against one service, and what is true afterwards.
load ../lib/instance

setup_file() {
    instance_up
    instance_load
    mkdir -p "$dir/path"
    printf '#!/bin/sh\nexec %s --socket %s "$@"\n' "$programs/inkan" "$dir/run/admin.sock" > "$dir/path/inkan"
    chmod 755 "$dir/path/inkan"
    for unit in rb-1 rb-2 rb-3; do
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$unit/serialNumber=$unit" \
            -keyout "$units/$unit.idevid.key" -out "$units/$unit.idevid.csr" 2> /dev/null
        inkan device add "$unit" --domain example --anchor example-maker --product demo --lot "$([ "$unit" = rb-1 ] && echo L-1 || echo L-2)" > /dev/null
        inkan cert issue --profile idevid --domain example --device "$unit" --csr "$units/$unit.idevid.csr" --out "$units/$unit.idevid.pem" 2> /dev/null
        unit_device "$unit" enroll
    done
}
teardown_file() { instance_down; }
setup() {
    instance_load
    export ticket=T-4711 ca=fleet-ca root=fleet-root ca_file=$dir/fleet-root.pem service=https://localhost:$port http=http://localhost:$((port + 1))
    cd "$BATS_TEST_TMPDIR"
}

no() { ! "$@"; }

# runbook TITLE N: the N-th block of that section, as it stands; its output in ./out
runbook() {
    awk -v title="### $1" -v n="$2" '
        $0 == title { on = 1; next } /^##/ { on = 0 }
        on && /^```sh$/ { block++; inside = 1; next } /^```$/ { inside = 0 }
        on && inside && block == n' "$source_dir/docs/operations.md" > block.sh
    [ "$(wc -l < block.sh)" -ge 3 ]
    PATH=$dir/path:$PATH sh -eu block.sh > out 2>&1 < /dev/null || { cat block.sh out; return 1; }
}
state() { inkan device show "$1" --json | jq -r .state; }
cert_status() { inkan cert show "$1" --json | jq -r .status; }
ocsp() {
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$1" -url "$http/ocsp" -CAfile "$dir/ca.pem" 2>&1 | sed -n "s#^$1: ##p"
}
# root_list_becomes N: that many holds in the root's list, as everybody gets it
root_list_becomes() {
    local end=$((SECONDS + 60))
    until [ "$(curl -fsS "$http/crl/fleet-root.crl" | openssl crl -inform DER -noout -text | grep -c "Certificate Hold")" -eq "$1" ]; do
        [ "$SECONDS" -lt "$end" ]
        sleep 0.2
    done
}
number() { inkan crl list --json | jq -r --arg i "$1" '.[] | select(.issuer == $i and .shard == 0) | .number'; }

@test "every block of the runbooks is run here" {
    sed -n '/^## Runbooks/,/^## Log/p' "$source_dir/docs/operations.md" | grep -c '^```sh$' > blocks
    [ "$(cat blocks)" -eq "$(grep -oE '^    runbook .*' "$BATS_TEST_FILENAME" | sort -u | wc -l)" ]
}

@test "unit stolen, and found again" {
    unit=rb-1
    export unit
    runbook "Unit stolen" 1
    [ "$(state rb-1)" = lost ]
    [ "$(cert_status "$units/rb-1/cert.pem")" = revoked ]
    [ "$(ocsp "$units/rb-1/cert.pem")" = revoked ]
    [ "$(cert_status "$units/rb-2/cert.pem")" = good ]
    runbook "Unit stolen" 2
    [ "$(state rb-1)" = suspended ]
    [ "$(cert_status "$units/rb-1.idevid.pem")" = good ]
    rm -r "$units/rb-1"
    unit_device rb-1 enroll
    [ "$(state rb-1)" = in_service ]
}

@test "lot compromised: suspended, released, suspended and compromised" {
    local batch
    lot=L-2
    export lot
    runbook "Lot compromised" 1
    batch=$(inkan fleet list --limit 1 --json | jq -r '.[0].id')
    export batch
    [ "$(state rb-2) $(state rb-3) $(state rb-1)" = "suspended suspended in_service" ]
    [ "$(grep -c '^example,rb-\|rb-[23]' lot-L-2.csv)" -eq 2 ]
    runbook "Lot compromised" 2
    [ "$(state rb-2) $(state rb-3)" = "in_service in_service" ]
    [ "$(cert_status "$units/rb-3/cert.pem")" = good ]
    runbook "Lot compromised" 3
    [ "$(state rb-2) $(state rb-3) $(state rb-1)" = "compromised compromised in_service" ]
    [ "$(inkan cert show "$units/rb-2/cert.pem" --json | jq -r '.status + " " + .reason')" = "revoked keyCompromise" ]
}

@test "CA suspected: it issues nothing until the root takes it back" {
    local birth=rb-9
    runbook "CA suspected" 1
    root_list_becomes 1
    unit_birth "$birth"
    no unit_device "$birth" enroll
    runbook "CA suspected" 2
    root_list_becomes 0
    unit_device "$birth" enroll
}

@test "station lost" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout s.key -out s.csr -subj /CN=rb-station 2> /dev/null
    inkan station add rb-station --domain example --line L1 --role issue --csr s.csr --out s.pem
    station=rb-station since=$(date -u -d '2 days ago' +%Y-%m-%dT%H:%MZ)
    export station since
    runbook "Station lost" 1
    [ "$(cert_status s.pem)" = revoked ]
}

is_told_of() { inkan gateway list | grep -q '^gw-1 .* nginx '; }

@test "gateway offline: the feed answers its certificate, and another after that was revoked" {
    gateway=gw-1
    export gateway
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=gw-1 -keyout gw-1.key -out gw-1.csr 2> /dev/null
    inkan cert issue --profile gateway --name gw-1 --csr gw-1.csr --out gw-1.pem
    cp gw-1.pem old.pem
    cp gw-1.key old.key
    curl -sS --cacert "$ca_file" --cert gw-1.pem --key gw-1.key -o /dev/null "$service/v1/feed/changes?after=1&applied=nginx/1/1700000000"
    wait_for 60 is_told_of
    runbook "Gateway offline" 1
    grep -q '^gw-1 .* nginx ' out
    runbook "Gateway offline" 2
    [ "$(wc -l < snapshot)" -ge 4 ]
    runbook "Gateway offline" 3
    [ "$(cert_status old.pem)" = revoked ]
    no curl --fail -sS --cacert "$ca_file" --cert old.pem --key old.key -o /dev/null "$service/v1/feed/snapshot"
    runbook "Gateway offline" 2
}

@test "CRL about to lapse: the lists of the CA and of its root are new" {
    local before=$(number fleet-ca) root_before=$(number fleet-root)
    sleep 1 # a number is at least the time
    runbook "CRL about to lapse" 1
    [ "$(number fleet-ca)" -gt "$before" ]
    [ "$(number fleet-root)" -gt "$root_before" ]
}
