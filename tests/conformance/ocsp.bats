#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# OCSP on a real service: RFC 6960, 9654, 9919. The names begin with the rows of tests/conformance.tsv they stand for.
# python3-asn1crypto and openssl are the judges; the responder alone is in tests/unit/test_responder.c.
load service

setup_file() {
    side_dir
    use_test_clock
    extra_profiles='  - {name: short, kind: ldevid, ca: fleet-ca, validity: 305s, crl_url: true, ocsp_url: true}'
    extra_labels='  - {name: short, domain: example, profile: short}'
    instance_up
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    working good
    working bad
    inkan cert revoke "$units/bad.pem" --reason keyCompromise --yes
    # The same question twice within a life is answered from what was kept: both are there now.
    ask fleet-ca "$(cert_serial "$units/good.pem")" > /dev/null
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

# post_ocsp FILE: status in $dir/answer, headers in $dir/headers
post_ocsp() {
    curl -sS -D "$dir/headers" -o "$dir/answer" -H 'Content-Type: application/ocsp-request' --data-binary "@$1" "$(http_url /ocsp)"
}

# ask CA SERIAL [options of judge.py ocsp-request]: the answer as JSON, also in $dir/answer.json
ask() {
    local ca=$1 serial=$2
    shift 2
    judge ocsp-request "$dir/$ca.pem=$serial" "$@" > "$dir/request"
    post_ocsp "$dir/request"
    judge ocsp "$dir/answer" > "$dir/answer.json"
    cat "$dir/answer.json"
}

# says EXPRESSION: jq -r over the last answer
says() {
    jq -r "$1" "$dir/answer.json"
}

error_of() { # hexadecimal of the whole answer
    od -An -v -tx1 "$dir/answer" | tr -d ' \n'
}
unauthorized=30030a0106
malformed=30030a0101

seconds() { # 20260101000000Z
    date -u -d "${1:0:8} ${1:8:2}:${1:10:2}:${1:12:2}" +%s
}

good_serial() { cert_serial "$units/good.pem"; }
bad_serial() { cert_serial "$units/bad.pem"; }

@test "O1 O16 O19 O20 O23 O24 O33 O38: the plain answer is exactly what the profile asks" {
    ask fleet-ca "$(good_serial)" > /dev/null
    now=$(date +%s)
    [ "$(says '.status + " " + .response_type + " " + (.version_written | tostring) + " " + .responder_by + " " + (.certificates | tostring)')" = \
        "successful basic_ocsp_response false by_key 1" ]
    [ "$(says .responder_key)" = "$(says .key_sha1)" ]
    [ "$(says '.singles | length')" = 1 ]
    [ "$(says '.singles[0].status')" = good ]
    # No extension anywhere: no nonce was asked, no archiveCutoff is promised.
    [ "$(says '[.extensions, .singles[0].extensions] | map(tostring) | join(" ")')" = "null null" ]
    for t in .produced_at '.singles[0].this_update' '.singles[0].next_update'; do
        [ "$(says "$t[0]")" = GeneralizedTime ]
        [[ "$(says "$t[1]")" =~ ^[0-9]{14}Z$ ]]
    done
    produced=$(seconds "$(says '.produced_at[1]')")
    this=$(seconds "$(says '.singles[0].this_update[1]')")
    next=$(seconds "$(says '.singles[0].next_update[1]')")
    [ "$this" -le "$produced" ]
    [ "$produced" -le "$now" ]
    [ $((produced - this)) -le 300 ]
    [ "$next" -gt "$now" ]
    [ $((next - produced)) -le 3600 ]
}

@test "O8 O9 O10: every hash, with and without NULL, comes back octet for octet; odd serials are unknown" {
    for hash in sha1 sha256 sha384 sha512; do
        for null in "" --no-null; do
            ask fleet-ca "$(good_serial)" --hash "$hash" $null > /dev/null
            [ "$(says '.singles[0].status')" = good ]
            id=$(says '.singles[0].cert_id')
            od -An -v -tx1 "$dir/request" | tr -d ' \n' | grep -q "$id"
        done
    done
    ask fleet-ca "$(good_serial)" --hash sha224 > /dev/null
    [ "$(error_of)" = $unauthorized ]
    for serial in 0 -1 7fffffffffffffffffffffffffffffffffffffffffff; do
        ask fleet-ca $serial > /dev/null
        [ "$(says '.singles[0].status')" = unknown ]
    done
}

@test "O2 O19 O45: a serial never issued is a signed unknown of a few minutes that nobody keeps" {
    ask fleet-ca 1234567890abcdef > /dev/null
    [ "$(says '.singles[0].status')" = unknown ]
    [ "$(says '.singles[0].extensions')" = null ]
    [ $(($(seconds "$(says '.singles[0].next_update[1]')") - $(seconds "$(says '.produced_at[1]')"))) -le 900 ]
    grep -qi '^cache-control: max-age=0, private, must-revalidate' "$dir/headers"
    no grep -qi '^expires:\|no-store\|no-cache' "$dir/headers"
    openssl ocsp -issuer "$dir/fleet-ca.pem" -serial 0x1234567890abcdef -url "$(http_url /ocsp)" -CAfile "$dir/ca.pem" -no_nonce 2>&1 | grep -q ': unknown'
}

@test "O4 O5 O14: another CA's certificate, and two issuers in one question, are unauthorized: five octets, unsigned, no-store" {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Example Fleet CA 1/O=Example Fleet" -days 3 -keyout /dev/null -out "$dir/other.pem" 2> /dev/null
    ask other 1234 > /dev/null
    [ "$(error_of)" = $unauthorized ]
    grep -qi '^cache-control: no-store' "$dir/headers"
    grep -qi '^HTTP/1.1 200' "$dir/headers"
    judge ocsp-request "$dir/fleet-ca.pem=$(good_serial)" "$dir/fleet-root.pem=$(cert_serial "$dir/fleet-ca.pem")" > "$dir/request"
    post_ocsp "$dir/request"
    [ "$(error_of)" = $unauthorized ]
    judge ocsp-request "$dir/fleet-ca.pem=$(good_serial)" "$dir/other.pem=12" > "$dir/request"
    post_ocsp "$dir/request"
    [ "$(error_of)" = $unauthorized ]
}

@test "O6 O7: sixteen questions get sixteen answers in their order, doubles too, and no other; seventeen are malformed" {
    questions=()
    for _ in 1 2 3 4 5 6 7 8; do
        questions+=("$dir/fleet-ca.pem=$(bad_serial)" "$dir/fleet-ca.pem=$(good_serial)")
    done
    judge ocsp-request "${questions[@]}" > "$dir/request"
    post_ocsp "$dir/request"
    judge ocsp "$dir/answer" > "$dir/answer.json"
    [ "$(says '.singles | map(.status) | join(" ")')" = "$(printf 'revoked good %.0s' {1..8} | sed 's/ $//')" ]
    judge ocsp-request "${questions[@]}" "$dir/fleet-ca.pem=1" > "$dir/request"
    post_ocsp "$dir/request"
    [ "$(error_of)" = $malformed ]
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$units/good.pem" -cert "$units/bad.pem" -url "$(http_url /ocsp)" -CAfile "$dir/ca.pem" > "$dir/cli" 2>&1
    grep -q "good.pem: good" "$dir/cli"
    grep -q "bad.pem: revoked" "$dir/cli"
}

@test "O11: the issuing CA's own status is signed by a responder of the root, never by the issuing CA's" {
    ask fleet-root "$(cert_serial "$dir/fleet-ca.pem")" > /dev/null
    [ "$(says '.singles[0].status')" = good ]
    root=$(judge cert "$dir/fleet-root.pem" | jq -r .subject)
    [ "$(says .signer.issuer)" = "$root" ]
    one=$(says .signer.spki_sha256)
    ask fleet-ca "$(good_serial)" > /dev/null
    [ "$(says .signer.issuer)" = "$(judge cert "$dir/fleet-ca.pem" | jq -r .subject)" ]
    [ "$(says .signer.spki_sha256)" != "$one" ]
}

@test "O13: after a certificate has ended its last status is still answered" {
    working brief short
    working brief-bad short
    inkan cert revoke "$units/brief-bad.pem" --reason superseded --yes
    end=$(date -d "$(openssl x509 -in "$units/brief-bad.pem" -noout -enddate | cut -d= -f2)" +%s)
    while [ "$(date +%s)" -le "$end" ]; do sleep 0.3; done
    ask fleet-ca "$(cert_serial "$units/brief.pem")" --nonce 00112233445566778899aabbccddeeff > /dev/null
    [ "$(says '.singles[0].status')" = good ]
    ask fleet-ca "$(cert_serial "$units/brief-bad.pem")" --nonce 00112233445566778899aabbccddeeff > /dev/null
    [ "$(says '.singles[0].status')" = revoked ]
}

get_url() { # CERT: the GET address of a plain question
    judge ocsp-request "$dir/fleet-ca.pem=$(cert_serial "$1")" > "$dir/request"
    echo "$(http_url /ocsp)/$(openssl base64 -A -in "$dir/request" | sed 's/+/%2B/g; s#/#%2F#g; s/=/%3D/g')"
}

@test "O15 O18 O21 O22: a cached answer is gone when the revocation has returned; date and reason are the CRL's" {
    working turn
    url=$(get_url "$units/turn.pem")
    for _ in 1 2; do
        curl -sS "$url" -o "$dir/answer"
        judge ocsp "$dir/answer" > "$dir/answer.json"
        [ "$(says '.singles[0].status')" = good ]
    done
    before=$(date +%s)
    inkan cert revoke "$units/turn.pem" --reason affiliationChanged --yes
    curl -sS "$url" -o "$dir/answer"
    judge ocsp "$dir/answer" > "$dir/answer.json"
    [ "$(says '.singles[0].status')" = revoked ]
    [ "$(says '.singles[0].reason')" = affiliation_changed ]
    at=$(says '.singles[0].revoked_at[1]')
    [ "$(seconds "$at")" -ge "$before" ]
    [ "$(seconds "$at")" -le "$(date +%s)" ]
    [ "$(seconds "$(says '.singles[0].this_update[1]')")" -ge "$(seconds "$at")" ]
    listed() {
        curl -fsS "$(http_url /crl/fleet-ca.crl)" -o "$dir/list" && judge crl "$dir/list" > "$dir/list.json" &&
            jq -e --arg s "$(cert_serial "$units/turn.pem" | sed 's/^0*//')" '.entries[] | select(.serial == $s)' "$dir/list.json" > "$dir/entry"
    }
    for _ in $(seq 600); do ! listed || break; sleep 0.1; done
    listed
    [ "20$(jq -r '.date[1]' "$dir/entry")" = "$at" ]
    [ "$(jq -r .reason "$dir/entry")" = affiliation_changed ]
    # unspecified is left out
    working turn-2
    inkan cert revoke "$units/turn-2.pem" --reason unspecified --yes
    ask fleet-ca "$(cert_serial "$units/turn-2.pem")" > /dev/null
    openssl ocsp -respin "$dir/answer" -resp_text -noverify 2> /dev/null > "$dir/text"
    grep -q 'Cert Status: revoked' "$dir/text"
    no grep -q 'Revocation Reason' "$dir/text"
}

@test "O17 O29 O30 O31 O32: the responder is the CA's own delegate, for nothing else, and signs as the CRL is signed" {
    ask fleet-ca "$(good_serial)" > /dev/null
    curl -fsS "$(http_url /crl/fleet-ca.crl)" -o "$dir/list"
    [ "$(says '.algorithm | .oid + "/" + .parameters')" = "$(judge crl "$dir/list" | jq -r '.outer_algorithm | .oid + "/" + .parameters')" ]
    [ "$(says '.algorithm.parameters')" = "" ]
    [ "$(says '.signer.eku | join(" ")')" = 1.3.6.1.5.5.7.3.9 ]
    [ "$(says '.signer.key_usage | join(" ")')" = digital_signature ]
    [ "$(says .signer.ca)" = false ]
    [ "$(says '.signer.extensions["1.3.6.1.5.5.7.48.1.5"] | (.critical | tostring) + " " + .value')" = "false 0500" ]
    [ "$(says '.signer.extensions | has("1.3.6.1.5.5.7.1.1") or has("2.5.29.31")')" = false ]
    [ "$(says '.signer.not_before[1]')" \< "$(date -u +%y%m%d%H%M%SZ)" ]
    [ "$(date -u +%y%m%d%H%M%SZ)" \< "$(says '.signer.not_after[1]')" ]
    # Issued by the CA that the question names, not by another of ours.
    for pair in fleet-ca maker-ca; do
        serial=$(cert_serial "$([ $pair = fleet-ca ] && echo "$units/good.pem" || echo "$units/good.idevid.pem")")
        ask $pair "$serial" > /dev/null
        [ "$(says .signer.issuer)" = "$(judge cert "$dir/$pair.pem" | jq -r .subject)" ]
        [ "$(says '.singles[0].status')" = good ]
    done
    # The key is used for nothing else: its certificate cannot enrol, and no other certificate carries it.
    inkan cert list --profile fleet-ocsp --json | jq -e length
}

@test "O34: certificates carry the OCSP address, in http" {
    openssl x509 -in "$units/good.pem" -noout -ocsp_uri | grep -qx "$(http_url /ocsp)"
    [[ $(openssl x509 -in "$units/good.pem" -noout -ocsp_uri) == http://* ]]
}

@test "O25 O26 O27 O28: extensions, preferences and signatures of a request" {
    # an unknown one is ignored, a critical unknown one is malformed
    ask fleet-ca "$(good_serial)" --extension 1.2.3.4 no 0500 > /dev/null
    [ "$(says '.singles[0].status')" = good ]
    ask fleet-ca "$(good_serial)" --extension 1.2.3.4 critical 0500 > /dev/null
    [ "$(error_of)" = $malformed ]
    # acceptable responses: basic; none that we have
    ask fleet-ca "$(good_serial)" --extension 1.3.6.1.5.5.7.48.1.4 no 300b06092b0601050507300101 > /dev/null
    [ "$(says .response_type)" = basic_ocsp_response ]
    # preferred algorithms: sha1WithRSAEncryption, md5WithRSAEncryption: never
    ask fleet-ca "$(good_serial)" --extension 1.3.6.1.5.5.7.48.1.8 no 3022300f300d06092a864886f70d0101050500300f300d06092a864886f70d0101040500 > /dev/null
    [ "$(says .algorithm.oid)" = 1.2.840.10045.4.3.2 ]
    ask fleet-ca "$(good_serial)" --requestor somebody > /dev/null
    [ "$(says '.singles[0].status')" = good ]
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$units/good.pem" -signer "$units/good.pem" -signkey "$units/good.key" \
        -url "$(http_url /ocsp)" -CAfile "$dir/ca.pem" 2>&1 | grep -q "good.pem: good"
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$units/good.pem" -signer "$units/good.pem" -signkey "$units/good.key" -no_certs \
        -url "$(http_url /ocsp)" -CAfile "$dir/ca.pem" 2>&1 | grep -q "good.pem: good"
}

@test "O35 O36 O37 O45: nonces of 1 to 128 octets come back signed at once, others are malformed, and no cache keeps them" {
    for n in 1 15 16 23 32 33 128; do
        nonce=$(openssl rand -hex "$n")
        ask fleet-ca "$(good_serial)" --nonce "$nonce" > /dev/null
        [ "$(says '.extensions | keys | join(" ")')" = 1.3.6.1.5.5.7.48.1.2 ]
        [ "$(says '.extensions["1.3.6.1.5.5.7.48.1.2"].critical')" = false ]
        [[ $(says '.extensions["1.3.6.1.5.5.7.48.1.2"].value') == *"$nonce" ]]
        grep -qi '^cache-control: max-age=0, private, must-revalidate' "$dir/headers"
        no grep -qi 'no-store\|no-cache\|^expires' "$dir/headers"
    done
    ask fleet-ca "$(good_serial)" --nonce "$(openssl rand -hex 129)" > /dev/null
    [ "$(error_of)" = $malformed ]
    ask fleet-ca "$(good_serial)" --extension 1.3.6.1.5.5.7.48.1.2 no 0400 > /dev/null
    [ "$(error_of)" = $malformed ]
}

@test "O41 O43: POST and GET, HTTP/1.0 and 1.1, with a length and never chunked, at 200" {
    judge ocsp-request "$dir/fleet-ca.pem=$(good_serial)" > "$dir/request"
    for version in 1.0 1.1; do
        for how in "keep-alive" close; do
            { printf 'POST /ocsp HTTP/%s\r\nHost: h\r\nConnection: %s\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n' \
                "$version" "$how" "$(wc -c < "$dir/request")"; cat "$dir/request"; } | raw http --port "$((port + 1))" --wait 1 > "$dir/raw"
            head -c 20 "$dir/raw" | grep -q '^HTTP/1.1 200'
            grep -aqi '^content-type: application/ocsp-response' "$dir/raw"
            grep -aqi '^content-length: [1-9]' "$dir/raw"
            no grep -aqi '^transfer-encoding' "$dir/raw"
            grep -aqi "^connection: $how" "$dir/raw"
        done
    done
    curl -sS --http1.0 "$(get_url "$units/good.pem")" -o "$dir/answer"
    judge ocsp "$dir/answer" > "$dir/answer.json"
    [ "$(says '.singles[0].status')" = good ]
    [ "$(curl -sS -o /dev/null -w '%{http_code}' -H 'Content-Type: text/plain' --data-binary "@$dir/request" "$(http_url /ocsp)")" = 415 ]
}

@test "O42: the GET path in every spelling clients use" {
    text=$(judge ocsp-request "$dir/fleet-ca.pem=$(good_serial)" --hash sha256 | openssl base64 -A)
    escaped=$(sed 's/+/%2B/g; s#/#%2F#g; s/=/%3D/g' <<< "$text")
    small=$(sed 's/+/%2b/g; s#/#%2f#g; s/=/%3d/g' <<< "$text")
    for path in "/$text" "/$escaped" "/$small" "//$text" "///$escaped"; do
        curl -sS --path-as-is "$(http_url "/ocsp$path")" -o "$dir/answer"
        judge ocsp "$dir/answer" > "$dir/answer.json"
        [ "$(says '.singles[0].status')" = good ] || { echo "$path"; false; }
    done
    for path in "/${text%=}A" "/%20$text" "/${text:0:20}%0a${text:20}" "/${text}x" /; do
        curl -sS --path-as-is "$(http_url "/ocsp$path")" -o "$dir/answer"
        [ "$(error_of)" = $malformed ] || { echo "$path"; false; }
    done
}

@test "O44: what may be kept says until when, alike for GET and POST" {
    for how in get post; do
        if [ $how = get ]; then
            curl -sS -D "$dir/headers" -o "$dir/answer" "$(get_url "$units/good.pem")"
        else
            judge ocsp-request "$dir/fleet-ca.pem=$(good_serial)" > "$dir/request"
            post_ocsp "$dir/request"
        fi
        judge ocsp "$dir/answer" > "$dir/answer.json"
        next=$(seconds "$(says '.singles[0].next_update[1]')")
        produced=$(seconds "$(says '.produced_at[1]')")
        header() { sed -n "s/^$1: //Ip" "$dir/headers" | tr -d '\r'; }
        [ "$(date -d "$(header Last-Modified)" +%s)" = "$produced" ]
        [ "$(date -d "$(header Expires)" +%s)" = "$next" ]
        [ -n "$(header Date)" ]
        [ "$(header ETag)" = "\"$(sha256sum "$dir/answer" | cut -d' ' -f1)\"" ]
        [[ $(header Cache-Control) =~ ^max-age=([0-9]+),\ public,\ no-transform,\ must-revalidate$ ]]
        age=${BASH_REMATCH[1]}
        # A fresh answer exists before it runs out: half of the life of an hour at most.
        [ "$age" -gt 0 ]
        [ $(($(date +%s) + age)) -lt "$next" ]
        [ "$age" -le 1800 ]
        no grep -qi 'no-store\|no-cache' "$dir/headers"
    done
    [ "$(curl -sS -o /dev/null -w '%{http_code}' -H "If-None-Match: $(header ETag)" "$(get_url "$units/good.pem")")" = 304 ]
    [ "$(curl -sS -o /dev/null -w '%{http_code}' -H 'If-None-Match: "x"' "$(get_url "$units/good.pem")")" = 200 ]
}

@test "O46: HEAD, conditional and other methods, sizes" {
    url=$(get_url "$units/good.pem")
    curl -sS "$url" -o "$dir/answer"
    curl -sS -I "$url" > "$dir/headers"
    grep -qi "^content-length: $(wc -c < "$dir/answer")"$'\r' "$dir/headers"
    for method in PUT DELETE OPTIONS PATCH; do
        curl -sS -X $method -D "$dir/headers" -o /dev/null "$(http_url /ocsp)"
        grep -qi '^HTTP/1.1 405' "$dir/headers"
        grep -qi '^allow: GET, HEAD, POST' "$dir/headers"
    done
    head -c 4097 /dev/zero > "$dir/large"
    [ "$(curl -sS -o /dev/null -w '%{http_code}' -H 'Expect:' -H 'Content-Type: application/ocsp-request' --data-binary "@$dir/large" "$(http_url /ocsp)")" = 413 ]
    [ "$(curl -sS -o /dev/null -w '%{http_code}' "$(http_url "/ocsp/$(printf 'A%.0s' {1..4200})")")" = 414 ]
    printf 'GET http://h/ocsp/x HTTP/1.1\r\nHost: h\r\n\r\n' | raw http --port "$((port + 1))" | grep -q '^HTTP/1.1 400'
    printf 'POST /ocsp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' | raw http --port "$((port + 1))" | grep -q '^HTTP/1.1 411'
}

@test "O47: whatever comes is malformedRequest, and the next good question is answered" {
    judge ocsp-request "$dir/fleet-ca.pem=$(good_serial)" > "$dir/request"
    good=$(od -An -v -tx1 "$dir/request" | tr -d ' \n')
    for hex in "" 00 3000 "${good:0:40}" "${good}00" "${good}0500" "3080${good:4}0000" "3084ffffffff" "31${good:2}" \
        "$(printf '30820400%.0s' {1..200})" 474554202f20 "30053003a003020101" 30023000; do
        unhex <<< "$hex" > "$dir/bad"
        post_ocsp "$dir/bad"
        grep -q '^HTTP/1.1 200' "$dir/headers"
        [ "$(error_of)" = $malformed ] || { echo "$hex: $(error_of)"; false; }
    done
    post_ocsp "$dir/request"
    judge ocsp "$dir/answer" > "$dir/answer.json"
    [ "$(says '.singles[0].status')" = good ]
}

@test "O31: responders renew themselves when two thirds of their life are over, and not before" {
    ask fleet-ca "$(good_serial)" > /dev/null
    first=$(says .signer.serial)
    # 30 days: due after 20. The service is stopped over them, which is no jump of its clock.
    stop_service
    set_clock $((19 * 86400))
    start_service 3>&- 4>&-
    wait_for 60 health_is_ready
    sleep 2
    [ "$(inkan ocsp list --json | jq -r '.[] | select(.issuer == "fleet-ca") | .not_after')" -lt "$(($(date +%s) + 31 * 86400))" ]
    stop_service
    set_clock $((20 * 86400 + 3600))
    start_service 3>&- 4>&-
    wait_for 60 health_is_ready
    renewed() { [ "$(inkan ocsp list --json | jq -r '.[] | select(.issuer == "fleet-ca") | .not_after')" -gt "$(($(date +%s) + 45 * 86400))" ]; }
    for _ in $(seq 300); do ! renewed || break; sleep 0.2; done
    renewed
    another_signs() {
        ask fleet-ca "$(good_serial)" --nonce 00112233445566778899aabbccddeeff > /dev/null && [ "$(says .status)" = successful ] &&
            [ "$(says .signer.serial)" != "$first" ]
    }
    for _ in $(seq 300); do ! another_signs || break; sleep 0.2; done
    another_signs
}
