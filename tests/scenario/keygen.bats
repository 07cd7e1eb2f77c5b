#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# EST serverkeygen (RFC 7030 4.4): all kinds of key in all forms, opened by openssl; what must be refused; repeats; a canary of keys.
load ../lib/instance

kinds="p256 p384 ed25519 rsa2048"
exports=(client.example)

setup_file() {
    local made="kind: ldevid, ca: fleet-ca, key_algs: [p256, p384, ed25519, rsa2048, rsa3072, rsa4096], crl_url: true" kind
    local birth="kind: idevid, ca: maker-ca, validity: none"
    extra_profiles="  - {name: receive-ec, $birth, key_usage: [digitalSignature, keyAgreement]}
  - {name: receive-rsa, $birth, key_usage: [digitalSignature, keyEncipherment]}
"
    extra_labels=""
    for kind in $kinds rsa3072; do
        extra_profiles+="  - {name: clear-$kind, $made, keygen: service, keygen_key: $kind, keygen_clear: true}
"
        extra_labels+="  - {name: clear-$kind, domain: example, profile: clear-$kind}
"
    done
    for kind in p256 rsa2048; do
        extra_profiles+="  - {name: token-$kind, $made, keygen: token, keygen_key: $kind, keygen_clear: true}
"
        extra_labels+="  - {name: token-$kind, domain: example, profile: token-$kind}
"
    done
    extra_profiles+="  - {name: sealed, $made, keygen: service}
"
    extra_labels+="  - {name: sealed, domain: example, profile: sealed}
  - {name: wrapped, domain: example, profile: clear-p256, wrap64: true}
"
    instance_up "extra_profiles=$extra_profiles" "extra_labels=$extra_labels" extra_config="keygen_pool: 4
"
    cat "$dir/maker-ca.pem" "$dir/maker-root.pem" > "$dir/maker.pem"
}
teardown_file() { instance_down; }
setup() {
    instance_load
    parts=$BATS_TEST_TMPDIR
}

keygen() { /usr/bin/python3 "$source_dir/tests/lib/keygen.py" "$@"; }

# unit ID [PROFILE [ALGORITHM option...]]: declared, with a birth certificate that may receive keys
unit() {
    local id=$1 profile=${2:-idevid}
    shift $(($# > 2 ? 2 : $#))
    [ $# -gt 0 ] || set -- EC -pkeyopt ec_paramgen_curve:P-256
    inkan device add "$id" --domain example --anchor example-maker --product demo > /dev/null
    openssl genpkey -algorithm "$@" -out "$units/$id.idevid.key" 2> /dev/null
    openssl req -new -key "$units/$id.idevid.key" -subj "/CN=$id/serialNumber=$id" -out "$units/$id.idevid.csr"
    inkan cert issue --profile "$profile" --domain example --device "$id" --csr "$units/$id.idevid.csr" --out "$units/$id.idevid.pem" 2> /dev/null
}

# ask LABEL ID [curl option...]: posts $parts/csr; prints the status
ask() {
    local label=$1 id=$2
    shift 2
    est "$label/serverkeygen" -H 'Content-Type: application/pkcs10' --data-binary "@$parts/csr" \
        --cert "$units/$id.idevid.pem" --key "$units/$id.idevid.key" "$@"
}

# made LABEL ID [keygen option...]: a request and its answer, taken apart in $parts; prints the type of the key part
made() {
    local label=$1 id=$2
    shift 2
    keygen csr "$parts/csr" "$id" "$@"
    status=$(ask "$label" "$id")
    [ "$status" = 200 ] || { echo "status $status: $(cat "$dir/body")"; return 1; }
    keygen split "$dir/body" "$dir/headers" "$parts"
}

# refused STATUS TEXT LABEL ID [keygen option...]
refused() {
    local wanted=$1 text=$2 label=$3 id=$4
    shift 4
    keygen csr "$parts/csr" "$id" "$@"
    status=$(ask "$label" "$id")
    [ "$status" = "$wanted" ] && grep -q "$text" "$dir/body" && no grep -q PRIVATE "$dir/body" || { echo "status $status: $(cat "$dir/body")"; return 1; }
}

@test "each kind of key in clear: two parts, PrivateKeyInfo, and the certificate that simpleenroll would give" {
    for kind in $kinds rsa3072; do
        unit "clear-$kind"
        [ "$(made "clear-$kind" "clear-$kind")" = application/pkcs8 ]
        keygen check "$parts/key.der" "$parts/cert.pem"
        openssl verify -x509_strict -purpose sslclient -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$parts/cert.pem"
        openssl x509 -in "$parts/cert.pem" -noout -subject -nameopt RFC2253 | grep -q "serialNumber=clear-$kind"
    done
    # Lines of 64 columns where the label wants them.
    unit wrapped-1
    [ "$(made wrapped wrapped-1)" = application/pkcs8 ]
    [ "$(awk 'length > m { m = length } END { print m }' "$dir/body")" -le 80 ]
    keygen check "$parts/key.der" "$parts/cert.pem"
}
