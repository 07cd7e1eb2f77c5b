#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What the service signs for others to keep: the record key and its certificate, work orders, close-out reports, hand-over files.
load ../lib/instance

setup_file() { instance_up; }
teardown_file() { instance_down; }

setup() {
    instance_load
}

json() { # the value of an expression over the JSON on standard input, called j
    python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"
}

@test "init makes the record key in its token and a certificate of the profile's CA" {
    inkan --json key list | json '[k["purpose"] for k in j if k["name"] == "record/maker-ca/1"]' | grep -qF "['record']"
    inkan --json cert list --profile records | json 'len(j)' | grep -qx 1
    inkan doctor | grep -q 'records'
    serial=$(inkan --json cert list --profile records | json 'j[0]["serial"]')
    inkan cert show --issuer maker-ca --serial "$serial" --pem > "$dir/records.pem"
    openssl verify -CAfile "$dir/maker-root.pem" -untrusted "$dir/maker-ca.pem" "$dir/records.pem"
    openssl x509 -in "$dir/records.pem" -noout -ext keyUsage | grep -qx '    Digital Signature'
}

@test "init again makes no second one" {
    inkan init --config "$dir/inkan.yaml"
    inkan --json cert list --profile records | json 'len(j)' | grep -qx 1
}

@test "nobody gets a certificate of the record profile for a key outside the tokens" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout "$dir/x.key" -out "$dir/x.csr" 2> /dev/null
    run inkan cert issue --profile records --csr "$dir/x.csr"
    [ "$status" -eq 1 ]
    [[ $output == *"keys in our tokens"* ]]
}

@test "the record key is not destroyed while it is in use" {
    run inkan --yes key destroy record/maker-ca/1
    [ "$status" -eq 1 ]
    [[ $output == *"it is the record key"* ]]
}
