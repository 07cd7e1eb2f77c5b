#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# EST serverkeygen (RFC 7030 4.4): all kinds of key in all forms, opened by openssl; what must be refused; repeats; a canary of keys.
load ../lib/instance
load ../lib/factory

kinds="p256 p384 ed25519 rsa2048"

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
    for kind in p256 rsa2048 ed25519; do
        extra_profiles+="  - {name: token-$kind, $made, keygen: token, keygen_key: $kind, keygen_clear: true}
"
        extra_labels+="  - {name: token-$kind, domain: example, profile: token-$kind}
"
    done
    extra_profiles+="  - {name: sealed, $made, keygen: service}
"
    extra_labels+="  - {name: sealed, domain: example, profile: sealed}
  - {name: wrapped, domain: example, profile: clear-p256, wrap64: true}
  - {name: by-password, domain: example, profile: sealed, auth_cert: false}
"
    instance_up "extra_profiles=$extra_profiles" "extra_labels=$extra_labels" extra_config="keygen_pool: 4
"
    cat "$dir/maker-ca.pem" "$dir/maker-root.pem" > "$dir/maker.pem"
    station_add issue-1 issue
    station_add verify-1 verify
    station_add rework-1 rework
    station_add qa-1 qa
}
teardown_file() { instance_down; }
setup() {
    instance_load
    parts=$BATS_TEST_TMPDIR
}

keygen() { /usr/bin/python3 "$source_dir/tests/lib/keygen.py" "$@"; }

sql() { sqlite3 -readonly -cmd ".timeout 30000" "$dir/state/ledger/ledger.db" "$1"; }

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
    for kind in p256 rsa2048 ed25519; do
        unit "token-$kind"
        [ "$(made "token-$kind" "token-$kind")" = application/pkcs8 ]
        keygen check "$parts/key.der" "$parts/cert.pem"
    done
    # Lines of 64 columns where the label wants them.
    unit wrapped-1
    [ "$(made wrapped wrapped-1)" = application/pkcs8 ]
    [ "$(awk 'length > m { m = length } END { print m }' "$dir/body")" -le 80 ]
    keygen check "$parts/key.der" "$parts/cert.pem"
}

# opened LABEL ID FORM OPTIONS... -- OPEN-OPTIONS...: asks, finds FORM in what asn1crypto says of the envelope, opens it, checks the key
opened() {
    local label=$1 id=$2 form=$3 ask=()
    shift 3
    while [ "$1" != -- ]; do ask+=("$1"); shift; done
    shift
    [ "$(made "$label" "$id" "${ask[@]}")" = 'application/pkcs7-mime; smime-type=server-generated-key' ]
    run keygen describe "$parts/key.der"
    [[ $output == *"$form"* ]] || { echo "$output"; return 1; }
    keygen open "$parts/key.der" "$parts/clear.der" "$dir/maker.pem" "$@"
    keygen check "$parts/clear.der" "$parts/cert.pem"
    no grep -q "$(keygen secrets "$parts/clear.der" | head -n 1 | cut -d' ' -f2 | xxd -r -p | base64 -w 0 | cut -c 1-16)" "$dir/body"
}

@test "a key shared beforehand: kekri of version 4 with that identifier, for each kind of key" {
    local short=00112233445566778899aabbccddeeff long
    long=$(inkan kek add 6c6f6e67 --json | jq -r .key)
    echo "$short" > "$parts/kek"
    chmod 600 "$parts/kek"
    inkan kek add 73686f7274 --key-file "$parts/kek"
    [ "$(inkan kek list --json | jq -r '[.[] | .key_id + " " + (.bits | tostring) + " " + .state] | join(",")')" = "6c6f6e67 256 open,73686f7274 128 open" ]
    for kind in $kinds; do
        unit "kek-$kind"
        opened "clear-$kind" "kek-$kind" "v2 kekri v4 id=73686f7274 aes128_wrap signed_data" kek=73686f7274 cap=aes256-wrap cap=aes128-wrap -- kek="$short" id=73686f7274
    done
    unit kek-long
    opened sealed kek-long "v2 kekri v4 id=6c6f6e67 aes256_wrap signed_data aes256_cbc" kek=6c6f6e67 cap=aes128-wrap cap=aes256-wrap cap=aes256-cbc -- kek="$long" id=6c6f6e67
    # Not under another key: it is no matter of form.
    run keygen open "$parts/key.der" "$parts/none.der" "$dir/maker.pem" kek="${long:1}${long:0:1}" id=6c6f6e67
    [ "$status" -ne 0 ]
    # For one device only; revoked for none.
    inkan kek add 6f6e65 --device kek-long --key-file "$parts/kek"
    unit kek-other
    refused 403 "no key is known" sealed kek-other kek=6f6e65 cap=aes128-wrap
    opened sealed kek-long "id=6f6e65 aes128_wrap signed_data aes128_cbc" kek=6f6e65 cap=aes128-wrap -- kek="$short" id=6f6e65
    inkan kek revoke 6f6e65 --yes
    refused 403 "no key is known" sealed kek-long kek=6f6e65 cap=aes128-wrap
    [ "$(sql "SELECT length(sealed) FROM kek WHERE hex(key_id) = '6F6E65'")" = 0 ]
    no inkan kek add 6f6e65 --key-file "$parts/kek"
}

@test "an EC certificate: kari of version 3, an ephemeral key, ukm; by key identifier and by issuer and serial" {
    unit kari-1 receive-ec
    unit kari-2 receive-ec EC -pkeyopt ec_paramgen_curve:P-384
    local ski=$(keygen ski "$units/kari-1.idevid.pem") with="key=$units/kari-1.idevid.key cert=$units/kari-1.idevid.pem"
    for kind in $kinds; do
        opened "clear-$kind" kari-1 "v2 kari v3 originator_key r_key_id 1.3.132.1.11.1 ukm=64 signed_data" asym="$ski" cap=ecdh256-aes128 -- $with
    done
    opened sealed kari-1 "v2 kari v3 originator_key issuer_and_serial_number 1.3.132.1.11.1" asym="$(keygen issuer-serial "$units/kari-1.idevid.pem")" cap=aes128-wrap cap=aes128-cbc -- $with
    opened sealed kari-2 "r_key_id 1.3.132.1.11.2 ukm=64 signed_data aes256_cbc" asym="$(keygen ski "$units/kari-2.idevid.pem")" cap=ecdh384-aes256 cap=ecdh256-aes128 -- \
        key="$units/kari-2.idevid.key" cert="$units/kari-2.idevid.pem"
}

@test "an RSA certificate: ktri, OAEP before PKCS#1 v1.5" {
    unit ktri-1 receive-rsa RSA -pkeyopt rsa_keygen_bits:2048
    local ski=$(keygen ski "$units/ktri-1.idevid.pem") with="key=$units/ktri-1.idevid.key cert=$units/ktri-1.idevid.pem"
    for kind in $kinds; do
        opened "clear-$kind" ktri-1 "v2 ktri v2 subject_key_identifier rsaes_oaep sha256 signed_data" asym="$ski" cap=rsa cap=oaep256 -- $with
    done
    opened sealed ktri-1 "rsaes_oaep sha1" asym="$ski" cap=oaep1 cap=oaep256 -- $with
    opened sealed ktri-1 "rsaes_oaep sha512" asym="$ski" cap=oaep512 -- $with
    opened sealed ktri-1 "ktri v2 subject_key_identifier rsaes_pkcs1v15" asym="$ski" cap=rsa -- $with
    opened sealed ktri-1 "v0 ktri v0 issuer_and_serial_number rsaes_oaep sha256" asym="$(keygen issuer-serial "$units/ktri-1.idevid.pem")" cap=oaep256 -- $with
}

@test "an encryption that cannot be honoured is refused, never answered in clear" {
    unit deny-1 receive-ec
    unit deny-2
    unit deny-3 receive-rsa RSA -pkeyopt rsa_keygen_bits:2048
    local ski=$(keygen ski "$units/deny-1.idevid.pem")
    inkan kek add 64656e79 > /dev/null
    refused 403 "encrypted only" sealed deny-1
    refused 403 "encrypted only" sealed deny-1 cap=aes128-wrap
    for label in clear-p256 sealed; do
        refused 403 "no key is known" $label deny-1 kek=00 cap=aes128-wrap
        refused 403 "no certificate is known" $label deny-1 asym=0011223344 cap=ecdh256-aes128
        refused 403 "no certificate is known" $label deny-1 asym="$(keygen ski "$units/deny-3.idevid.pem")" cap=oaep256
        refused 403 "does not allow keyAgreement" $label deny-2 asym="$(keygen ski "$units/deny-2.idevid.pem")" cap=ecdh256-aes128
        refused 400 "SMIMECapabilities is missing" $label deny-1 kek=64656e79
        refused 400 "SMIMECapabilities is missing" $label deny-1 asym="$ski"
        refused 400 "one of the two" $label deny-1 kek=64656e79 asym="$ski" cap=aes256-wrap
        refused 400 "no key encryption" $label deny-1 kek=64656e79 cap=
        refused 400 "no key encryption" $label deny-1 kek=64656e79 cap=aes128-wrap cap=aes256-cbc
        refused 400 "no key encryption" $label deny-1 asym="$ski" cap=oaep256 cap=des3
        refused 400 "no key encryption" $label deny-3 asym="$(keygen ski "$units/deny-3.idevid.pem")" cap=ecdh256-aes128 cap=des3
    done
    # Attributes that are broken, empty or there twice.
    refused 400 "two DecryptKeyIdentifier" clear-p256 deny-1 kek=64656e79 kek=64656e79 cap=aes256-wrap
    refused 400 "not 1 to 512" clear-p256 deny-1 kek= cap=aes256-wrap
    refused 400 "not one OCTET STRING" clear-p256 deny-1 extra=3012060b2a864886f70d010910022531030c0141
    refused 400 "SMIMECapabilities: entry 1" clear-p256 deny-1 kek=64656e79 extra=301106092a864886f70d01090f310430023000
    [ "$(sql "SELECT count(*) FROM cert c JOIN device d ON d.id = c.device WHERE d.device_id LIKE 'deny-%' AND c.operation = 5")" = 0 ]
}

@test "a certificate that does not authenticate the device receives nothing: another's beside a secret, a station's" {
    unit other-1 receive-ec
    unit other-2 receive-ec
    keygen csr "$parts/csr" other-2 asym="$(keygen ski "$units/other-1.idevid.pem")" cap=ecdh256-aes128
    [ "$(with_secret_of other-2 by-password --cert "$units/other-1.idevid.pem" --key "$units/other-1.idevid.key")" = 403 ]
    grep -q "no certificate is known" "$dir/body"
    # Its own it may name, whoever presents what.
    keygen csr "$parts/csr" other-2 asym="$(keygen ski "$units/other-2.idevid.pem")" cap=ecdh256-aes128
    [ "$(with_secret_of other-2 by-password --cert "$units/other-1.idevid.pem" --key "$units/other-1.idevid.key")" = 200 ]
    order_open WO-s 'profile: "clear-p256", key_mode: "server-encrypted"'
    [ "$(unit_key issue-1 WO-s WO-s-00000001 asym="$(keygen ski "$dir/issue-1.pem")" cap=ecdh256-aes128)" = 403 ]
    grep -q "no certificate is known" "$dir/body"
}

@test "the key and the signature of the request are ignored, whatever they are; broken DER is not" {
    unit any-1
    # An unknown algorithm, a weak RSA key with exponent 1, the birth certificate's own key: none of it matters.
    made clear-p256 any-1 spki=300d300706052b0e030202030200ff > /dev/null
    made clear-p256 any-1 spki=301a300d06092a864886f70d01010105000309003006020100020101 > /dev/null
    made clear-p256 any-1 "spki=$(openssl pkey -in "$units/any-1.idevid.key" -pubout -outform DER | xxd -p | tr -d '\n')" sig= > /dev/null
    keygen check "$parts/key.der" "$parts/cert.pem"
    [ "$(openssl x509 -in "$parts/cert.pem" -noout -pubkey)" != "$(openssl pkey -in "$units/any-1.idevid.key" -pubout)" ]
    refused 400 "subjectPKInfo" clear-p256 any-1 spki=3009300706052b0e030202
    # What else the request says counts as in simpleenroll.
    keygen csr "$parts/csr" any-other
    [ "$(ask clear-p256 any-1)" = 403 ]
    grep -q "another device" "$dir/body"
    [ "$(est clear-p256/serverkeygen -H 'Content-Type: application/pkcs10' --data-binary "@$parts/csr")" = 401 ]
    [ "$(ask nothing any-1)" = 404 ]
    [ "$(est serverkeygen -X POST -H 'Content-Type: application/pkcs10' --data-binary "@$parts/csr" --cert "$units/any-1.idevid.pem" --key "$units/any-1.idevid.key")" = 404 ]
    [ "$(est clear-p256/serverkeygen)" = 405 ]
}

@test "the cipher of the connection is as strong as the key" {
    unit tls-1
    keygen csr "$parts/csr" tls-1
    [ "$(ask clear-p384 tls-1 --tlsv1.3 --tls13-ciphers TLS_AES_128_GCM_SHA256)" = 403 ]
    grep -q "256 bits at least; this connection's has 128" "$dir/body"
    [ "$(ask clear-p384 tls-1 --tls-max 1.2 --ciphers ECDHE-ECDSA-AES128-GCM-SHA256)" = 403 ]
    [ "$(ask clear-p384 tls-1 --tlsv1.3 --tls13-ciphers TLS_CHACHA20_POLY1305_SHA256)" = 200 ]
    [ "$(ask clear-p256 tls-1 --tlsv1.3 --tls13-ciphers TLS_AES_128_GCM_SHA256)" = 200 ]
}

@test "more devices at once than keys are ready: each waits for one of its own" {
    for i in $(seq 8); do
        unit "crowd-$i"
        keygen csr "$parts/csr-$i" "crowd-$i"
    done
    for i in $(seq 8); do
        curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/crowd-$i.idevid.pem" --key "$units/crowd-$i.idevid.key" -H 'Content-Type: application/pkcs10' \
            --data-binary "@$parts/csr-$i" -o "$parts/body-$i" -D "$parts/headers-$i" -w '%{http_code}\n' "$(est_url clear-rsa2048)/serverkeygen" >> "$parts/status" &
    done
    wait
    [ "$(sort -u "$parts/status")" = 200 ]
    for i in $(seq 8); do
        keygen split "$parts/body-$i" "$parts/headers-$i" "$parts"
        keygen check "$parts/key.der" "$parts/cert.pem"
        openssl x509 -in "$parts/cert.pem" -noout -pubkey | sha256sum >> "$parts/keys"
    done
    [ "$(sort -u "$parts/keys" | wc -l)" = 8 ]
}

@test "a repeat makes a new key and supersedes the certificate that was not delivered, until the device has used one" {
    unit again-1
    made clear-p256 again-1 > /dev/null
    cp "$parts/key.der" "$parts/first.der"
    cp "$parts/cert.pem" "$parts/first.pem"
    made clear-p256 again-1 > /dev/null
    no cmp -s "$parts/key.der" "$parts/first.der"
    state() { inkan cert show --issuer fleet-ca --serial "$(cert_serial "$1")" --json | jq -r '.status + " " + (.reason // "")'; }
    [ "$(state "$parts/first.pem")" = "revoked superseded" ]
    [ "$(state "$parts/cert.pem")" = "good " ]
    # One transaction, so one time: the revocation and the new certificate.
    [ "$(sql "SELECT count(*) FROM cert o JOIN cert n ON n.device = o.device AND n.operation = 5 AND n.id > o.id JOIN device d ON d.id = o.device
        WHERE d.device_id = 'again-1' AND o.operation = 5 AND o.status_at = n.issued_at AND o.status = 2 AND o.reason = 4")" = 1 ]
    # Once a certificate has been used, it renews itself and the birth certificate gets no other key.
    use() { openssl pkey -inform DER -in "$parts/key.der" -out "$parts/$1.key" && cp "$parts/cert.pem" "$parts/$1.pem"; }
    renew() { # NAME: serverkeygen with that certificate; prints the status
        keygen csr "$parts/csr" again-1 like="$parts/$1.pem"
        est clear-p256/serverkeygen -H 'Content-Type: application/pkcs10' --data-binary "@$parts/csr" --cert "$parts/$1.pem" --key "$parts/$1.key"
    }
    use own
    [ "$(renew own)" = 200 ]
    keygen split "$dir/body" "$dir/headers" "$parts"
    use lost
    [ "$(renew own)" = 200 ]
    keygen split "$dir/body" "$dir/headers" "$parts"
    use next
    [ "$(state "$parts/lost.pem") $(state "$parts/own.pem")" = "revoked superseded good " ]
    refused 403 "uses it" clear-p256 again-1
    [ "$(renew next)" = 200 ]
    refused 403 "uses it" clear-p256 again-1
    # What an operator does counts here too.
    inkan cert hold "$parts/next.pem" --yes > /dev/null
    [ "$(renew next)" = 403 ]
    [ "$(renew own)" = 403 ]
    refused 403 "suspended\|uses it" clear-p256 again-1
}

@test "secrets: a device's opens serverkeygen again until its key is used, and no other operation" {
    inkan device add secret-1 --domain example > /dev/null
    made=$(inkan secret add --device secret-1 --json)
    user="$(jq -r .user <<< "$made"):$(jq -r .secret <<< "$made")"
    keygen csr "$parts/csr" secret-1
    with_secret() { est "clear-p256/$1" -H 'Content-Type: application/pkcs10' --data-binary "@$2" -u "$user"; }
    [ "$(with_secret serverkeygen "$parts/csr")" = 200 ]
    [ "$(with_secret serverkeygen "$parts/csr")" = 200 ]
    keygen split "$dir/body" "$dir/headers" "$parts"
    new_csr secret-1 /CN=secret-1
    [ "$(with_secret simpleenroll "$units/secret-1.csr")" = 401 ]
    [ "$(sql "SELECT count(*) FROM alarm WHERE kind = 'secret-with-other-key'")" = 1 ]
    openssl pkey -inform DER -in "$parts/key.der" -out "$parts/own.key"
    keygen csr "$parts/renew" secret-1 like="$parts/cert.pem"
    [ "$(est clear-p256/serverkeygen -H 'Content-Type: application/pkcs10' --data-binary "@$parts/renew" --cert "$parts/cert.pem" --key "$parts/own.key")" = 200 ]
    [ "$(with_secret serverkeygen "$parts/csr")" = 401 ]
}

# with_secret_of ID LABEL [curl option...]: posts $parts/csr with a new secret of that device; prints the status
with_secret_of() {
    local made label=$2
    made=$(inkan secret add --device "$1" --json)
    shift 2
    est "$label/serverkeygen" -H 'Content-Type: application/pkcs10' --data-binary "@$parts/csr" -u "$(jq -r .user <<< "$made"):$(jq -r .secret <<< "$made")" "$@"
}

# unit_key STATION ORDER UNIT [keygen option...]: a station asks for a unit's key; taken apart in $parts, the key and the certificate in $units
unit_key() {
    local station=$1 order=$2 unit=$3 status
    shift 3
    keygen csr "$parts/csr" "$unit" "$@"
    status=$(as "$station" -D "$dir/headers" -H 'Content-Type: application/pkcs10' --data-binary "@$parts/csr" "$(est_url "$order")/serverkeygen")
    if [ "$status" = 200 ]; then
        keygen split "$dir/body" "$dir/headers" "$parts" > "$parts/type"
        [ "$(cat "$parts/type")" != application/pkcs8 ] || openssl pkey -inform DER -in "$parts/key.der" -out "$units/$unit.key"
        cp "$parts/cert.pem" "$units/$unit.pem"
    fi
    echo "$status"
}

@test "under a work order: a lost reply brings a new key within the allowance, after the confirm nothing but rework does" {
    order_open WO-k 'profile: "clear-p256", key_mode: "server", rekeys: 1, rework: 1'
    unit=WO-k-00000001
    [ "$(unit_key issue-1 WO-k $unit)" = 200 ]
    cp "$units/$unit.pem" "$parts/lost.pem"
    [ "$(unit_key issue-1 WO-k $unit)" = 200 ]
    no cmp -s "$units/$unit.pem" "$parts/lost.pem"
    [ "$(inkan cert show "$parts/lost.pem" --json | jq -r '.status + " " + .reason')" = "revoked superseded" ]
    [ "$(unit_key issue-1 WO-k $unit)" = 403 ]
    grep -q "rekeys-used: " "$dir/body"
    [ "$(unit_confirm WO-k $unit)" = 200 ] || { cat "$dir/body"; false; }
    [ "$(unit_key issue-1 WO-k $unit)" = 403 ]
    grep -q "unit-confirmed: " "$dir/body"
    [ "$(unit_post qa-1 WO-k $unit rework '{"reason":"lost its key"}')" = 200 ] || { cat "$dir/body"; false; }
    [ "$(unit_key rework-1 WO-k $unit)" = 200 ] || { cat "$dir/body"; false; }
    [ "$(unit_confirm WO-k $unit)" = 200 ]
    [ "$(inkan order status WO-k --json | jq -r '.counts.confirmed // .confirmed')" = 1 ]
    # A key that was confirmed was delivered: under no other label either is its certificate replaced as lost.
    inkan device ship $unit
    [ "$(with_secret_of $unit clear-p256)" = 403 ] || { cat "$dir/body"; false; }
    grep -q "uses it" "$dir/body"
    [ "$(inkan cert show "$units/$unit.pem" --json | jq -r .status)" = good ]
    # simpleenroll is not for this order, and serverkeygen not for one whose devices make their keys.
    device_key WO-k-00000002
    [ "$(unit_issue issue-1 WO-k WO-k-00000002)" = 403 ]
    grep -q "key-mode: " "$dir/body"
    order_open WO-d 'profile: "clear-p256"'
    [ "$(unit_key issue-1 WO-d WO-d-00000001)" = 403 ]
    grep -q "key-mode: " "$dir/body"
    order_open WO-n 'key_mode: "server"'
    [ "$(unit_key issue-1 WO-n WO-n-00000001)" = 404 ]
}

@test "under a work order whose keys are encrypted only, the profile's leave to send them in clear does not count" {
    local kek
    kek=$(inkan kek add 6c696e65 --json | jq -r .key)
    order_open WO-e 'profile: "clear-p256", key_mode: "server-encrypted"'
    [ "$(unit_key issue-1 WO-e WO-e-00000001)" = 403 ]
    grep -q "encrypted only" "$dir/body"
    [ "$(unit_key issue-1 WO-e WO-e-00000001 kek=6c696e65 cap=aes256-wrap)" = 200 ]
    keygen open "$parts/key.der" "$parts/clear.der" "$dir/maker.pem" kek="$kek" id=6c696e65
    keygen check "$parts/clear.der" "$parts/cert.pem"
}
