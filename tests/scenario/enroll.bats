#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# EST as curl and openssl see it: first enrollment, renewal, repeats, refusals.
load ../lib/instance

setup_file() { instance_up; }
teardown_file() { instance_down; }
setup() { instance_load; }

@test "cacerts: anonymous, certs-only, fleet CA and root" {
    [ "$(est cacerts)" = 200 ]
    grep -qi '^content-type: application/pkcs7-mime' "$dir/headers"
    grep -qi '^content-transfer-encoding: base64' "$dir/headers"
    openssl base64 -d -A < "$dir/body" | openssl pkcs7 -inform DER -print_certs -noout > "$dir/cacerts"
    grep -q 'subject=.*Example Fleet Root' "$dir/cacerts"
    grep -q 'subject=.*Example Fleet CA 1' "$dir/cacerts"
}

@test "first boot: a birth identity gets an LDevID that verifies strictly" {
    unit_birth boot-1
    new_csr boot-1 /CN=boot-1/serialNumber=boot-1
    [ "$(est_enroll boot-1 --cert "$units/boot-1.idevid.pem" --key "$units/boot-1.idevid.key")" = 200 ]
    openssl verify -x509_strict -purpose sslclient -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/boot-1.pem"
    [ "$(openssl x509 -in "$units/boot-1.pem" -noout -pubkey)" = "$(openssl pkey -in "$units/boot-1.key" -pubout)" ]
    [ "$(inkan device show boot-1 --json | jq -r .state)" = in_service ]
}

@test "a birth identity is what IEEE 802.1AR asks for" {
    unit_birth idev-1
    openssl x509 -in "$units/idev-1.idevid.pem" -noout -enddate | grep -q 'notAfter=Dec 31 23:59:59 9999 GMT'
    openssl x509 -in "$units/idev-1.idevid.pem" -noout -subject -nameopt RFC2253 | grep -q 'serialNumber=idev-1'
    openssl verify -x509_strict -CAfile "$dir/maker-root.pem" -untrusted "$dir/maker-ca.pem" "$units/idev-1.idevid.pem"
}

@test "a lost reply: the same request again gives the same bytes and serial" {
    unit_birth lost-1
    new_csr lost-1 /CN=lost-1/serialNumber=lost-1
    [ "$(est_enroll lost-1 --cert "$units/lost-1.idevid.pem" --key "$units/lost-1.idevid.key")" = 200 ]
    cp "$units/lost-1.pem" "$dir/first.pem"
    [ "$(est_enroll lost-1 --cert "$units/lost-1.idevid.pem" --key "$units/lost-1.idevid.key")" = 200 ]
    cmp "$dir/first.pem" "$units/lost-1.pem"
    # A CSR signed anew with the same key is the same request.
    new_csr lost-1 /CN=lost-1/serialNumber=lost-1
    [ "$(est_enroll lost-1 --cert "$units/lost-1.idevid.pem" --key "$units/lost-1.idevid.key")" = 200 ]
    cmp "$dir/first.pem" "$units/lost-1.pem"
    [ "$(inkan cert list --device lost-1 --profile ldevid --json | jq length)" = 1 ]
}

@test "a double click: two connections at once mint one identity" {
    unit_birth twice-1
    new_csr twice-1 /CN=twice-1/serialNumber=twice-1
    for i in 1 2 3 4 5 6 7 8; do
        curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/twice-1.idevid.pem" --key "$units/twice-1.idevid.key" \
            -H 'Content-Type: application/pkcs10' --data-binary "@$units/twice-1.csr" -o "$dir/twice.$i" "$(est_url)/simpleenroll" &
    done
    wait
    for i in 2 3 4 5 6 7 8; do
        cmp "$dir/twice.1" "$dir/twice.$i"
    done
    [ "$(inkan cert list --device twice-1 --profile ldevid --json | jq length)" = 1 ]
}

@test "renewal with a new key, then from the old certificate with the same key twice" {
    unit_birth renew-1
    new_csr renew-1 /CN=renew-1/serialNumber=renew-1
    [ "$(est_enroll renew-1 --cert "$units/renew-1.idevid.pem" --key "$units/renew-1.idevid.key")" = 200 ]
    subject=$(openssl x509 -in "$units/renew-1.pem" -noout -subject -nameopt compat | sed 's/^subject=//')
    new_csr renew-1b "$subject"
    [ "$(EST_OPERATION=simplereenroll est_enroll renew-1b --cert "$units/renew-1.pem" --key "$units/renew-1.key")" = 200 ]
    [ "$(cert_serial "$units/renew-1.pem")" != "$(cert_serial "$units/renew-1b.pem")" ]
    # The same key, presented with the newer certificate: a new issue. Presented again the same way: a repeat.
    cp "$units/renew-1b.csr" "$units/renew-1c.csr"
    [ "$(EST_OPERATION=simplereenroll est_enroll renew-1c --cert "$units/renew-1b.pem" --key "$units/renew-1b.key")" = 200 ]
    [ "$(cert_serial "$units/renew-1c.pem")" != "$(cert_serial "$units/renew-1b.pem")" ]
    cp "$units/renew-1c.pem" "$dir/renewed.pem"
    [ "$(EST_OPERATION=simplereenroll est_enroll renew-1c --cert "$units/renew-1b.pem" --key "$units/renew-1b.key")" = 200 ]
    cmp "$dir/renewed.pem" "$units/renew-1c.pem"
}

@test "renewal under another name is 403, and so is a name in subjectAltName that was not there" {
    unit_birth name-1
    new_csr name-1 /CN=name-1/serialNumber=name-1
    [ "$(est_enroll name-1 --cert "$units/name-1.idevid.pem" --key "$units/name-1.idevid.key")" = 200 ]
    new_csr name-1b /CN=somebody-else
    [ "$(EST_OPERATION=simplereenroll est_enroll name-1b --cert "$units/name-1.pem" --key "$units/name-1.key")" = 403 ]
    subject=$(openssl x509 -in "$units/name-1.pem" -noout -subject -nameopt compat | sed 's/^subject=//')
    openssl req -new -key "$units/name-1b.key" -subj "$subject" -addext "subjectAltName=DNS:other.example" -outform DER |
        openssl base64 -A > "$units/name-1b.csr"
    [ "$(EST_OPERATION=simplereenroll est_enroll name-1b --cert "$units/name-1.pem" --key "$units/name-1.key")" = 403 ]
}

@test "an unknown device is 403, one that is stopped too, and stays so" {
    unit_birth stop-1
    new_csr stop-1 /CN=stop-1/serialNumber=stop-1
    [ "$(est_enroll stop-1 --cert "$units/stop-1.idevid.pem" --key "$units/stop-1.idevid.key")" = 200 ]
    inkan device stop stop-1 --yes
    [ "$(ocsp_status "$units/stop-1.pem")" = revoked ]
    new_csr stop-1b /CN=stop-1/serialNumber=stop-1
    [ "$(est_enroll stop-1b --cert "$units/stop-1.idevid.pem" --key "$units/stop-1.idevid.key")" = 403 ]
    [ "$(EST_OPERATION=simplereenroll est_enroll stop-1 --cert "$units/stop-1.pem" --key "$units/stop-1.key")" = 403 ]
}

@test "factory reset: the birth identity enrols again with a new key, the old LDevID is superseded" {
    unit_birth reset-1
    new_csr reset-1 /CN=reset-1/serialNumber=reset-1
    [ "$(est_enroll reset-1 --cert "$units/reset-1.idevid.pem" --key "$units/reset-1.idevid.key")" = 200 ]
    new_csr reset-1b /CN=reset-1/serialNumber=reset-1
    [ "$(est_enroll reset-1b --cert "$units/reset-1.idevid.pem" --key "$units/reset-1.idevid.key")" = 200 ]
    [ "$(ocsp_status "$units/reset-1.pem")" = revoked ]
    [ "$(ocsp_status "$units/reset-1b.pem")" = good ]
    [ "$(inkan cert show "$units/reset-1.pem" --json | jq -r .reason)" = superseded ]
}

@test "one key for two units is refused, and an alarm" {
    unit_birth clone-1
    unit_birth clone-2
    new_csr clone-1 /CN=clone-1/serialNumber=clone-1
    [ "$(est_enroll clone-1 --cert "$units/clone-1.idevid.pem" --key "$units/clone-1.idevid.key")" = 200 ]
    new_csr clone-2 /CN=clone-2/serialNumber=clone-2 "$units/clone-1.key"
    [ "$(est_enroll clone-2 --cert "$units/clone-2.idevid.pem" --key "$units/clone-2.idevid.key")" = 403 ]
    inkan alarm list --json | jq -e 'any(.[]; .kind == "key-of-other-unit" and .object == "device:example/clone-2" and .state == "open")'
}

@test "the birth identity's own key is refused in an LDevID where the profile forbids it" {
    unit_birth same-1
    new_csr same-1 /CN=same-1/serialNumber=same-1 "$units/same-1.idevid.key"
    [ "$(est_enroll same-1 --cert "$units/same-1.idevid.pem" --key "$units/same-1.idevid.key")" = 403 ]
}

@test "device secret: bound to the first key; a repeat is fine, another key 401, a wrong secret 401 with a challenge" {
    inkan device add secret-1 > /dev/null
    inkan secret add --device secret-1 --json > "$dir/secret.json"
    user=$(jq -r .user "$dir/secret.json")
    secret=$(jq -r .secret "$dir/secret.json")
    new_csr secret-1 /CN=secret-1
    [ "$(est_enroll secret-1 -u "$user:wrong")" = 401 ]
    grep -qi '^www-authenticate: Basic realm=' "$dir/headers"
    [ "$(est_enroll secret-1 -u "$user:$secret")" = 200 ]
    cp "$units/secret-1.pem" "$dir/first.pem"
    [ "$(est_enroll secret-1 -u "$user:$secret")" = 200 ]
    cmp "$dir/first.pem" "$units/secret-1.pem"
    new_csr secret-1b /CN=secret-1
    [ "$(est_enroll secret-1b -u "$user:$secret")" = 401 ]
    # Renewal with a password alone is not offered.
    [ "$(EST_OPERATION=simplereenroll est_enroll secret-1 -u "$user:$secret")" = 403 ]
}

@test "group secret: declares what fits its pattern, counts, ends at its quota" {
    inkan secret add --group 'grp-*' --quota 2 --valid 1d --json > "$dir/group.json"
    user=$(jq -r .user "$dir/group.json")
    secret=$(jq -r .secret "$dir/group.json")
    for i in 1 2 3; do
        new_csr "grp-$i" "/CN=grp-$i"
    done
    [ "$(est_enroll grp-1 -u "$user:$secret")" = 200 ]
    [ "$(est_enroll grp-1 -u "$user:$secret")" = 200 ]
    [ "$(est_enroll grp-2 -u "$user:$secret")" = 200 ]
    [ "$(est_enroll grp-3 -u "$user:$secret")" = 403 ]
    new_csr other-1 /CN=other-1
    [ "$(est_enroll other-1 -u "$user:$secret")" = 403 ]
    new_csr both-1 /CN=grp-8/serialNumber=grp-9
    [ "$(est_enroll both-1 -u "$user:$secret")" = 400 ]
    [ "$(inkan secret list --json | jq -r ".[] | select(.user==\"$user\") | .used")" = 2 ]
    inkan secret revoke "$user" --yes
    [ "$(est_enroll grp-2 -u "$user:$secret")" = 401 ]
}

@test "without credentials: 401; with somebody else's certificate: no 2xx" {
    new_csr nobody /CN=nobody
    [ "$(est_enroll nobody)" = 401 ]
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=boot-1/serialNumber=boot-1 -days 30 \
        -keyout "$dir/forged.key" -out "$dir/forged.pem" 2> /dev/null
    run est_enroll nobody --cert "$dir/forged.pem" --key "$dir/forged.key"
    [ "${output##*$'\n'}" != 200 ]
}

@test "fullcmc is 501, serverkeygen where no profile has it, an unknown operation and an unknown label 404" {
    [ "$(est serverkeygen -X POST -H 'Content-Type: application/pkcs10' -d x)" = 404 ]
    [ "$(est fullcmc -X POST -H 'Content-Type: application/pkcs7-mime; smime-type=CMC-request' -d x)" = 501 ]
    [ "$(est nothing)" = 404 ]
    [ "$(est nolabel/cacerts)" = 404 ]
    [ "$(est simpleenroll)" = 405 ]
    grep -qi '^allow: POST' "$dir/headers"
}

@test "a PEM body is 400 and says what was wrong" {
    unit_birth pem-1
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=pem-1 -keyout /dev/null -out "$units/pem-1.csr" 2> /dev/null
    [ "$(est_enroll pem-1 --cert "$units/pem-1.idevid.pem" --key "$units/pem-1.idevid.key")" = 400 ]
    grep -qi 'PEM' "$dir/body"
}

@test "TLS 1.2 enrols too, TLS 1.1 does not connect" {
    unit_birth tls-1
    new_csr tls-1 /CN=tls-1/serialNumber=tls-1
    [ "$(est_enroll tls-1 --tlsv1.2 --tls-max 1.2 --cert "$units/tls-1.idevid.pem" --key "$units/tls-1.idevid.key")" = 200 ]
    run openssl s_client -connect "localhost:$port" -tls1_1 -cipher ALL:@SECLEVEL=0 < /dev/null
    [ "$status" -ne 0 ]
}

@test "every key type of the profile is certified" {
    for type in "EC -pkeyopt ec_paramgen_curve:P-384" "RSA -pkeyopt rsa_keygen_bits:2048" "RSA -pkeyopt rsa_keygen_bits:3072" "ED25519"; do
        id=type-$(echo "$type" | cksum | cut -d' ' -f1)
        unit_birth "$id"
        # shellcheck disable=SC2086
        openssl genpkey -algorithm $type -out "$units/$id.key" 2> /dev/null
        new_csr "$id" "/CN=$id/serialNumber=$id"
        [ "$(est_enroll "$id" --cert "$units/$id.idevid.pem" --key "$units/$id.idevid.key")" = 200 ]
        openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/$id.pem"
    done
}

@test "a RSA-1024 key is refused" {
    unit_birth weak-1
    openssl genrsa -out "$units/weak-1.key" 1024 2> /dev/null
    new_csr weak-1 /CN=weak-1/serialNumber=weak-1
    [ "$(est_enroll weak-1 --cert "$units/weak-1.idevid.pem" --key "$units/weak-1.idevid.key")" = 400 ]
}

@test "cert issue: the same key for another name is another certificate, for the same name the same one" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout /dev/null -out "$dir/names.csr" 2> /dev/null
    for name in st-1 st-2; do
        inkan cert issue --profile station --name "$name" --csr "$dir/names.csr" --out "$dir/$name.pem"
        inkan cert issue --profile station --name "$name" --csr "$dir/names.csr" --out "$dir/$name.again.pem"
        openssl x509 -in "$dir/$name.pem" -noout -subject -nameopt RFC2253 | grep -q "CN=$name"
        cmp "$dir/$name.pem" "$dir/$name.again.pem"
    done
}
