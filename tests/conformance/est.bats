#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# EST on a real service: RFC 7030, 8951, 7894, 9266. The names begin with the rows of tests/conformance.tsv they stand for.
# What the HTTP reader and the front do alone is in tests/unit/test_http.c and tests/scenario/test_front.c.
load service

device='kind: ldevid, ca: fleet-ca, subject: "CN={device_id},serialNumber={device_id},O=Example Fleet", key_usage: [digitalSignature], eku: [clientAuth]'

setup_file() {
    side_dir
    # A manufacturer of its own, whose CA is in no token of ours.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Third Maker/O=Third" -days 30 \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" \
        -keyout "$side/third.key" -out "$side/third.pem" 2> /dev/null
    chmod 644 "$side/third.pem"
    # A life of 305 s begins 300 s ago: 5 s are left.
    extra_profiles="
  - {name: bound, $device, validity: 365d, pop_required: true, key_algs: [p256]}
  - {name: several, $device, validity: 365d, key_algs: [p256, p384]}
  - {name: short, $device, validity: 305s}
  - {name: graced, $device, validity: 305s, expired_grace: 1h}
  - {name: rekeyed, $device, validity: 365d, rekey_required: true, renew_percent: 1}
  - {name: by-password, $device, validity: 365d, basic_reenroll: true}
  - {name: elsewhere, kind: ldevid, ca: fleet-ca, subject: \"CN={device_id},OU={domain}\", validity: 365d}"
    extra_domains='  - name: elsewhere'
    extra_anchors="  - name: third-maker
    file: $side/third.pem
    domains: [elsewhere]"
    extra_labels='  - {name: bound, domain: example, profile: bound}
  - {name: several, domain: example, profile: several}
  - {name: short, domain: example, profile: short}
  - {name: graced, domain: example, profile: graced}
  - {name: rekeyed, domain: example, profile: rekeyed}
  - {name: by-password, domain: example, profile: by-password}
  - {name: wrapped, domain: example, profile: ldevid, wrap64: true}
  - {name: certonly, domain: example, profile: ldevid, auth_password: false}
  - {name: elsewhere, domain: elsewhere, profile: elsewhere}'
    instance_up
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

# There are two domains here, and every command names one.
inkan() {
    case "$1 $2 $*" in
        *" --domain "*) ;;
        "device add "* | "device stop "* | "secret add "* | "cert issue "*" --device "*) set -- "$@" --domain example ;;
    esac
    "$programs/inkan" --socket "$dir/run/admin.sock" "$@"
}

# wait_for_end CERT: a certificate of 5 s
wait_for_end() {
    local end
    end=$(date -d "$(openssl x509 -in "$1" -noout -enddate | cut -d= -f2)" +%s)
    while [ "$(date +%s)" -le "$end" ]; do
        sleep 0.3
    done
}

# ---- a.1 transport and routing ----

@test "T1: no NULL, anonymous, export or DES suite, nothing without forward secrecy" {
    for cipher in aNULL eNULL EXPORT DES 3DES RC4 kRSA PSK SRP CBC; do
        run openssl s_client -connect "localhost:$port" -tls1_2 -cipher "$cipher:@SECLEVEL=0" < /dev/null
        [ "$status" -ne 0 ] || { echo "$cipher: $output"; false; }
    done
    openssl s_client -connect "localhost:$port" -tls1_2 -CAfile "$dir/fleet-root.pem" -verify_return_error < /dev/null > "$dir/tls"
    grep -q 'Cipher is ECDHE-ECDSA-AES' "$dir/tls"
    grep -q 'Extended master secret: yes' "$dir/tls"
}

@test "T2: every operation with and without a label; case, slashes and half names do not match" {
    for prefix in "" wrapped/; do
        [ "$(est "${prefix}cacerts")" = 200 ]
        [ "$(est "${prefix}csrattrs")" = 204 ]
        for operation in simpleenroll simplereenroll; do
            [ "$(post "$prefix$operation" /dev/null)" = 401 ]
        done
        [ "$(post "${prefix}serverkeygen" /dev/null)" = 404 ]
        [ "$(post "${prefix}fullcmc" /dev/null)" = 501 ]
    done
    for path in Cacerts cacert cacertss cacerts/ wrapped wrapped/ Wrapped/cacerts wrapped/wrapped/cacerts wrappe/cacerts; do
        [ "$(est "$path")" = 404 ] || { echo "$path"; false; }
    done
    for path in cacerts%00 wrapped%2fcacerts wrapped%2Fcacerts 'cacerts%' 'cacerts%zz' cacerts%0d%0a; do
        [ "$(est "$path")" = 400 ] || { echo "$path"; false; }
    done
    [ "$(est wrapped/../cacerts --path-as-is)" = 400 ]
    [ "$(est "cacerts/$(printf 'a%.0s' {1..5000})")" = 414 ]
}

@test "T2: a label named like an operation, or not of one unreserved segment, is refused by inkand -t" {
    for name in cacerts csrattrs simpleenroll simplereenroll serverkeygen fullcmc a/b 'a b' ü .. "$(printf 'a%.0s' {1..65})"; do
        sed "s|name: wrapped,|name: \"$name\",|" "$dir/inkan.yaml" > "$dir/label.yaml"
        run "$programs/inkand" -t -c "$dir/label.yaml"
        [ "$status" -ne 0 ] || { echo "$name was taken"; false; }
        [[ $output == *label* ]]
    done
    sed "s|name: wrapped,|name: a-b_c.d~1,|" "$dir/inkan.yaml" > "$dir/label.yaml"
    "$programs/inkand" -t -c "$dir/label.yaml"
}

@test "T3 O43: nothing answers with a redirect" {
    for path in /.well-known/est /.well-known/est/ /.well-known/est/cacerts /.well-known/est/cacerts/ / /index.html; do
        curl -sS --cacert "$dir/fleet-root.pem" -o /dev/null -D "$dir/headers" "https://localhost:$port$path"
        no grep -qi '^HTTP/1.1 3\|^location:' "$dir/headers"
    done
    for path in / /ocsp /ocsp/ /ocsp/x /crl /crl/ /crl/fleet-ca.crl /crl/fleet-ca.crl/ /ca/fleet-ca.cer; do
        curl -sS -o /dev/null -D "$dir/headers" "$(http_url "$path")"
        no grep -qi '^HTTP/1.1 3\|^location:' "$dir/headers"
    done
}

@test "T6: after a refused Transfer-Encoding or length nothing more of the connection is served" {
    next='GET /.well-known/est/cacerts HTTP/1.1\r\nHost: h\r\n\r\n'
    for bad in 'Transfer-Encoding: chunked\r\n' 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n' 'Content-Length: 3\r\nContent-Length: 4\r\n' \
        'Content-Length: +3\r\n' ''; do
        printf "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: h\r\n${bad}\r\n${next}" |
            raw http --port "$port" --cacert "$dir/fleet-root.pem" > "$dir/raw"
        [ "$(grep -c '^HTTP/1.1' "$dir/raw")" = 1 ]
        grep -qE '^HTTP/1.1 4(11|00)' "$dir/raw"
        grep -qi '^connection: close' "$dir/raw"
    done
}

@test "T11: refusals are short plain text with an opaque request id, nothing of the inside" {
    born t11
    made t11 "$units/t11.key" --cn t11 --bad-signature
    [ "$(post simpleenroll "$units/t11.csr" "${birth[@]}")" = 400 ]
    cat "$dir/body" > "$dir/texts"
    grep -qi '^content-type: text/plain' "$dir/headers"
    for path in nothing nolabel/cacerts; do
        est "$path" > /dev/null
        cat "$dir/body" >> "$dir/texts"
        grep -qi '^content-type: text/plain' "$dir/headers"
    done
    working t11b
    inkan device stop t11b --yes
    [ "$(post simplereenroll "$units/t11b.csr" "${work[@]}")" = 403 ]
    cat "$dir/body" >> "$dir/texts"
    [ "$(grep -c '^request [0-9a-f]*: ' "$dir/texts")" = 4 ]
    no grep -qiE 'sql|/var|/usr|\.c:|error:[0-9a-f]{8}|openssl|html|nginx|libevent' "$dir/texts"
    [ "$(wc -c < "$dir/texts")" -lt 2000 ]
}

@test "T12: where a certificate suffices no password is asked; where none can help the answer is 403 without a challenge" {
    working t12
    no grep -qi '^www-authenticate' "$dir/headers"
    new_csr t12b /CN=t12b
    [ "$(post simpleenroll "$units/t12b.csr")" = 401 ]
    grep -qi '^www-authenticate: Basic realm=' "$dir/headers"
    [ "$(post certonly/simpleenroll "$units/t12b.csr")" = 403 ]
    no grep -qi '^www-authenticate' "$dir/headers"
    [ "$(post certonly/simpleenroll "$units/t12b.csr" -u a:b)" = 403 ]
    # A certificate that is refused does not turn into a question for a password.
    inkan device stop t12 --yes
    [ "$(post simplereenroll "$units/t12.csr" "${work[@]}")" = 403 ]
    no grep -qi '^www-authenticate' "$dir/headers"
}

@test "T13: the server's certificate is valid for its name, for servers, and chains to the root that cacerts gives" {
    [ "$(est cacerts)" = 200 ]
    openssl base64 -d -A < "$dir/body" | openssl pkcs7 -inform DER -print_certs > "$dir/cacerts.pem"
    openssl s_client -connect "localhost:$port" -showcerts < /dev/null 2> /dev/null | sed -n '/^-----BEGIN/,/^-----END/p' > "$dir/server.pem"
    openssl verify -x509_strict -purpose sslserver -verify_hostname localhost -CAfile "$dir/cacerts.pem" -untrusted "$dir/server.pem" "$dir/server.pem"
    no openssl verify -verify_hostname elsewhere.example -CAfile "$dir/cacerts.pem" -untrusted "$dir/server.pem" "$dir/server.pem"
    judge cert "$dir/server.pem" > "$dir/server.json"
    [ "$(jq -r '.eku | join(" ")' "$dir/server.json")" = 1.3.6.1.5.5.7.3.1 ]
    [ "$(jq -r .ca "$dir/server.json")" = false ]
    # Refused before the service starts: no server profile, one of another kind, one under an offline CA.
    sed '/^server:/,/^audit:/s/  profile: server$/  profile: station/' "$dir/inkan.yaml" > "$dir/bad.yaml"
    no "$programs/inkand" -t -c "$dir/bad.yaml"
    sed '/^server:/,/^audit:/{/  profile: server$/d}' "$dir/inkan.yaml" > "$dir/bad.yaml"
    no "$programs/inkand" -t -c "$dir/bad.yaml"
    sed '/- name: server$/,/validity/s/ca: fleet-ca/ca: fleet-root/' "$dir/inkan.yaml" > "$dir/bad.yaml"
    no "$programs/inkand" -t -c "$dir/bad.yaml"
}

# ---- a.2 encoding ----

@test "E1 E2 E3: one line or many, blanks anywhere; any other octet, padding or spare bit is 400" {
    born e2
    new_csr e2 /CN=e2/serialNumber=e2
    text=$(cat "$units/e2.csr")
    head=${text:0:40} rest=${text:40}
    good=("$text" "$text"$'\n' "$head"$'\r\n'"$rest" "$head"$' \t'"$rest" $'\n\n'"$text"$'\r\n\r\n' "$(fold -w 64 <<< "$text")" "$(fold -w 1 <<< "$text")")
    for body in "${good[@]}"; do
        printf '%s' "$body" > "$dir/post"
        [ "$(post simpleenroll "$dir/post" "${birth[@]}")" = 200 ] || { head -c 100 "$dir/post"; false; }
    done
    # The header that says how the body is encoded is ignored, whatever it says.
    for value in base64 binary 8bit nonsense; do
        [ "$(post simpleenroll "$units/e2.csr" "${birth[@]}" -H "Content-Transfer-Encoding: $value")" = 200 ]
    done
    bad=("$head-$rest" "$head.$rest" "${head}_$rest" "$head=$rest" "$text=" "$text====" "$head"$'\v'"$rest" "$head\"$rest" "=$text" "${text:0:1}")
    # An octet less, so that padding is due: missing, misplaced, with bits set beside it.
    cut=$(openssl base64 -d -A < "$units/e2.csr" | head -c 100 | openssl base64 -A)
    bad+=("${cut%%=*}" "${cut%=*}" "${cut%%=*}=A=" "$(sed 's/.==$/B==/' <<< "$cut")")
    for body in "${bad[@]}"; do
        printf '%s' "$body" > "$dir/post"
        [ "$(post simpleenroll "$dir/post" "${birth[@]}")" = 400 ] || { echo "taken: $body"; false; }
    done
    printf '%s\0%s' "$head" "$rest" > "$dir/post"
    [ "$(post simpleenroll "$dir/post" "${birth[@]}")" = 400 ]
    openssl base64 -d -A < "$units/e2.csr" > "$dir/post" # DER itself
    [ "$(post simpleenroll "$dir/post" "${birth[@]}")" = 400 ]
}

@test "E4: one line and one LF, exact length, base64 named; 64 columns where the label says so" {
    born e4
    new_csr e4 /CN=e4/serialNumber=e4
    for label in "" wrapped/; do
        [ "$(post "${label}simpleenroll" "$units/e4.csr" "${birth[@]}")" = 200 ]
        cp "$dir/body" "$dir/body.${label%/}"
        grep -qi '^content-transfer-encoding: base64' "$dir/headers"
        grep -qi "^content-length: $(wc -c < "$dir/body")"$'\r' "$dir/headers"
        no grep -qi '^transfer-encoding' "$dir/headers"
        [ "$(tail -c 1 "$dir/body" | od -An -tx1 | tr -d ' ')" = 0a ]
        [ "$(tail -c 2 "$dir/body" | od -An -tx1 | tr -d ' ')" != 0a0a ]
    done
    [ "$(wc -l < "$dir/body.")" = 1 ]
    [ "$(awk '{ print length }' "$dir/body.wrapped" | sort -un | tail -n 1)" = 64 ]
    cmp <(openssl base64 -d -A < "$dir/body.") <(openssl base64 -d < "$dir/body.wrapped")
}

@test "E6: one DER value: BER, a second request, octets behind it and cut ones are 400" {
    born e6
    new_csr e6 /CN=e6/serialNumber=e6
    openssl base64 -d -A < "$units/e6.csr" > "$dir/e6.der"
    [ "$(head -c 2 "$dir/e6.der" | od -An -tx1 | tr -d ' ')" = 3081 ]
    inner=$(tail -c +4 "$dir/e6.der" | od -An -v -tx1 | tr -d ' \n')
    {
        echo "3080${inner}0000" # indefinite length
        od -An -v -tx1 "$dir/e6.der" | tr -d ' \n' | sed 's/^3081/308200/'; echo # a length in more octets than needed
        cat "$dir/e6.der" "$dir/e6.der" | od -An -v -tx1 | tr -d ' \n'; echo
        { cat "$dir/e6.der"; printf '\0'; } | od -An -v -tx1 | tr -d ' \n'; echo
        head -c -1 "$dir/e6.der" | od -An -v -tx1 | tr -d ' \n'; echo
        echo 0400
    } > "$dir/e6.hex"
    while read -r hex; do
        unhex <<< "$hex" | openssl base64 -A > "$dir/post"
        [ "$(post simpleenroll "$dir/post" "${birth[@]}")" = 400 ] || { echo "taken: $hex"; false; }
    done < "$dir/e6.hex"
    [ "$(post simpleenroll "$units/e6.csr" "${birth[@]}")" = 200 ]
}

@test "E8 P.simpleenroll P.cacerts: certs-only of exactly what belongs there, as python3-asn1crypto reads it" {
    working e8
    grep -qi '^content-type: application/pkcs7-mime; smime-type=certs-only'$'\r' "$dir/headers"
    openssl base64 -d -A < "$dir/body" > "$dir/answer.der"
    judge certs "$dir/answer.der" > "$dir/answer.json"
    frame='[.content_type, .version, .digest_algorithms, .encap_type, .encap_content, .signer_infos, .crls] | map(tostring) | join(" ")'
    [ "$(jq -r "$frame" "$dir/answer.json")" = "signed_data v1 0 data false 0 false" ]
    # Only the certificate just issued.
    [ "$(jq -r '.certificates | length' "$dir/answer.json")" = 1 ]
    [ "$(jq -r '.certificates[0].serial' "$dir/answer.json")" = "$(cert_serial "$units/e8.pem" | sed 's/^0*//')" ]
    # cacerts: the root and every CA on the way, no end-entity certificate; the same to a client with a certificate.
    [ "$(est cacerts)" = 200 ]
    cp "$dir/body" "$dir/anonymous"
    openssl base64 -d -A < "$dir/body" > "$dir/answer.der"
    judge certs "$dir/answer.der" > "$dir/answer.json"
    [ "$(jq -r "$frame" "$dir/answer.json")" = "signed_data v1 0 data false 0 false" ]
    [ "$(jq -r '.certificates | map(.ca) | unique | join(" ")' "$dir/answer.json")" = true ]
    [ "$(jq -r '.certificates | map(select(.self_issued)) | length' "$dir/answer.json")" = 1 ]
    openssl pkcs7 -inform DER -in "$dir/answer.der" -print_certs > "$dir/all.pem"
    openssl verify -x509_strict -CAfile "$dir/all.pem" "$units/e8.pem"
    [ "$(est cacerts "${work[@]}")" = 200 ]
    cmp "$dir/body" "$dir/anonymous"
    # A root without end would make clients unable to choose the newest (RFC 7030 4.1.3).
    [ "$(jq -r '.certificates[] | select(.self_issued) | .not_after[1]' "$dir/answer.json")" != 99991231235959Z ]
}

# ---- a.3 operations ----

@test "P.csrattrs S1 S2: what a client must know is said, the answer parses as SEQUENCE OF OID or Attribute" {
    [ "$(est csrattrs)" = 204 ]
    [ ! -s "$dir/body" ]
    [ "$(est several/csrattrs)" = 204 ] # several key types: none is named
    [ "$(est bound/csrattrs)" = 200 ]
    grep -qi '^content-type: application/csrattrs' "$dir/headers"
    openssl base64 -d -A < "$dir/body" | openssl asn1parse -inform DER > "$dir/attrs"
    grep -q challengePassword "$dir/attrs"
    [ "$(grep -c id-ecPublicKey "$dir/attrs")" = 1 ]
    [ "$(grep -c prime256v1 "$dir/attrs")" = 1 ]
    grep -q ecdsa-with-SHA256 "$dir/attrs"
}

@test "S4: a request with none of the wishes is completed from the profile; what is enforced is refused by name" {
    born s4
    made s4 "$units/s4.key" --cn anything
    [ "$(EST_OPERATION=simpleenroll est_enroll s4 "${birth[@]}")" = 200 ]
    judge cert "$units/s4.pem" > "$dir/s4.json"
    [ "$(jq -r '.key_usage | join(" ")' "$dir/s4.json")" = digital_signature ]
    [ "$(jq -r '.eku | join(" ")' "$dir/s4.json")" = 1.3.6.1.5.5.7.3.2 ]
    born s4b
    openssl ecparam -name secp384r1 -genkey -noout -out "$units/s4b.key"
    new_csr s4b /CN=s4b/serialNumber=s4b
    [ "$(post bound/simpleenroll "$units/s4b.csr" "${birth[@]}")" = 400 ]
    grep -qi 'challengePassword\|p384' "$dir/body"
}

@test "P.status-map: 200, 204, 400, 401, 403, 404, 405, 413, 414, 415, 417, 431, 501 and never 5xx for a forbidden request" {
    born map
    new_csr map /CN=map/serialNumber=map
    made map-bad "$units/map-bad.key" --cn map --bad-signature
    new_csr map-other /CN=map/serialNumber=other
    [ "$(post simpleenroll "$units/map-bad.csr" "${birth[@]}")" = 400 ]
    [ "$(post simpleenroll "$units/map-other.csr" "${birth[@]}")" = 403 ]
    [ "$(post simpleenroll "$units/map.csr")" = 401 ]
    [ "$(post simpleenroll "$units/map.csr" "${birth[@]}")" = 200 ]
    [ "$(est csrattrs)" = 204 ]
    [ "$(est nothing)" = 404 ]
    [ "$(est cacerts -X PUT)" = 405 ]
    grep -qi '^allow: GET, HEAD' "$dir/headers"
    head -c 33000 /dev/zero | tr '\0' A > "$dir/large"
    [ "$(post simpleenroll "$dir/large" "${birth[@]}" -H 'Expect:')" = 413 ]
    [ "$(est simpleenroll -H 'Content-Type: text/plain' --data-binary x "${birth[@]}")" = 415 ]
    [ "$(est cacerts -H "X: $(printf 'a%.0s' {1..9000})")" = 431 ]
    [ "$(post simpleenroll "$units/map.csr" -H 'Expect: something')" = 417 ]
    [ "$(post fullcmc "$units/map.csr" "${birth[@]}")" = 501 ]
    # Whatever is wrong with the request, it is a refusal and not a failure of ours.
    for csr in map-bad map-other; do
        for operation in simpleenroll simplereenroll bound/simpleenroll certonly/simplereenroll elsewhere/simpleenroll; do
            status=$(post "$operation" "$units/$csr.csr" "${birth[@]}")
            [[ $status == 4?? ]] || { echo "$csr $operation: $status"; false; }
        done
    done
}

# ---- a.4 authentication ----

@test "A.certificate: self-made, same serial, same name, foreign maker, other domain: never 2xx" {
    working cert-1
    new_csr cert-1b /CN=cert-1/serialNumber=cert-1
    # A self-made certificate with the serial, names and dates of the good one.
    openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -set_serial "0x$(cert_serial "$units/cert-1.pem")" \
        -subj "$(openssl x509 -in "$units/cert-1.pem" -noout -subject -nameopt compat | sed 's/^subject=//')" -keyout "$dir/f.key" -out "$dir/f.pem" 2> /dev/null
    run post simplereenroll "$units/cert-1b.csr" --cert "$dir/f.pem" --key "$dir/f.key"
    [[ ${output: -3} != 2?? ]]
    # One issued by a CA of the same name with another key.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Example Maker CA 1/O=Example Maker" -keyout "$dir/fca.key" -out "$dir/fca.pem" 2> /dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=cert-1/serialNumber=cert-1 -keyout "$dir/f2.key" -out "$dir/f2.csr" 2> /dev/null
    openssl x509 -req -in "$dir/f2.csr" -CA "$dir/fca.pem" -CAkey "$dir/fca.key" -CAcreateserial -days 30 -out "$dir/f2.pem" 2> /dev/null
    cat "$dir/f2.pem" "$dir/fca.pem" > "$dir/f2chain.pem"
    run post simpleenroll "$units/cert-1b.csr" --cert "$dir/f2chain.pem" --key "$dir/f2.key"
    [[ ${output: -3} != 2?? ]]
    # The third maker's birth certificate counts in its own domain, for its own devices, and nowhere else.
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=cert-3/serialNumber=cert-3 -keyout "$dir/t.key" -out "$dir/t.csr" 2> /dev/null
    openssl x509 -req -in "$dir/t.csr" -CA "$side/third.pem" -CAkey "$side/third.key" -CAcreateserial -days 30 \
        -extfile <(printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash') -out "$dir/t.pem" 2> /dev/null
    new_csr cert-3 /CN=cert-3/serialNumber=cert-3
    [ "$(post elsewhere/simpleenroll "$units/cert-3.csr" --cert "$dir/t.pem" --key "$dir/t.key")" = 403 ] # not declared
    inkan device add cert-3 --domain example > /dev/null
    [ "$(post simpleenroll "$units/cert-3.csr" --cert "$dir/t.pem" --key "$dir/t.key")" = 403 ] # declared, under another maker
    inkan device add cert-3 --domain elsewhere --anchor third-maker > /dev/null
    [ "$(post elsewhere/simpleenroll "$units/cert-3.csr" --cert "$dir/t.pem" --key "$dir/t.key")" = 200 ] || { cat "$dir/body"; false; }
    # A birth certificate of our own maker does not count there.
    born cert-4
    inkan device add cert-4 --domain elsewhere > /dev/null
    new_csr cert-4 /CN=cert-4/serialNumber=cert-4
    [ "$(post elsewhere/simpleenroll "$units/cert-4.csr" "${birth[@]}")" = 403 ]
    # One that has ended says nothing; ours are asked for grace below.
    openssl x509 -req -in "$dir/t.csr" -CA "$side/third.pem" -CAkey "$side/third.key" -days -1 -out "$dir/t.old.pem" 2> /dev/null
    run post elsewhere/simpleenroll "$units/cert-3.csr" --cert "$dir/t.old.pem" --key "$dir/t.key"
    [[ ${output: -3} != 2?? ]]
}

@test "A.certificate R4: revoked, suspended, stopped: 403 at once; a release opens again" {
    working gone-1
    new_csr gone-1b "$(openssl x509 -in "$units/gone-1.pem" -noout -subject -nameopt compat | sed 's/^subject=//')"
    inkan cert hold "$units/gone-1.pem" --yes
    [ "$(post simplereenroll "$units/gone-1b.csr" "${work[@]}")" = 403 ]
    inkan cert release "$units/gone-1.pem" --yes
    [ "$(post simplereenroll "$units/gone-1b.csr" "${work[@]}")" = 200 ]
    working gone-2
    inkan cert revoke "$units/gone-2.pem" --reason superseded --yes
    [ "$(post simplereenroll "$units/gone-2.csr" "${work[@]}")" = 403 ]
    # The birth certificate revoked: nothing either.
    born gone-3
    new_csr gone-3 /CN=gone-3/serialNumber=gone-3
    inkan cert revoke "$units/gone-3.idevid.pem" --reason keyCompromise --yes
    [ "$(post simpleenroll "$units/gone-3.csr" "${birth[@]}")" = 403 ]
    working gone-4
    inkan device stop gone-4 --yes
    new_csr gone-4b /CN=gone-4/serialNumber=gone-4
    [ "$(post simpleenroll "$units/gone-4b.csr" "${birth[@]}")" = 403 ]
    [ "$(post simplereenroll "$units/gone-4.csr" "${work[@]}")" = 403 ]
}

@test "A.certificate R4: exactly expired passes the handshake: 403, 200 where the profile grants grace; the way back is the birth certificate" {
    working exp-1 short
    working exp-2 graced
    subject1=$(openssl x509 -in "$units/exp-1.pem" -noout -subject -nameopt compat | sed 's/^subject=//')
    subject2=$(openssl x509 -in "$units/exp-2.pem" -noout -subject -nameopt compat | sed 's/^subject=//')
    new_csr exp-1b "$subject1"
    new_csr exp-2b "$subject2"
    wait_for_end "$units/exp-1.pem"
    wait_for_end "$units/exp-2.pem"
    [ "$(post short/simplereenroll "$units/exp-1b.csr" --cert "$units/exp-1.pem" --key "$units/exp-1.key")" = 403 ]
    grep -q expired "$dir/body"
    [ "$(post graced/simplereenroll "$units/exp-2b.csr" --cert "$units/exp-2.pem" --key "$units/exp-2.key")" = 200 ]
    [ "$(post short/simpleenroll "$units/exp-1b.csr" --cert "$units/exp-1.idevid.pem" --key "$units/exp-1.idevid.key")" = 200 ]
}

@test "A.certificate-less: cacerts to a client that trusts nothing yet; its fingerprint is what the operator reads out" {
    curl -sSk -o "$dir/body" "$(est_url cacerts)"
    openssl base64 -d -A < "$dir/body" > "$dir/answer.der"
    judge certs "$dir/answer.der" > "$dir/answer.json"
    root=$(jq -r '.certificates[] | select(.self_issued) | .sha256' "$dir/answer.json")
    [ "$root" = "$(openssl x509 -in "$dir/fleet-root.pem" -outform DER | sha256sum | cut -d' ' -f1)" ]
    inkan ca show fleet-root --json | tr -d ':' | grep -qi "$root"
    # With that root a new session is verified.
    openssl pkcs7 -inform DER -in "$dir/answer.der" -print_certs > "$dir/learnt.pem"
    curl -sS --cacert "$dir/learnt.pem" -o /dev/null "$(est_url cacerts)"
}

@test "A.ra: the role is in the ledger, not in a certificate: a station enrols nobody, cmcRA is not given" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=station-1 -keyout "$dir/st.key" -out "$dir/st.csr" 2> /dev/null
    inkan cert issue --profile station --name station-1 --csr "$dir/st.csr" --out "$dir/st.pem"
    inkan device add ra-1 --product demo > /dev/null
    new_csr ra-1 /CN=ra-1/serialNumber=ra-1
    [ "$(post simpleenroll "$units/ra-1.csr" --cert "$dir/st.pem" --key "$dir/st.key")" = 403 ]
    born ra-2
    made ra-2 "$units/ra-2.key" --cn ra-2 --extension 2.5.29.37 no 300a06082b0601050507031c
    [ "$(post simpleenroll "$units/ra-2.csr" "${birth[@]}")" = 403 ]
    made ra-2 "$units/ra-2.key" --cn ra-2 --extension 2.5.29.37 no 300a06082b06010505070302
    [ "$(post simpleenroll "$units/ra-2.csr" "${birth[@]}")" = 200 ]
}

@test "A.order: credentials before the request's content, signature before key policy, binding before names" {
    inkan device add ord-1 > /dev/null
    inkan secret add --device ord-1 --json > "$dir/ord.json"
    user=$(jq -r .user "$dir/ord.json") secret=$(jq -r .secret "$dir/ord.json")
    made ord-bad "$units/ord-1.key" --cn ord-1 --bad-signature
    [ "$(post simpleenroll "$units/ord-bad.csr" -u "$user:wrong")" = 401 ]
    [ "$(post simpleenroll "$units/ord-bad.csr" -u "$user:$secret")" = 400 ]
    grep -qi 'possession\|signature' "$dir/body"
    born ord-2
    # Another device's name and a binding that is wrong: 400 for the binding. Without the binding: 403 for the name.
    made ord-2 "$units/ord-2.key" --cn ord-2 --serial-number ord-1 --attribute challenge AAAA
    [ "$(post simpleenroll "$units/ord-2.csr" "${birth[@]}")" = 400 ]
    made ord-2 "$units/ord-2.key" --cn ord-2 --serial-number ord-1
    [ "$(post simpleenroll "$units/ord-2.csr" "${birth[@]}")" = 403 ]
    # Nothing of it was remembered: the good request goes through.
    made ord-2 "$units/ord-2.key" --cn ord-2 --serial-number ord-2
    [ "$(post simpleenroll "$units/ord-2.csr" "${birth[@]}")" = 200 ]
}

# ---- a.5 proof of possession and channel binding ----

bind() { # ID [options of raw.py bound]: with that unit's birth identity
    local id=$1
    shift
    [ -e "$units/$id.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$units/$id.key"
    raw bound --port "$port" --cacert "$dir/fleet-root.pem" --cert "$units/$id.idevid.pem" --cert-key "$units/$id.idevid.key" \
        --cn "$id" --serial-number "$id" "$@" "$units/$id.key"
}

@test "B1: a false signature is 400; a binding that is there is verified; a label may demand one" {
    born b1
    made b1 "$units/b1.key" --cn b1 --bad-signature
    [ "$(post simpleenroll "$units/b1.csr" "${birth[@]}")" = 400 ]
    made b1 "$units/b1.key" --cn b1
    [ "$(post bound/simpleenroll "$units/b1.csr" "${birth[@]}")" = 400 ]
    grep -q challengePassword "$dir/body"
    [[ $(bind b1 --operation bound/simpleenroll --tls 1.3 --give exporter) == "200 "* ]]
    [[ $(bind b1 --operation bound/simpleenroll --tls 1.2 --give tls-unique) == "200 "* ]]
    [[ $(bind b1 --tls 1.2 --give 000102030405060708090a0b) == "400 "* ]]
    [[ $(bind b1 --tls 1.3 --give "$(printf '00%.0s' {1..32})") == "400 "* ]]
}

@test "B2: challengePassword and estIdentityLinking mean the same; all that are present must match; the two others are 400" {
    born b2
    for place in challenge linking challenge+linking; do
        [[ $(bind b2 --tls 1.2 --give tls-unique --bind-in "$place") == "200 "* ]]
        [[ $(bind b2 --tls 1.3 --give exporter --bind-in "$place") == "200 "* ]]
    done
    [[ $(bind b2 --tls 1.2 --give tls-unique --bind-in challenge --attribute linking AAAA) == "400 "* ]]
    [[ $(bind b2 --tls 1.2 --give tls-unique --bind-in linking --attribute challenge AAAA) == "400 "* ]]
    for name in otp revocation; do
        made b2 "$units/b2.key" --cn b2 --attribute "$name" 123456
        [ "$(post simpleenroll "$units/b2.csr" "${birth[@]}")" = 400 ]
    done
}

@test "B3 B4: tls-unique on 1.2 and the exporter on 1.3, never one for the other, no binding without extended master secret" {
    born b3
    [[ $(bind b3 --tls 1.2 --give tls-unique) == "200 "* ]]
    [[ $(bind b3 --tls 1.2 --give exporter) == "400 "* ]]
    [[ $(bind b3 --tls 1.2 --give tls-unique --no-ems) == "400 "* ]]
    [[ $(bind b3 --tls 1.3 --give exporter) == "200 "* ]]
    [[ $(bind b3 --tls 1.3 --give stale) == "400 "* ]]
    [[ $(bind b3 --tls 1.2 --give stale) == "400 "* ]]
}

@test "B5: a judged exporter ends the connection, tls-unique and unbound requests do not" {
    born b5
    [ "$(bind b5 --tls 1.3 --give exporter --times 2)" = $'200 close\n0 closed' ]
    [ "$(bind b5 --tls 1.2 --give tls-unique --times 2)" = $'200 keep-alive\n200 keep-alive' ]
    new_csr b5 /CN=b5/serialNumber=b5
    curl -sS --tlsv1.3 --cacert "$dir/fleet-root.pem" "${birth[@]}" -H 'Content-Type: application/pkcs10' --data-binary "@$units/b5.csr" \
        -o /dev/null -o /dev/null -w '%{num_connects} ' "$(est_url simpleenroll)" "$(est_url simpleenroll)" > "$dir/connects"
    [ "$(cat "$dir/connects")" = "1 0 " ]
}

@test "B6 B8: one value of one attribute, 1 to 255 octets, base64 of the binding; a password in its place is 400" {
    born b6
    for value in "" secret "correct horse battery staple" "$(printf 'A%.0s' {1..256})" AAAA; do
        made b6 "$units/b6.key" --cn b6 --attribute challenge "$value"
        [ "$(post simpleenroll "$units/b6.csr" "${birth[@]}")" = 400 ] || { echo "taken: $value"; false; }
    done
    made b6 "$units/b6.key" --cn b6 --attribute challenge AAAA --attribute challenge AAAA
    [ "$(post simpleenroll "$units/b6.csr" "${birth[@]}")" = 400 ]
    [[ $(bind b6 --tls 1.2 --give tls-unique --attribute challenge AAAA) == "400 "* ]]
    [[ $(bind b6 --tls 1.2 --give tls-unique) == "200 "* ]]
}

# ---- a.6 renewal ----

@test "R1: renewal needs the certificate; a password alone only where the profile allows it; a birth certificate does not renew" {
    inkan device add r1 > /dev/null
    inkan secret add --device r1 --json > "$dir/r1.json"
    new_csr r1 /CN=r1/serialNumber=r1
    [ "$(est_enroll r1 -u "$(jq -r '.user + ":" + .secret' "$dir/r1.json")")" = 200 ]
    made r1 "$units/r1.key" --cn r1 --serial-number r1 --organization 'Example Fleet'
    [ "$(post simplereenroll "$units/r1.csr" -u "$(jq -r '.user + ":" + .secret' "$dir/r1.json")")" = 403 ]
    [ "$(post simplereenroll "$units/r1.csr" --cert "$units/r1.pem" --key "$units/r1.key")" = 200 ]
    inkan device add r1p > /dev/null
    inkan secret add --device r1p --profile by-password --json > "$dir/r1.json"
    new_csr r1p /CN=r1p/serialNumber=r1p
    [ "$(post by-password/simpleenroll "$units/r1p.csr" -u "$(jq -r '.user + ":" + .secret' "$dir/r1.json")")" = 200 ]
    made r1p "$units/r1p.key" --cn r1p --serial-number r1p --organization 'Example Fleet'
    [ "$(post by-password/simplereenroll "$units/r1p.csr" -u "$(jq -r '.user + ":" + .secret' "$dir/r1.json")")" = 200 ]
    working r1b
    [ "$(post simplereenroll "$units/r1b.csr" "${birth[@]}")" = 403 ]
    [ "$(post simpleenroll "$units/r1b.csr" "${work[@]}")" = 403 ]
}

@test "R2: subject and names stay: the old octets are issued again, whatever string types ask for them; additions and ChangeSubjectName are 403" {
    working r2
    judge cert "$units/r2.pem" > "$dir/old.json"
    same=(--cn r2 --serial-number r2 --organization 'Example Fleet')
    # Upper case and UTF8String instead of PrintableString: the same name (RFC 5280 7.1), issued in the old octets.
    made r2n "$units/r2n.key" --cn R2 --serial-number r2 --organization 'EXAMPLE  fleet'
    [ "$(EST_OPERATION=simplereenroll est_enroll r2n "${work[@]}")" = 200 ]
    judge cert "$units/r2n.pem" > "$dir/new.json"
    [ "$(jq -r '.subject + (.san | join(" "))' "$dir/new.json")" = "$(jq -r '.subject + (.san | join(" "))' "$dir/old.json")" ]
    [ "$(jq -r .serial "$dir/new.json")" != "$(jq -r .serial "$dir/old.json")" ]
    working r2c
    same=(--cn r2c --serial-number r2c --organization 'Example Fleet')
    san=$(jq -r '.extensions["2.5.29.17"].value' <(judge cert "$units/r2c.pem"))
    made r2d "$units/r2d.key" "${same[@]}" --extension 2.5.29.17 no "${san}"
    for bad in "--cn r2x --serial-number r2c --organization 'Example Fleet'" "--cn r2c --serial-number r2c" "--cn r2c --serial-number r2y --organization 'Example Fleet'"; do
        eval "made r2e '$units/r2e.key' $bad"
        [ "$(post simplereenroll "$units/r2e.csr" "${work[@]}")" = 403 ] || { echo "taken: $bad"; false; }
    done
    made r2e "$units/r2e.key" "${same[@]}" --extension 2.5.29.17 no 300b8209612e6578616d706c65
    [ "$(post simplereenroll "$units/r2e.csr" "${work[@]}")" = 403 ]
    made r2e "$units/r2e.key" "${same[@]}" --change-subject
    [ "$(post simplereenroll "$units/r2e.csr" "${work[@]}")" = 403 ]
    [ "$(post simpleenroll "$units/r2e.csr" --cert "$units/r2c.idevid.pem" --key "$units/r2c.idevid.key")" = 403 ]
    [ "$(post simplereenroll "$units/r2d.csr" "${work[@]}")" = 200 ]
}

@test "R3: same key renews, new key rekeys, a policy may force a new key; new serial, inside the CA's life, a repeat gives the same octets" {
    working r3
    made r3 "$units/r3.key" --cn r3 --serial-number r3 --organization 'Example Fleet'
    cp "$units/r3.pem" "$dir/r3.first"
    [ "$(EST_OPERATION=simplereenroll est_enroll r3 "${work[@]}")" = 200 ]
    [ "$(cert_serial "$units/r3.pem")" != "$(cert_serial "$dir/r3.first")" ]
    [ "$(openssl x509 -in "$units/r3.pem" -noout -pubkey)" = "$(openssl x509 -in "$dir/r3.first" -noout -pubkey)" ]
    cp "$units/r3.pem" "$dir/r3.second"
    cp "$dir/r3.first" "$units/r3.pem"
    [ "$(EST_OPERATION=simplereenroll est_enroll r3 --cert "$dir/r3.first" --key "$units/r3.key")" = 200 ]
    cmp "$units/r3.pem" "$dir/r3.second"
    made r3n "$units/r3n.key" --cn r3 --serial-number r3 --organization 'Example Fleet'
    [ "$(EST_OPERATION=simplereenroll est_enroll r3n --cert "$dir/r3.second" --key "$units/r3.key")" = 200 ]
    end() { date -d "$(openssl x509 -in "$1" -noout -enddate | cut -d= -f2)" +%s; }
    [ "$(end "$units/r3n.pem")" -le "$(end "$dir/fleet-ca.pem")" ]
    working r3f rekeyed
    made r3f "$units/r3f.key" --cn r3f --serial-number r3f --organization 'Example Fleet'
    [ "$(post rekeyed/simplereenroll "$units/r3f.csr" "${work[@]}")" = 403 ]
    made r3g "$units/r3g.key" --cn r3f --serial-number r3f --organization 'Example Fleet'
    [ "$(post rekeyed/simplereenroll "$units/r3g.csr" "${work[@]}")" = 200 ]
}

# ---- a.8 deferral: what our own client does with a 202 ----

@test "D1: inkan-device takes a 202 for what it is and says when to ask again" {
    p=$(free_port)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 2 -addext subjectAltName=DNS:localhost \
        -keyout "$dir/defer.key" -out "$dir/defer.pem" 2> /dev/null
    /usr/bin/python3 - "$p" "$dir/defer.pem" "$dir/defer.key" > /dev/null 2>&1 3>&- <<'PY' &
import http.server, ssl, sys
class Later(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Retry-After", "37")
        self.send_header("Content-Length", "0")
        self.end_headers()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Later)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PY
    server=$!
    born d1
    wait_for 60 curl -sk --max-time 2 "https://localhost:$p/"
    run "$programs/inkan-device" enroll --dir "$units/d1" --url "https://localhost:$p/.well-known/est" --anchor "$dir/defer.pem" \
        --idevid-cert "$units/d1.idevid.pem" --idevid-key "$units/d1.idevid.key"
    kill "$server"
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"37 s"* ]]
    [ ! -e "$units/d1/current" ]
    # The key that waits is the one certified once the service answers.
    unit_device d1 enroll
}

# ---- a.10 what a request may ask ----

@test "Q1 Q3 Q4: version, hash, names and extensions that are refused, each beside a good one" {
    born q1
    q() { # STATUS [options of raw.py csr]
        local want=$1
        shift
        made q1 "$units/q1.key" "$@"
        status=$(post simpleenroll "$units/q1.csr" "${birth[@]}")
        [ "$status" = "$want" ] || { echo "want $want, got $status: $*"; cat "$dir/body"; return 1; }
    }
    q 400 --cn q1 --version 1
    q 400 --cn q1 --hash sha1
    q 400 --cn ""
    q 400 --cn "$(printf 'a%.0s' {1..65})"
    q 400 --cn $'q1\nx'
    q 400 # neither subject nor name
    q 403 --cn q1 --serial-number somebody-else
    q 403 --cn q1 --extension 2.5.29.19 critical 30030101ff         # CA:TRUE
    q 403 --cn q1 --extension 2.5.29.15 critical 03020204           # keyCertSign
    q 403 --cn q1 --extension 2.5.29.37 no 300a06082b06010505070309 # OCSPSigning
    q 403 --cn q1 --extension 1.2.3.4 critical 0500                 # unknown, critical
    q 403 --cn q1 --extension 2.5.29.17 no 300b82096c6f63616c686f7374 # dNSName localhost: the service's own
    q 403 --cn q1 --extension 2.5.29.17 no 300c820a2a2e6578616d706c6531 # wildcard
    q 400 --cn q1 --extension 2.5.29.17 no 3000                     # no name in it
    q 400 --cn q1 --extension 2.5.29.17 no 3003820100               # NUL
    q 400 --cn q1 --extension 2.5.29.37 no 300a06082b06010505070301 # serverAuth alone: nothing the profile gives
    q 200 --cn q1 --serial-number q1 --extension 2.5.29.15 critical 03020780 --extension 2.5.29.37 no 300a06082b06010505070302
}

@test "Q2: weak, foreign and known keys are refused" {
    born q2
    openssl genrsa -out "$units/q2-1024.key" 1024 2> /dev/null
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out "$units/q2-e3.key" 2> /dev/null
    openssl ecparam -name secp256k1 -genkey -noout -out "$units/q2-k1.key"
    openssl ecparam -name secp521r1 -genkey -noout -out "$units/q2-521.key"
    openssl ecparam -name prime256v1 -param_enc explicit -genkey -noout -out "$units/q2-explicit.key"
    for kind in 1024 e3 k1 521 explicit; do
        new_csr "q2-$kind" /CN=q2/serialNumber=q2
        [ "$(post simpleenroll "$units/q2-$kind.csr" "${birth[@]}")" = 400 ] || { echo "$kind taken"; false; }
    done
    # Certified for another unit; reported as compromised; then a good one.
    working q2-owner
    new_csr q2-stolen /CN=q2/serialNumber=q2 "$units/q2-owner.key"
    birth=(--cert "$units/q2.idevid.pem" --key "$units/q2.idevid.key")
    [ "$(post simpleenroll "$units/q2-stolen.csr" "${birth[@]}")" = 403 ]
    new_csr q2 /CN=q2/serialNumber=q2
    [ "$(est_enroll q2 "${birth[@]}")" = 200 ]
    inkan cert revoke "$units/q2.pem" --reason keyCompromise --yes
    [ "$(post simpleenroll "$units/q2.csr" "${birth[@]}")" = 403 ]
    new_csr q2-fresh /CN=q2/serialNumber=q2
    [ "$(post simpleenroll "$units/q2-fresh.csr" "${birth[@]}")" = 200 ]
}

@test "Q3 Q5: nothing but the key is copied; names are PrintableString or UTF8String" {
    born q5
    # Extensions that name addresses, another key identifier, ocsp-nocheck, a TLS feature: none comes back.
    made q5 "$units/q5.key" --cn "Wanted Name" --organization "Wanted Org" \
        --extension 2.5.29.14 no 0414aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
        --extension 2.5.29.31 no 301a3018a016a0148612687474703a2f2f6576696c2e6578616d706c65 \
        --extension 1.3.6.1.5.5.7.1.1 no 3022302006082b060105050730018614687474703a2f2f6576696c2e6578616d706c652f31 \
        --extension 1.3.6.1.5.5.7.48.1.5 no 0500 --extension 1.3.6.1.5.5.7.1.24 no 3003020105 \
        --extension 1.2.3.4 no 0500
    [ "$(est_enroll q5 "${birth[@]}")" = 200 ]
    judge cert "$units/q5.pem" > "$dir/q5.json"
    [ "$(openssl x509 -in "$units/q5.pem" -noout -pubkey)" = "$(openssl pkey -in "$units/q5.key" -pubout)" ]
    openssl x509 -in "$units/q5.pem" -outform DER | no grep -qai 'evil\|wanted'
    [ "$(jq -r '.extensions | keys | sort | join(" ")' "$dir/q5.json")" = "$(printf '%s\n' 1.3.6.1.5.5.7.1.1 2.5.29.14 2.5.29.15 2.5.29.17 2.5.29.31 2.5.29.35 2.5.29.37 | sort | paste -sd' ')" ]
    [ "$(jq -r .ski "$dir/q5.json")" != aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ]
    [ "$(jq -r '.string_tags - [12, 19] | length' "$dir/q5.json")" = 0 ]
    [ "$(openssl x509 -in "$units/q5.pem" -noout -subject -nameopt RFC2253 | tr -d ' ')" = "subject=O=ExampleFleet,serialNumber=q5,CN=q5" ]
}

# ---- last: it uses up this address's guesses ----

@test "A.basic: an empty name and a wrong secret are 401, 30 wrong guesses later 429, and the right secret still passes" {
    inkan device add basic-1 > /dev/null
    inkan secret add --device basic-1 --json > "$dir/basic.json"
    user=$(jq -r .user "$dir/basic.json") secret=$(jq -r .secret "$dir/basic.json")
    [ "$(jq -r '.secret | length' "$dir/basic.json")" -ge 20 ]
    new_csr basic-1 /CN=basic-1/serialNumber=basic-1
    [ "$(post simpleenroll "$units/basic-1.csr" -u ":$secret")" = 401 ]
    [ "$(post simpleenroll "$units/basic-1.csr" -u "$user:")" = 401 ]
    [ "$(post simpleenroll "$units/basic-1.csr" -u "nobody:$secret")" = 401 ]
    [ "$(post simpleenroll "$units/basic-1.csr" -H "Authorization: Basic $(printf '%s:%s\0x' "$user" "$secret" | openssl base64 -A)")" = 400 ]
    [ "$(post simpleenroll "$units/basic-1.csr" -H 'Authorization: Digest username="x"')" = 401 ]
    limited=no
    for _ in $(seq 40); do
        status=$(post simpleenroll "$units/basic-1.csr" -u "$user:wrong")
        [ "$status" = 401 ] || { [ "$status" = 429 ] && limited=yes && break; }
    done
    [ "$limited" = yes ]
    grep -qi '^retry-after: [0-9]' "$dir/headers"
    [ "$(post simpleenroll "$units/basic-1.csr" -u "$user:$secret")" = 200 ]
}
