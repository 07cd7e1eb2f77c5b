#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# EST clients and parsers that nobody here wrote.
load ../lib/instance

setup_file() { instance_up; }
teardown_file() { instance_down; }
setup() { instance_load; }

pki_tool() {
    # Some installations put it beside the daemons.
    PATH=$PATH:/usr/libexec/ipsec:/usr/lib/ipsec pki "$@"
}

@test "strongSwan pki --estca fetches the CA certificates" {
    openssl x509 -in "$dir/fleet-root.pem" -outform DER -out "$dir/root.der"
    cd "$dir"
    pki_tool --estca --url "https://localhost:$port" --cacert "$dir/fleet-root.pem" --caout "$dir/est-ca.der" --force
    ls "$dir"/est-ca*.der
}

@test "strongSwan pki --est enrols with a secret and renews with the certificate" {
    inkan device add swan-1 > /dev/null
    inkan secret add --device swan-1 --json > "$dir/swan.json"
    pki_tool --gen --type ecdsa --size 256 --outform der > "$dir/swan.key"
    pki_tool --req --type ecdsa --in "$dir/swan.key" --dn "CN=swan-1" --outform der > "$dir/swan.req"
    pki_tool --est --url "https://localhost:$port" --in "$dir/swan.req" --cacert "$dir/fleet-root.pem" --cacert "$dir/fleet-ca.pem" \
        --userpass "$(jq -r '.user + ":" + .secret' "$dir/swan.json")" --interval 1 > "$dir/swan.crt"
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$dir/swan.crt"
    subject=$(openssl x509 -in "$dir/swan.crt" -noout -subject -nameopt RFC2253,-esc_msb | sed 's/^subject=//')
    pki_tool --gen --type ecdsa --size 256 --outform der > "$dir/swan2.key"
    openssl pkey -inform DER -in "$dir/swan2.key" -out "$dir/swan2.pem"
    openssl req -new -key "$dir/swan2.pem" -subj "$(openssl x509 -in "$dir/swan.crt" -noout -subject -nameopt compat | sed 's/^subject=//')" \
        -outform DER -out "$dir/swan2.req"
    pki_tool --est --url "https://localhost:$port" --in "$dir/swan2.req" --cacert "$dir/fleet-root.pem" --cacert "$dir/fleet-ca.pem" \
        --cert "$dir/swan.crt" --key "$dir/swan.key" --interval 1 > "$dir/swan2.crt"
    [ "$(openssl x509 -in "$dir/swan2.crt" -noout -serial)" != "$(openssl x509 -in "$dir/swan.crt" -noout -serial)" ]
    [ -n "$subject" ]
}

@test "every certificate issued so far: python3-asn1crypto parses it, openssl verifies it strictly, GnuTLS reads it" {
    unit_birth parse-1
    unit_device parse-1 enroll
    inkan cert list --json | jq -r '.[] | .issuer + " " + .serial' > "$dir/all"
    [ "$(wc -l < "$dir/all")" -ge 10 ]
    cat "$dir/fleet-root.pem" "$dir/maker-root.pem" > "$dir/roots.pem"
    cat "$dir/fleet-ca.pem" "$dir/maker-ca.pem" > "$dir/cas.pem"
    while read -r issuer serial; do
        inkan cert show --issuer "$issuer" --serial "$serial" --pem > "$dir/one.pem" < /dev/null
        openssl verify -x509_strict -CAfile "$dir/roots.pem" -untrusted "$dir/cas.pem" "$dir/one.pem"
        certtool --certificate-info --infile "$dir/one.pem" > /dev/null
        openssl x509 -in "$dir/one.pem" -outform DER -out "$dir/one.der"
        /usr/bin/python3 - "$dir/one.der" "$serial" <<'PY'
import sys
from asn1crypto import x509
cert = x509.Certificate.load(open(sys.argv[1], "rb").read(), strict=True)
native = cert.native  # walks everything
assert native["tbs_certificate"]["version"] == "v3"
assert cert.serial_number == int(sys.argv[2], 16)
assert cert.dump(force=True) == open(sys.argv[1], "rb").read()
PY
    done < "$dir/all"
}
