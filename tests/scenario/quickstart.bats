#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The quickstart from a clean directory, as a new user runs it; what its env file names works once each.

setup_file() {
    export source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
    export QS=${INKAN_TEST_OUT:-/var/tmp}/quickstart-$$
    # shellcheck source=/dev/null
    . "$source_dir/tests/lib/instance.bash"
    QS_PORT=$(free_port)
    export QS_PORT INKAN_BUILD_DIR=${INKAN_RELEASE:?}
    "$source_dir/deploy/quickstart" --dir "$QS" --port "$QS_PORT" > "$BATS_FILE_TMPDIR/first" 2>&1 3>&- || { cat "$BATS_FILE_TMPDIR/first"; return 1; }
}
teardown_file() {
    "$source_dir/deploy/quickstart" --stop --purge --dir "$QS" > /dev/null
}
setup() {
    # shellcheck source=/dev/null
    [ ! -e "$QS/env" ] || . "$QS/env"
}

@test "one line per step, every step done" {
    cat "$BATS_FILE_TMPDIR/first"
    [ "$(grep -cE '^ *[0-9]+\. .* done$' "$BATS_FILE_TMPDIR/first")" -ge 18 ]
    ! grep -q FAILED "$BATS_FILE_TMPDIR/first"
}

@test "nothing of the service runs as root" {
    pids=$(cat "$RUN_DIR"/*.pid)
    [ "$(echo "$pids" | wc -w)" -ge 6 ]
    for pid in $pids; do
        [ "$(stat -c %U "/proc/$pid")" != root ]
        [ "$(awk '/^Uid:/ {print $2, $3, $4, $5}' "/proc/$pid/status" | tr ' ' '\n' | grep -cx 0)" = 0 ]
    done
}

@test "the env file is private and every address in it answers" {
    [ "$(stat -c %a "$QS/env")" = 600 ]
    curl -fsS --cacert "$EST_CACERT" "$EST_URL/cacerts" > /dev/null
    curl -fsS "$CRL_URL" | openssl crl -inform DER -noout
    curl -fsS "$ROOT_CRL_URL" | openssl crl -inform DER -noout
    [ "$(curl -fsS "$CRL_PEM_URL" | grep -c 'BEGIN X509 CRL')" = 2 ]
    curl -fsS "$HEALTH_URL" > /dev/null
    [ -s "$LOG_FILE" ]
    "$INKAN" status > /dev/null
}

@test "each credential in it works: group secret, device secret, birth identity, enrolled device" {
    work=$BATS_TEST_TMPDIR
    csr() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/$1.key" -subj "$2" -outform DER 2> /dev/null | openssl base64 -A > "$work/$1.csr"; }
    post() { curl -sS --cacert "$EST_CACERT" -o "$work/body" -w '%{http_code}' -H 'Content-Type: application/pkcs10' "$@"; }
    csr lab /CN=lab-0001
    [ "$(post -u "$EST_USER:$EST_PASS" --data-binary "@$work/lab.csr" "$EST_URL/simpleenroll")" = 200 ]
    csr dev "/CN=$DEVICE_ID"
    [ "$(post -u "$DEVICE_USER:$DEVICE_PASS" --data-binary "@$work/dev.csr" "$EST_URL/simpleenroll")" = 200 ]
    id=$(openssl x509 -in "$IDEVID_CERT" -noout -subject -nameopt multiline | sed -n 's/.*serialNumber *= //p')
    csr born "/CN=$id/serialNumber=$id"
    [ "$(post --cert "$IDEVID_CERT" --key "$IDEVID_KEY" --data-binary "@$work/born.csr" "$EST_URL/simpleenroll")" = 200 ]
    openssl req -new -key "$DEVICE_KEY" -outform DER -subj "$(openssl x509 -in "$DEVICE_CERT" -noout -subject -nameopt compat | sed 's/^subject=//')" | openssl base64 -A > "$work/renew.csr"
    [ "$(post --cert "$DEVICE_CERT" --key "$DEVICE_KEY" --data-binary "@$work/renew.csr" "$EST_URL/simplereenroll")" = 200 ]
}

@test "the revoked device is revoked for OCSP and CRL, the enrolled one is good" {
    run openssl ocsp -issuer "$ISSUER_PEM" -cert "$REVOKED_CERT" -url "$OCSP_URL" -CAfile "$CA_PEM"
    [[ $output == *": revoked"* ]]
    run openssl ocsp -issuer "$ISSUER_PEM" -cert "$DEVICE_CERT" -url "$OCSP_URL" -CAfile "$CA_PEM"
    [[ $output == *": good"* ]]
    curl -fsS "$CRL_PEM_URL" > "$BATS_TEST_TMPDIR/crl.pem"
    run openssl verify -crl_check -CAfile "$CA_PEM" -CRLfile "$BATS_TEST_TMPDIR/crl.pem" "$REVOKED_CERT"
    [[ $output == *"certificate revoked"* ]]
    openssl verify -crl_check -CAfile "$CA_PEM" -CRLfile "$BATS_TEST_TMPDIR/crl.pem" "$DEVICE_CERT"
    openssl pkey -in "$REVOKED_KEY" -noout
}

@test "a gateway asks: the enrolled device may connect, the revoked one may not" {
    decision() { # CERT
        curl -sS --cacert "$EST_CACERT" --cert "$GATEWAY_CERT" --key "$GATEWAY_KEY" \
            -H "X-Client-Cert: $(openssl x509 -in "$1" -outform DER | openssl base64 -A)" "$DECISION_URL" | jq -r .reason
    }
    [ "$(decision "$DEVICE_CERT")" = ok ]
    [ "$(decision "$REVOKED_CERT")" = revoked ]
}

@test "over the network: one operator asks for what takes two, never approves it, the other does" {
    by() { "$INKAN" --url "$ADMIN_URL" --ca "$EST_CACERT" --as "$1" --key "$2" "${@:3}"; }
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=third -keyout "$BATS_TEST_TMPDIR/third.key" \
        -out "$BATS_TEST_TMPDIR/third.csr" 2> /dev/null
    run by "$OPERATOR_CERT" "$OPERATOR_KEY" operator add third --roles auditor --csr "$BATS_TEST_TMPDIR/third.csr"
    [ "$status" -eq 3 ]
    id=$(by "$SECOND_CERT" "$SECOND_KEY" approval list --json | jq '.[0].id')
    [[ $output == *"waits for a second person: inkan approval approve $id"* ]]
    run by "$OPERATOR_CERT" "$OPERATOR_KEY" approval approve "$id" --yes
    [ "$status" -eq 1 ]
    by "$SECOND_CERT" "$SECOND_KEY" approval approve "$id" --yes --out "$BATS_TEST_TMPDIR/third.pem"
    [ "$(openssl x509 -in "$BATS_TEST_TMPDIR/third.pem" -noout -pubkey)" = "$(openssl pkey -in "$BATS_TEST_TMPDIR/third.key" -pubout)" ]
    by "$OPERATOR_CERT" "$OPERATOR_KEY" operator show third --json | jq -e '.roles == "auditor"'
}

@test "a second run works and keeps the hierarchies" {
    before=$(openssl x509 -in "$ISSUER_PEM" -noout -fingerprint)
    "$source_dir/deploy/quickstart" --dir "$QS" --port "$QS_PORT" 3>&-
    [ "$(openssl x509 -in "$ISSUER_PEM" -noout -fingerprint)" = "$before" ]
}

@test "an interrupted run can be repeated" {
    setsid "$source_dir/deploy/quickstart" --dir "$QS" --port "$QS_PORT" > "$BATS_TEST_TMPDIR/cut" 2>&1 3>&- &
    until grep -q 'Stop the service of the last run .* done' "$BATS_TEST_TMPDIR/cut"; do
        kill -0 "$!"
        sleep 0.02
    done
    kill -KILL -- "-$!"
    wait "$!" || true
    [ ! -e "$QS/env" ]
    "$source_dir/deploy/quickstart" --dir "$QS" --port "$QS_PORT" 3>&-
    [ -s "$QS/env" ]
}

@test "a directory that is not its own is left alone" {
    mkdir "$BATS_TEST_TMPDIR/mine"
    touch "$BATS_TEST_TMPDIR/mine/file"
    run "$source_dir/deploy/quickstart" --dir "$BATS_TEST_TMPDIR/mine"
    [ "$status" -eq 1 ]
    run "$source_dir/deploy/quickstart" --stop --purge --dir "$BATS_TEST_TMPDIR/mine"
    [ "$status" -eq 1 ]
    [ -e "$BATS_TEST_TMPDIR/mine/file" ]
}

@test "stop ends every process and removes env and socket; purge removes the directory" {
    pids=$(cat "$RUN_DIR"/*.pid)
    "$source_dir/deploy/quickstart" --stop --dir "$QS"
    for pid in $pids; do
        if kill -0 "$pid" 2> /dev/null; then false; fi
    done
    [ ! -e "$QS/env" ]
    [ ! -e "$QS/run/admin.sock" ]
    [ ! -e "$QS/run/decision.sock" ]
    [ -d "$QS/state" ]
    # A number left behind by a power cut, a stranger's by now, was ended as root.
    sleep 60 3>&- &
    echo "$!" > "$QS/run/inkand.pid"
    "$source_dir/deploy/quickstart" --stop --dir "$QS"
    kill "$!"
    "$source_dir/deploy/quickstart" --stop --purge --dir "$QS"
    [ ! -e "$QS" ]
}
