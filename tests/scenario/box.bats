#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A line box under a centre: its CA is certified there, issues by itself, and is revoked from there.
load ../lib/instance
load ../lib/linebox
load ../lib/fault

setup_file() {
    side_dir
    use_test_clock
    instance_up maker_path_len=1 "extra_profiles=$box_profile${box_profile/line-ca/line-ca-2}  - {name: deep, kind: issuing-ca, validity: none}
  - {name: ended, kind: issuing-ca, validity: 30d, path_len: 0}
" || return 1
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    box_up || { tail -n 40 "$box/log/inkan.log"; return 1; }
}

teardown_file() {
    box_down
    instance_down
    side_dir_remove
}

setup() {
    fault_load
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
    run inkan ca sign "$(printf 'l%.0s' {1..49})" --issuer maker-ca --profile line-ca --csr "$box/line-a.csr"
    [ "$status" -eq 1 ]
    [[ $output == *"at most 48 characters"* ]]
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
    # A chain that is whole, under a CA of pathLen 0.
    run box_inkan ca install line-a --cert "$units/forged.pem" --chain "$units/self.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"pathLenConstraint 0 allows no CA"* ]]
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
    bend "$units/alone.der" "$units/bent.der"
    run box_inkan ca install line-a --cert "$units/bent.der" --chain "$box/above.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"does not verify"* ]]
}

@test "ca: certified, installed, serving; OpenSSL and an independent path agree" {
    box_certify
    run box_inkan ca install line-a --cert "$box/line-a.pem"
    [ "$status" -eq 0 ]
    wait_for 60 as_box health_is_ready
    run openssl x509 -in "$box/line-a.pem" -noout -ext basicConstraints,keyUsage
    [[ $output == *"CA:TRUE, pathlen:0"* ]]
    run unit_box_birth unit-1
    [ "$status" -eq 1 ]
    [[ $output == *"budget-missing: "* ]]
    box_budget 100 30d
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
    wait_for 60 no as_box health_is_ready
    # An older list, a list of another CA, one with a wrong signature and a partial one say nothing.
    run box_inkan crl import "$box/good.crl"
    [ "$status" -eq 1 ]
    [[ $output == *"newer list"* ]]
    inkan crl get --issuer fleet-ca > "$box/fleet.crl"
    run box_inkan crl import "$box/fleet.crl"
    [ "$status" -eq 1 ]
    inkan cert release "$box/line-a.pem" --yes
    parent_list free.crl
    bend "$box/free.crl" "$box/bent.crl"
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
    wait_for 60 box_inkan crl publish --issuer line-a
    inkan cert release "$box/line-a.pem" --yes
    parent_list free.crl
    box_inkan crl import "$box/free.crl"
    wait_for 60 as_box health_is_ready
}

@test "revocation: all certificates of the box's key share their fate, and none of them is put in its place" {
    cp "$box/line-a.pem" "$box/first.pem"
    inkan ca sign line-a --issuer maker-ca --profile line-ca-2 --csr "$box/line-a.csr" --chain --out "$box/line-a.pem"
    box_inkan ca install line-a --cert "$box/line-a.pem"
    first=$(cert_serial "$box/first.pem")
    [ "$(cert_serial "$box/line-a.pem")" != "$first" ]
    inkan cert hold "$box/line-a.pem" --yes
    [ "$(inkan cert show "$box/first.pem" --json | jq -r .status)" = on_hold ]
    parent_list both.crl
    openssl crl -inform DER -in "$box/both.crl" -noout -text | grep -qi "Serial Number: $first"
    box_inkan crl import "$box/both.crl"
    run box_inkan ca install line-a --cert "$box/first.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"its key gets no other"* ]]
    inkan cert release "$box/line-a.pem" --yes
    [ "$(inkan cert show "$box/first.pem" --json | jq -r .status)" = good ]
    parent_list free.crl
    box_inkan crl import "$box/free.crl"
    wait_for 60 as_box health_is_ready
}

@test "budget: every unit is counted once, a repeat and what is no device's are not" {
    before=$(box_spent)
    unit_box_birth counted-1
    unit_box_birth counted-2
    box_inkan cert issue --profile idevid --device counted-2 --csr "$units/counted-2.idevid.csr" --out "$units/counted-2.again.pem"
    cmp "$units/counted-2.idevid.pem" "$units/counted-2.again.pem"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=s" -keyout "$units/st.key" -out "$units/st.csr" 2> /dev/null
    box_inkan cert issue --profile station --name st-1 --csr "$units/st.csr" --out "$units/st.pem"
    [ "$(box_spent)" -eq $((before + 2)) ]
}

@test "budget: a file that is not the centre's, or not for this box, is refused" {
    # One octet of the payload, of the header, of the signature.
    for member in payload protected signature; do
        jq -c --arg m "$member" '.[$m] |= (if startswith("A") then "B" else "A" end) + .[1:]' "$box/budget.1" > "$box/bent.json"
        run box_inkan budget install "$box/bent.json"
        [ "$status" -eq 1 ]
    done
    # Another's key, all else right.
    openssl ecparam -name prime256v1 -genkey -noout -out "$box/thief.key"
    sign_budget "$box/thief.key" '{"box":"line-a","issued_at":1000,"number":99,"order":"*","units":1000000,"until":4000000000}' > "$box/thief.json"
    run box_inkan budget install "$box/thief.json"
    [ "$status" -eq 1 ]
    # Another box's.
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$units/b.key" -out "$units/b.csr" -subj "/CN=Example Line CA B/O=Example Maker" 2> /dev/null
    inkan ca sign line-b --issuer maker-ca --profile line-ca --csr "$units/b.csr" --out "$units/b.pem"
    inkan budget grant --box line-b --units 5 --until 1d --out "$box/line-b.json"
    run box_inkan budget install "$box/line-b.json"
    [ "$status" -eq 1 ]
    [[ $output == *'for box "line-b"'* ]]
    # Another record of the centre's would be one of another type; what is no JWS is nothing.
    run box_inkan budget install "$box/inkan.yaml"
    [ "$status" -eq 1 ]
    # The centre grants nothing to boxes it does not know.
    run inkan budget grant --box line-z --units 5 --until 1d
    [ "$status" -eq 1 ]
    run inkan budget grant --box maker-ca --units 5 --until 1d
    [ "$status" -eq 1 ]
}

@test "budget: a key that is the configured one signs what the check of the forgery refused" {
    # The forgery above fails for its key alone: with that key in the configuration it is taken.
    openssl ec -in "$box/thief.key" -pubout -out "$box/thief.pub" 2> /dev/null
    chmod 644 "$box/thief.pub"
    cp "$box/centre-records.pem" "$box/kept.pem"
    cp "$box/thief.pub" "$box/centre-records.pem"
    sign_budget "$box/thief.key" '{"box":"line-a","issued_at":1000,"number":1000,"order":"WO-forged","units":1,"until":4000000000}' > "$box/thief2.json"
    box_inkan budget install "$box/thief2.json"
    sign_budget "$box/thief.key" '{"box":"line-a","issued_at":1000,"number":1000,"order":"*","units":5000,"until":4000000000}' > "$box/thief3.json"
    run box_inkan budget install "$box/thief3.json"
    [ "$status" -eq 1 ]
    [[ $output == *"another budget with the number"* ]]
    cp "$box/kept.pem" "$box/centre-records.pem"
}

@test "budget: used up, the next unit is refused; an old file does nothing, a new one opens again" {
    box_budget 3 30d WO-1
    for i in 1 2 3; do unit_order_birth "wo1-$i" WO-1; done
    run unit_order_birth wo1-4 WO-1
    [ "$status" -eq 1 ]
    [[ $output == *"budget-spent: "* ]]
    first=$(inkan budget list --box line-a --json | jq '.[-1].number')
    [ "$(box_inkan budget install "$box/budget.$first" --json | jq '"\(.changed) \(.spent)"')" = '"false 3"' ]
    run unit_order_birth wo1-4 WO-1
    [ "$status" -eq 1 ]
    # Units of an order with a budget of its own are not paid from the one for all.
    box_budget 1 30d WO-1
    unit_order_birth wo1-4 WO-1
    run unit_order_birth wo1-5 WO-1
    [ "$status" -eq 1 ]
    run box_inkan budget install "$box/budget.$first"
    [ "$status" -eq 0 ]
    run unit_order_birth wo1-5 WO-1
    [ "$status" -eq 1 ]
}

# unit_order_birth ID ORDER: a birth identity for a device of an order
unit_order_birth() {
    box_inkan device add "$1" --anchor example-maker --order "$2" > /dev/null 2>&1 || true
    unit_box_birth "$1"
}

box_core_pid() {
    box_inkan status --json | jq '.processes[] | select(.name == "core").pid'
}

@test "budget: a core that is killed loses the rest of a step and gains nothing; a clean stop loses nothing" {
    box_budget 34 30d WO-2
    unit_order_birth wo2-1 WO-2
    as_box stop_service
    as_box start_service 3>&- 4>&-
    wait_for 60 as_box health_is_ready
    [ "$(box_spent WO-2)" -eq 1 ]
    unit_order_birth wo2-2 WO-2
    [ "$(box_spent WO-2)" -eq 2 ]
    kill -9 "$(box_core_pid)"
    wait_for 60 as_box health_is_ready
    [ "$(box_spent WO-2)" -eq 33 ]
    unit_order_birth wo2-3 WO-2
    run unit_order_birth wo2-4 WO-2
    [ "$status" -eq 1 ]
    [[ $output == *"budget-spent: "* ]]
}

box_restore() { # FILE
    as_box stop_service
    "$programs/inkan" restore "$1" -c "$box/inkan.yaml" --config "$box/inkan.yaml" 2> /dev/null || "$programs/inkan" restore "$1" --config "$box/inkan.yaml"
    as_box start_service 3>&- 4>&-
    box_inkan restore --accept > /dev/null
    wait_for 60 as_box health_is_ready
}

@test "budget: an older ledger gives nothing back, also one from before the budget came" {
    box_inkan backup --out "$box/before.backup"
    box_budget 4 30d WO-3
    third=$(inkan budget list --box line-a --json | jq '.[-1].number')
    box_inkan backup --out "$box/unspent.backup"
    for i in 1 2 3; do unit_order_birth "wo3-$i" WO-3; done
    box_restore "$box/unspent.backup"
    [ "$(box_spent WO-3)" -ge 3 ]
    unit_order_birth wo3-4 WO-3 || true
    run unit_order_birth wo3-5 WO-3
    [ "$status" -eq 1 ]
    [[ $output == *"budget-spent: "* ]]
    box_restore "$box/before.backup"
    run unit_order_birth wo3-6 WO-3
    [ "$status" -eq 1 ]
    [[ $output == *"budget-missing: the ledger is older"* ]]
    [ "$(box_inkan budget install "$box/budget.$third" --json | jq .spent)" -eq 4 ]
    run unit_order_birth wo3-6 WO-3
    [ "$status" -eq 1 ]
    [[ $output == *"budget-spent: "* ]]
}

@test "budget: damaged or missing marks are no fresh start" {
    box_budget 10 30d WO-4
    unit_order_birth wo4-1 WO-4
    as_box stop_service
    mv "$box/marks/budget" "$box/kept.marks"
    sed 's/^end$//' "$box/kept.marks" > "$box/marks/budget"
    as_box start_service 3>&- 4>&-
    wait_for 60 as_box health_is_ready
    run unit_order_birth wo4-2 WO-4
    [ "$status" -eq 1 ]
    [[ $output == *"budget-missing: what was drawn cannot be read"* ]]
    run box_budget 10 30d WO-4
    [ "$status" -eq 1 ]
    as_box stop_service
    rm "$box/marks/budget"
    as_box start_service 3>&- 4>&-
    wait_for 60 as_box health_is_ready
    run unit_order_birth wo4-2 WO-4
    [ "$status" -eq 1 ]
    [[ $output == *"budget-missing: the marks"* ]]
    box_budget 10 30d WO-4
    unit_order_birth wo4-2 WO-4
    box_budget 10 30d
}

@test "budget: over at its end, and a clock turned back does not bring it again" {
    box_budget 10 20m WO-5
    unit_order_birth wo5-1 WO-5
    set_clock 1500
    run unit_order_birth wo5-2 WO-5
    [ "$status" -eq 1 ]
    [[ $output == *"budget-expired: "* ]]
    unit_box_birth later-1 # the floor rises
    set_clock 0
    run unit_order_birth wo5-2 WO-5
    [ "$status" -eq 1 ]
    as_box stop_service
    as_box start_service 3>&- 4>&-
    run unit_order_birth wo5-2 WO-5
    [ "$status" -eq 1 ]
    set_clock 1300 # within what the floor allows, before nothing
    wait_for 60 as_box health_is_ready
    run unit_order_birth wo5-2 WO-5
    [ "$status" -eq 1 ]
    [[ $output == *"budget-expired: "* ]]
}

@test "budget: over stays over when the operator vouches for an earlier time" {
    set_clock 1300
    box_budget 10 20m WO-6
    unit_order_birth wo6-1 WO-6
    set_clock 2800
    run unit_order_birth wo6-2 WO-6
    [ "$status" -eq 1 ]
    [[ $output == *"budget-expired: "* ]]
    set_clock 1400
    box_inkan clock accept --yes
    wait_for 60 as_box health_is_ready
    run unit_order_birth wo6-2 WO-6
    [ "$status" -eq 1 ]
    [[ $output == *"budget-expired: "* ]]
}
