#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A line box under a centre: its CA is certified there, issues by itself, and is revoked from there.
load ../lib/instance
load ../lib/linebox

setup_file() {
    instance_up maker_path_len=1 "extra_profiles=$box_profile  - {name: deep, kind: issuing-ca, validity: none}
  - {name: ended, kind: issuing-ca, validity: 30d, path_len: 0}
" || return 1
    box_up || { tail -n 40 "$box/log/inkan.log"; return 1; }
}

teardown_file() {
    box_down
    instance_down
}

setup() {
    instance_load
}

# unit_box_birth ID: as unit_birth, at the box
unit_box_birth() {
    box_inkan device add "$1" --anchor example-maker > /dev/null &&
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1/serialNumber=$1" \
            -keyout "$units/$1.idevid.key" -out "$units/$1.idevid.csr" 2> /dev/null &&
        box_inkan cert issue --profile idevid --device "$1" --csr "$units/$1.idevid.csr" --out "$units/$1.idevid.pem"
}

@test "ca: the box has a key and no certificate, and certifies nobody" {
    run box_inkan ca list --json
    [ "$status" -eq 0 ]
    [ "$(jq -r '.[0] | "\(.name) \(.issuer) \(.exists) \(.ready)"' <<< "$output")" = "line-a external false false" ]
    run box_inkan ca create line-a --json
    [ "$(jq .waits <<< "$output")" = true ]
    run unit_box_birth early
    [ "$status" -eq 1 ]
    [[ $output == *"no certificate yet"* ]]
}

@test "ca: the request is signed by the token and holds the configured subject and no attributes" {
    box_inkan ca request line-a --out "$box/line-a.csr"
    run openssl req -in "$box/line-a.csr" -verify -noout -text
    [ "$status" -eq 0 ]
    [[ $output == *"verify OK"* ]]
    [[ $output == *"CN = Example Line CA A, O = Example Maker"* ]]
    openssl asn1parse -in "$box/line-a.csr" | grep -q 'l=   0 cons: cont \[ 0 \]'
    [ "$(openssl req -in "$box/line-a.csr" -noout -pubkey)" = "$(box_inkan ca request line-a | openssl req -noout -pubkey)" ]
    run inkan ca request maker-ca
    [ "$status" -eq 1 ]
    [[ $output == *"not external"* ]]
}

@test "ca: the centre certifies only under a CA that may have CAs below it, from a profile of pathLen 0" {
    run inkan ca sign line-a --issuer fleet-ca --profile line-ca --csr "$box/line-a.csr"
    [ "$status" -eq 1 ]
    [[ $output == *"pathLenConstraint 0"* ]]
    run inkan ca sign line-a --issuer maker-ca --profile ldevid --csr "$box/line-a.csr"
    [ "$status" -eq 1 ]
    run inkan cert issue --profile line-ca --csr "$box/line-a.csr"
    [ "$status" -eq 1 ]
    run inkan ca sign maker-ca --issuer maker-ca --profile line-ca --csr "$box/line-a.csr"
    [ "$status" -eq 1 ]
    [[ $output == *"name of another CA"* ]]
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$units/thief.key" -out "$units/thief.csr" \
        -subj "/CN=Example Maker CA 1/O=Example Maker" 2> /dev/null
    run inkan ca sign thief --issuer maker-ca --profile line-ca --csr "$units/thief.csr"
    [ "$status" -eq 1 ]
    [[ $output == *"this subject already"* ]]
}

@test "ca: what is not its certificate is not installed" {
    inkan ca sign line-a --issuer maker-ca --profile line-ca --csr "$box/line-a.csr" --out "$box/alone.pem"
    cat "$dir/maker-ca.pem" "$dir/maker-root.pem" > "$box/above.pem"
    # Its own key and name, signed by nobody; another key; no chain; a chain that is not its own; out of order.
    openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$units/self.key" -out "$units/self.pem" -days 3650 \
        -subj "/CN=Example Line CA A/O=Example Maker" -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
        -addext keyUsage=critical,keyCertSign,cRLSign 2> /dev/null
    run box_inkan ca install line-a --cert "$units/self.pem" --chain "$box/above.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"not the issuer"* ]]
    openssl x509 -in "$box/alone.pem" -noout -pubkey > "$units/line-a.pub"
    openssl x509 -new -force_pubkey "$units/line-a.pub" -subj "/CN=Example Line CA A/O=Example Maker" -CA "$units/self.pem" -CAkey "$units/self.key" \
        -days 3650 -extfile <(printf 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n') \
        -out "$units/forged.pem" 2> /dev/null
    run box_inkan ca install line-a --cert "$units/forged.pem" --chain "$box/above.pem"
    [ "$status" -eq 1 ]
    run box_inkan ca install line-a --cert "$box/alone.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"chain of 0 certificates"* ]]
    run box_inkan ca install line-a --cert "$box/alone.pem" --chain "$dir/maker-ca.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"self-signed root"* ]]
    cat "$dir/maker-root.pem" "$dir/maker-ca.pem" > "$box/turned.pem"
    run box_inkan ca install line-a --cert "$box/alone.pem" --chain "$box/turned.pem"
    [ "$status" -eq 1 ]
    cat "$dir/fleet-ca.pem" "$dir/fleet-root.pem" > "$box/other.pem"
    run box_inkan ca install line-a --cert "$box/alone.pem" --chain "$box/other.pem"
    [ "$status" -eq 1 ]
    run box_inkan ca install line-a --cert "$dir/maker-ca.pem" --chain "$dir/maker-root.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"another key"* ]]
    [ "$(box_inkan ca list --json | jq '.[0].exists')" = false ]
}

@test "ca: one bit of the certificate changed, and it is not installed" {
    openssl x509 -in "$box/alone.pem" -outform DER -out "$units/alone.der"
    size=$(stat -c %s "$units/alone.der")
    cp "$units/alone.der" "$units/bent.der"
    printf '\x55' | dd of="$units/bent.der" bs=1 seek=$((size - 9)) conv=notrunc status=none
    run box_inkan ca install line-a --cert "$units/bent.der" --chain "$box/above.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"does not verify"* ]]
}

@test "ca: certified, installed, serving; OpenSSL and an independent path agree" {
    box_certify
    run box_inkan ca install line-a --cert "$box/line-a.pem"
    [ "$status" -eq 0 ]
    wait_for 20 as_box health_is_ready
    run openssl x509 -in "$box/line-a.pem" -noout -ext basicConstraints,keyUsage
    [[ $output == *"CA:TRUE, pathlen:0"* ]]
    unit_box_birth unit-1
    openssl verify -x509_strict -CAfile "$dir/maker-root.pem" -untrusted <(cat "$box/line-a.pem" "$dir/maker-ca.pem") "$units/unit-1.idevid.pem"
    # The second certificate for the same request is the first.
    inkan ca sign line-a --issuer maker-ca --profile line-ca --csr "$box/line-a.csr" --out "$box/again.pem"
    [ "$(cert_serial "$box/again.pem")" = "$(cert_serial "$box/line-a.pem")" ]
}

@test "ca: the box serves the whole chain, its list and its OCSP" {
    [ "$(curl -fsS "http://localhost:$((box_port + 1))/ca/line-a-chain.pem" | grep -c BEGIN)" -eq 3 ]
    curl -fsS "http://localhost:$((box_port + 1))/crl/line-a.crl" -o "$box/line-a.crl"
    openssl crl -inform DER -in "$box/line-a.crl" -CAfile <(cat "$box/line-a.pem" "$dir/maker-ca.pem" "$dir/maker-root.pem") -noout
    cat "$box/line-a.pem" "$dir/maker-root.pem" > "$box/ca.pem"
    run openssl ocsp -issuer "$box/line-a.pem" -cert "$units/unit-1.idevid.pem" -url "http://localhost:$((box_port + 1))/ocsp" -CAfile "$box/ca.pem"
    [[ $output == *"unit-1.idevid.pem: good"* ]]
    curl -sS --cacert "$dir/maker-root.pem" "https://localhost:$box_port/.well-known/est/station/cacerts" | openssl base64 -d -A |
        openssl pkcs7 -inform DER -print_certs -out "$box/cacerts.pem"
    [ "$(grep -c BEGIN "$box/cacerts.pem")" -eq 3 ]
}

@test "ca: a restart keeps it" {
    as_box stop_service
    as_box start_service 3>&- 4>&-
    wait_for 20 as_box health_is_ready
    unit_box_birth unit-2
}

# parent_list: the centre's list of the CA above, newly made
parent_list() {
    inkan crl publish --issuer maker-ca > /dev/null && inkan crl get --issuer maker-ca > "$box/$1"
}

@test "revocation: on hold at the centre, and the box certifies nobody once it hears of it; released, it goes on" {
    parent_list good.crl
    [ "$(box_inkan crl import "$box/good.crl" --json | jq -r '.[0] | "\(.ca) \(.status) \(.changed)"')" = "line-a good false" ]
    inkan cert hold "$box/line-a.pem" --yes
    parent_list held.crl
    [ "$(box_inkan crl import "$box/held.crl" --json | jq -r '.[0] | "\(.status) \(.changed)"')" = "on_hold true" ]
    run unit_box_birth unit-3
    [ "$status" -eq 1 ]
    [[ $output == *"certifies nobody: its certificate is on hold"* ]]
    no as_box health_is_ready
    # An older list, a list of another CA, one with a wrong signature and a partial one say nothing.
    run box_inkan crl import "$box/good.crl"
    [ "$status" -eq 1 ]
    [[ $output == *"newer list"* ]]
    inkan crl get --issuer fleet-ca > "$box/fleet.crl"
    run box_inkan crl import "$box/fleet.crl"
    [ "$status" -eq 1 ]
    inkan cert release "$box/line-a.pem" --yes
    parent_list free.crl
    cp "$box/free.crl" "$box/bent.crl"
    printf '\x55' | dd of="$box/bent.crl" bs=1 seek=$(($(stat -c %s "$box/bent.crl") - 7)) conv=notrunc status=none
    run box_inkan crl import "$box/bent.crl"
    [ "$status" -eq 1 ]
    [[ $output == *"signature"* ]]
    [ "$(box_inkan crl import "$box/free.crl" --json | jq -r '.[0] | "\(.status) \(.changed)"')" = "good true" ]
    unit_box_birth unit-4
    # PEM does as well, and again changes nothing.
    openssl crl -inform DER -in "$box/free.crl" -out "$box/free.pem"
    [ "$(box_inkan crl import "$box/free.pem" --json | jq -r '.[0].changed')" = false ]
}

@test "revocation: what was heard holds over a restart" {
    inkan cert hold "$box/line-a.pem" --yes
    parent_list held.crl
    box_inkan crl import "$box/held.crl"
    as_box stop_service
    as_box start_service 3>&- 4>&-
    run unit_box_birth unit-5
    [ "$status" -eq 1 ]
    # Its list and its OCSP go on.
    box_inkan crl publish --issuer line-a
    inkan cert release "$box/line-a.pem" --yes
    parent_list free.crl
    box_inkan crl import "$box/free.crl"
    wait_for 20 as_box health_is_ready
}
