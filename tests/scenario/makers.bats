#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Manufacturers that are not ours: anchors bound to domains, the same serialNumber under two of them, labels, channel binding.
load ../lib/instance

# maker NAME: a manufacturer's root and issuing CA in $makers
maker() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=$1/CN=$1 Root" -days 7000 \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$makers/$1-root.key" -out "$makers/$1-root.pem" 2> /dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=$1/CN=$1 CA" -keyout "$makers/$1-ca.key" -out "$makers/$1-ca.csr" 2> /dev/null
    openssl x509 -req -in "$makers/$1-ca.csr" -CA "$makers/$1-root.pem" -CAkey "$makers/$1-root.key" -days 6000 -out "$makers/$1-ca.pem" \
        -extfile <(echo "basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid") 2> /dev/null
}

# foreign_birth MAKER ID [DATES]: $units/ID-MAKER.{pem,key}, leaf and issuing CA in one file; $birth_extensions are added
foreign_birth() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=$1/CN=$2/serialNumber=$2" -keyout "$units/$2-$1.key" -out "$units/$2-$1.csr" 2> /dev/null
    mkdir -p "$makers/db"
    : > "$makers/db/index"
    openssl rand -hex 15 > "$makers/db/serial"
    cat > "$makers/ca.cnf" <<CNF
[ca]
default_ca = d
[d]
database = $makers/db/index
serial = $makers/db/serial
new_certs_dir = $makers/db
default_md = sha256
policy = p
unique_subject = no
x509_extensions = e
[p]
organizationName = optional
commonName = optional
serialNumber = optional
[e]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
${birth_extensions:-}
CNF
    openssl ca -batch -notext -config "$makers/ca.cnf" -cert "$makers/$1-ca.pem" -keyfile "$makers/$1-ca.key" -in "$units/$2-$1.csr" \
        -startdate "${3:-20200101000000Z}" -enddate "${4:-99991231235959Z}" -out "$units/$2-$1.leaf" 2> /dev/null
    cat "$units/$2-$1.leaf" "$makers/$1-ca.pem" > "$units/$2-$1.pem"
}

setup_file() {
    export makers=$BATS_FILE_TMPDIR/makers
    mkdir -p "$makers"
    chmod 755 "$BATS_FILE_TMPDIR" "$makers"
    for m in alpha beta gamma; do maker $m; done
    chmod 644 "$makers"/*.pem
    # The service's users must reach the anchor files: the run's directory may be private to root.
    pub=$(mktemp -d "${INKAN_TEST_OUT:-/var/tmp}/makers.XXXXXX")
    chmod 755 "$pub"
    cp "$makers"/*-root.pem "$pub"
    echo "$pub" > "$BATS_FILE_TMPDIR/pub"
    instance_up \
        "extra_domains=  - name: other
" \
        "extra_anchors=  - {name: alpha, file: $pub/alpha-root.pem, domains: [example], products: [pump]}
  - {name: beta, file: $pub/beta-root.pem, domains: [example]}
  - {name: gamma, file: $pub/gamma-root.pem, domains: [other]}
" \
        "extra_profiles=  - name: bound
    kind: ldevid
    ca: fleet-ca
    subject: \"CN={device_id},serialNumber={device_id}\"
    key_algs: [p256]
    key_usage: [digitalSignature]
    eku: [clientAuth]
    validity: 90d
    crl_url: true
    ocsp_url: true
    pop_required: true
  - name: elsewhere
    kind: ldevid
    ca: fleet-ca
    subject: \"CN={device_id},OU={domain}\"
    key_algs: [p256]
    key_usage: [digitalSignature]
    eku: [clientAuth]
    validity: 90d
" \
        "extra_labels=  - {name: bound, domain: example, profile: bound, auth_cert: true, auth_password: true}
  - {name: certonly, domain: example, profile: ldevid, auth_cert: true, auth_password: false, wrap64: true}
  - {name: other, domain: other, profile: elsewhere, auth_cert: true, auth_password: false}
"
}
teardown_file() {
    instance_down
    rm -rf "$(cat "$BATS_FILE_TMPDIR/pub")"
}
setup() {
    instance_load
    makers=$BATS_FILE_TMPDIR/makers
}

enroll_foreign() { # ID MAKER [label]
    new_csr "$1-op-$2" "/CN=$1/serialNumber=$1"
    curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/$1-$2.pem" --key "$units/$1-$2.key" -o "$dir/body" -w '%{http_code}' \
        -H 'Content-Type: application/pkcs10' --data-binary "@$units/$1-op-$2.csr" "$(est_url "${3:-}")/simpleenroll" || echo
}

@test "a birth identity of a bound manufacturer enrols its declared unit" {
    inkan device add u-1 --domain example --anchor beta > /dev/null
    foreign_birth beta u-1
    [ "$(enroll_foreign u-1 beta)" = 200 ]
}

@test "two manufacturers with the same serialNumber: the one it was declared under 200, the other 403" {
    inkan device add u-2 --domain example --anchor beta > /dev/null
    foreign_birth alpha u-2
    foreign_birth beta u-2
    [ "$(enroll_foreign u-2 alpha)" = 403 ]
    [ "$(enroll_foreign u-2 beta)" = 200 ]
    [ "$(enroll_foreign u-2 alpha)" = 403 ]
    # The other way round too: a maker that is bound to no product is bound to its units all the same.
    inkan device add u-8 --domain example --anchor alpha --product pump > /dev/null
    foreign_birth alpha u-8
    foreign_birth beta u-8
    [ "$(enroll_foreign u-8 beta)" = 403 ]
    [ "$(enroll_foreign u-8 alpha)" = 200 ]
}

@test "a certificate of the maker for other purposes does not connect; clientAuth and any purpose do" {
    local n=0 purpose
    for purpose in serverAuth codeSigning emailProtection clientAuth anyExtendedKeyUsage serverAuth,clientAuth; do
        n=$((n + 1))
        inkan device add "eku-$n" --domain example --anchor beta > /dev/null
        birth_extensions="extendedKeyUsage = $purpose" foreign_birth beta "eku-$n"
        run enroll_foreign "eku-$n" beta
        case $purpose in
            *client* | any*) [[ $output == *200 ]] ;;
            *) [[ $output == *000 ]] ;; # not even a connection
        esac
    done
}

@test "an anchor bound to a product vouches for that product only" {
    inkan device add pump-1 --domain example --anchor alpha --product pump > /dev/null
    foreign_birth alpha pump-1
    [ "$(enroll_foreign pump-1 alpha)" = 200 ]
    inkan device add valve-1 --domain example --anchor alpha --product valve > /dev/null 2>&1 || true
    foreign_birth alpha valve-1
    [ "$(enroll_foreign valve-1 alpha)" = 403 ]
}

@test "an anchor of another domain: 403 here, 200 under that domain's label" {
    inkan device add u-3 --domain other --anchor gamma > /dev/null
    inkan device add u-3 --domain example > /dev/null
    foreign_birth gamma u-3
    [ "$(enroll_foreign u-3 gamma)" = 403 ]
    grep -q 'of no manufacturer accepted here: unable to get local issuer certificate' "$dir/body"
    [ "$(enroll_foreign u-3 gamma other)" = 200 ] || { cat "$dir/body"; tail -5 "$dir/log/inkan.log"; false; }
}

@test "an undeclared unit is 403, an expired birth identity 403, one not valid yet does not connect" {
    foreign_birth beta u-4
    [ "$(enroll_foreign u-4 beta)" = 403 ]
    inkan device add u-5 --domain example --anchor beta > /dev/null
    foreign_birth beta u-5 20200101000000Z 20210101000000Z
    [ "$(enroll_foreign u-5 beta)" = 403 ]
    inkan device add u-6 --domain example --anchor beta > /dev/null
    foreign_birth beta u-6 20900101000000Z
    [ "$(enroll_foreign u-6 beta 2> /dev/null)" != 200 ]
}

@test "a manufacturer nobody knows does not connect" {
    maker delta
    inkan device add u-7 --domain example > /dev/null
    foreign_birth delta u-7
    run enroll_foreign u-7 delta
    [[ $output != *200* ]]
}

@test "channel binding required: csrattrs says so, without it 400, with it 200, on TLS 1.2 and 1.3; another connection's value 400" {
    curl -sS --cacert "$dir/fleet-root.pem" "$(est_url bound)/csrattrs" | openssl base64 -d -A | openssl asn1parse -inform DER | grep -q challengePassword
    unit_birth bound-1
    new_csr bound-1 /CN=bound-1/serialNumber=bound-1
    status=$(curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/bound-1.idevid.pem" --key "$units/bound-1.idevid.key" -o "$dir/body" -w '%{http_code}' \
        -H 'Content-Type: application/pkcs10' --data-binary "@$units/bound-1.csr" "$(est_url bound)/simpleenroll")
    echo "$status $(cat "$dir/body")"
    [ "$status" = 400 ]
    # inkan-device reads csrattrs and binds by itself.
    "$programs/inkan-device" enroll --dir "$units/bound-1" --url "$(est_url bound)" --anchor "$dir/fleet-root.pem" \
        --idevid-cert "$units/bound-1.idevid.pem" --idevid-key "$units/bound-1.idevid.key"
    "$programs/inkan-device" renew --dir "$units/bound-1" --url "$(est_url bound)" --anchor "$dir/fleet-root.pem"
    # A value that belongs to no connection.
    openssl req -new -key "$units/bound-1.key" -outform DER -config <(printf '[req]\nprompt=no\ndistinguished_name=d\nattributes=a\n[d]\nCN=bound-1\n[a]\nchallengePassword=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\n') |
        openssl base64 -A > "$units/bound-x.csr"
    status=$(curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/bound-1.idevid.pem" --key "$units/bound-1.idevid.key" -o "$dir/body" -w '%{http_code}' \
        -H 'Content-Type: application/pkcs10' --data-binary "@$units/bound-x.csr" "$(est_url bound)/simpleenroll")
    [ "$status" = 400 ]
}

@test "a certificate-only label never asks for a password, and wraps base64 at 64 columns" {
    new_csr nopw /CN=nopw
    status=$(curl -sS --cacert "$dir/fleet-root.pem" -o "$dir/body" -D "$dir/headers" -w '%{http_code}' -H 'Content-Type: application/pkcs10' \
        --data-binary "@$units/nopw.csr" "$(est_url certonly)/simpleenroll")
    [ "$status" = 403 ]
    no grep -qi www-authenticate "$dir/headers"
    curl -sS --cacert "$dir/fleet-root.pem" "$(est_url certonly)/cacerts" > "$dir/body"
    [ "$(awk '{ if (length($0) > m) m = length($0) } END { print m }' "$dir/body")" = 64 ]
    [ "$(wc -l < <(curl -sS --cacert "$dir/fleet-root.pem" "$(est_url)/cacerts"))" = 1 ]
}
