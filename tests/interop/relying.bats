#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Relying services that nobody here wrote: two good units come in, the revoked one is refused for being revoked, a released one
# comes in again.
load ../lib/instance

setup_file() {
    instance_up
    for id in good-1 good-2 bad-1 held-1; do
        unit_birth "$id"
        unit_device "$id" enroll
    done
    # A server certificate for the services, from the same fleet CA.
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout "$dir/svc.key" -out "$dir/svc.csr" 2> /dev/null
    inkan cert issue --profile server --name localhost --csr "$dir/svc.csr" --chain --out "$dir/svc.pem"
    inkan cert revoke "$units/bad-1/cert.pem" --reason keyCompromise --yes
    inkan cert hold "$units/held-1/cert.pem" --yes
    mkdir -p "$dir/svc"
    chmod 755 "$dir/svc"
    wait_for 60 crl_lists "$units/bad-1/cert.pem"
    wait_for 60 crl_lists "$units/held-1/cert.pem"
}
teardown_file() {
    [ ! -s "$BATS_FILE_TMPDIR/pids" ] || xargs kill < "$BATS_FILE_TMPDIR/pids" || true
    instance_down
}
setup() { instance_load; }

# crl_lists CERT: the lists that the servers below take, fetched anew
crl_lists() {
    curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.pem" > "$dir/svc/crl.pem.new" && mv "$dir/svc/crl.pem.new" "$dir/svc/crl.pem" &&
        openssl storeutl -noout -text -crls "$dir/svc/crl.pem" | tr 'A-F' 'a-f' | grep -q "$(cert_serial "$1")"
}
remember() { echo "$1" >> "$BATS_FILE_TMPDIR/pids"; }

http_as() { # UNIT PORT: HTTP status through a TLS service
    curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/$1/cert.pem" --key "$units/$1/key.pem" -o /dev/null -w '%{http_code}' \
        "https://localhost:$2/" 2>&1
}

tls_as() { # UNIT PORT: what openssl s_client reports until it is sent away
    openssl s_client -connect "localhost:$2" -CAfile "$dir/fleet-root.pem" -cert "$units/$1/cert.pem" -key "$units/$1/key.pem" 2>&1 \
        < <(exec sleep 20 2> /dev/null 3>&-)
}

@test "OCSP by openssl: good, revoked, good again after a release, unknown for a serial never issued" {
    [ "$(ocsp_status "$units/good-1/cert.pem")" = good ]
    [ "$(ocsp_status "$units/bad-1/cert.pem")" = revoked ]
    [ "$(ocsp_status "$units/held-1/cert.pem")" = revoked ]
    run openssl ocsp -issuer "$dir/fleet-ca.pem" -serial 0x1234567890 -url "http://localhost:$((port + 1))/ocsp" -CAfile "$dir/ca.pem"
    [[ $output == *": unknown"* ]]
}

@test "OCSP by GnuTLS ocsptool, with a nonce" {
    run ocsptool --ask="http://localhost:$((port + 1))/ocsp" --load-cert "$units/good-1/cert.pem" --load-issuer "$dir/fleet-ca.pem" --nonce
    echo "$output"
    [[ $output == *"Certificate Status: good"* ]]
    run ocsptool --ask="http://localhost:$((port + 1))/ocsp" --load-cert "$units/bad-1/cert.pem" --load-issuer "$dir/fleet-ca.pem" --nonce
    [[ $output == *"Certificate Status: revoked"* ]]
}

@test "OCSP speaks for the issuing CA too, by a root-issued responder" {
    [ "$(ocsp_status "$dir/fleet-ca.pem" "$dir/fleet-root.pem")" = good ]
}

@test "CRL by GnuTLS and by openssl" {
    curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" -o "$dir/fleet.crl"
    openssl crl -inform DER -in "$dir/fleet.crl" -out "$dir/fleet.crl.pem"
    certtool --verify-crl --infile "$dir/fleet.crl.pem" --load-ca-certificate "$dir/fleet-ca.pem"
    openssl verify -crl_check_all -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" -CRLfile "$dir/svc/crl.pem" "$units/good-1/cert.pem"
    run openssl verify -crl_check_all -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" -CRLfile "$dir/svc/crl.pem" "$units/bad-1/cert.pem"
    [[ $output == *"certificate revoked"* ]]
}

nginx_up() { # NAME PORT EXTRA
    mkdir -p "$dir/svc/$1"
    cat > "$dir/svc/$1/nginx.conf" <<CONF
pid $dir/svc/$1/pid;
error_log $dir/svc/$1/error.log info;
events {}
http {
  access_log off;
  client_body_temp_path $dir/svc/$1; proxy_temp_path $dir/svc/$1; fastcgi_temp_path $dir/svc/$1;
  uwsgi_temp_path $dir/svc/$1; scgi_temp_path $dir/svc/$1;
  server {
    listen 127.0.0.1:$2 ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $dir/svc.pem;
    ssl_certificate_key $dir/svc.key;
    ssl_client_certificate $dir/ca.pem;
    ssl_verify_client on;
    ssl_verify_depth 3;
    ssl_session_cache off;
    ssl_session_tickets off;
    $3
    location / { return 200 "in\n"; }
  }
}
CONF
    nginx -c "$dir/svc/$1/nginx.conf" 3>&- 2>> "$dir/svc/$1/start.log"
    wait_for 60 test -s "$dir/svc/$1/pid"
    remember "$(cat "$dir/svc/$1/pid")"
}

@test "nginx with ssl_crl: good units in, the revoked one refused for being revoked, the released one in after a reload" {
    p=$(free_port)
    nginx_up crl "$p" "ssl_crl $dir/svc/crl.pem;"
    [ "$(http_as good-1 "$p")" = 200 ]
    [ "$(http_as good-2 "$p")" = 200 ]
    [ "$(http_as bad-1 "$p")" = 400 ]
    wait_for 60 grep -q 'certificate revoked' "$dir/svc/crl/error.log"
    [ "$(http_as held-1 "$p")" = 400 ]
}

@test "nginx with ssl_ocsp: the same, and a release needs no reload" {
    p=$(free_port)
    nginx_up ocsp "$p" "ssl_ocsp on; resolver 127.0.0.1; ssl_ocsp_responder http://127.0.0.1:$((port + 1))/ocsp;"
    [ "$(http_as good-1 "$p")" = 200 ]
    [ "$(http_as good-2 "$p")" = 200 ]
    [ "$(http_as bad-1 "$p")" = 400 ]
    wait_for 60 grep -q 'certificate status "revoked"\|certificate revoked' "$dir/svc/ocsp/error.log"
    [ "$(http_as held-1 "$p")" = 400 ]
}

haproxy_up() {
    cat "$dir/svc.pem" "$dir/svc.key" > "$dir/svc/haproxy.pem"
    cat > "$dir/svc/haproxy.cfg" <<CONF
global
  stats socket $dir/svc/haproxy.sock mode 600 level admin
  tune.ssl.cachesize 0
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  log stderr local0
  error-log-format "refused ssl_c_err=%[ssl_c_err] fc_err=%[ssl_fc_err] fc=%[fc_err_str]"
frontend in
  bind 127.0.0.1:$1 ssl crt $dir/svc/haproxy.pem ca-file $dir/ca.pem crl-file $dir/svc/crl.pem verify required no-tls-tickets
  http-request return status 200 content-type text/plain string in
CONF
    haproxy -f "$dir/svc/haproxy.cfg" > "$dir/svc/haproxy.log" 2>&1 3>&- &
    echo $! > "$BATS_FILE_TMPDIR/haproxy.pid"
    remember $!
    wait_for 60 test -S "$dir/svc/haproxy.sock"
    wait_for 60 bash -c ": < /dev/tcp/127.0.0.1/$1"
}

@test "HAProxy: TLS alert 44 for the revoked one, ssl_c_err says revoked" {
    p=$(free_port)
    haproxy_up "$p"
    [ "$(http_as good-1 "$p")" = 200 ]
    [ "$(http_as good-2 "$p")" = 200 ]
    run tls_as bad-1 "$p"
    [[ $output == *"SSL alert number 44"* ]]
    wait_for 60 grep -q 'ssl_c_err=23' "$dir/svc/haproxy.log"
}

mosquitto_up() {
    cat > "$dir/svc/mosquitto.conf" <<CONF
listener $1 127.0.0.1
cafile $dir/ca.pem
certfile $dir/svc.pem
keyfile $dir/svc.key
crlfile $dir/svc/crl.pem
require_certificate true
use_identity_as_username true
allow_anonymous true
user root
CONF
    mosquitto -c "$dir/svc/mosquitto.conf" > "$dir/svc/mosquitto.log" 2>&1 3>&- &
    echo $! > "$BATS_FILE_TMPDIR/mosquitto.pid"
    remember $!
    wait_for 60 grep -q running "$dir/svc/mosquitto.log"
    echo "$1" > "$BATS_FILE_TMPDIR/mosquitto.port"
}

publish_as() {
    mosquitto_pub -h localhost -p "$2" --cafile "$dir/fleet-root.pem" --cert "$units/$1/cert.pem" --key "$units/$1/key.pem" -t t -m m 2>&1
}

@test "mosquitto: good units publish, the revoked one gets TLS alert 44" {
    mosquitto_up "$(free_port)"
    p=$(cat "$BATS_FILE_TMPDIR/mosquitto.port")
    publish_as good-1 "$p"
    publish_as good-2 "$p"
    run publish_as bad-1 "$p"
    [ "$status" -ne 0 ]
    run tls_as bad-1 "$p"
    [[ $output == *"SSL alert number 44"* ]]
}

@test "release: the held unit is good again everywhere" {
    inkan cert release "$units/held-1/cert.pem" --yes
    [ "$(ocsp_status "$units/held-1/cert.pem")" = good ]
    wait_for 60 no crl_lists "$units/held-1/cert.pem"
    # nginx with CRL and mosquitto load it on SIGHUP; nginx with OCSP asks anew.
    kill -HUP "$(cat "$dir/svc/crl/pid")"
    kill -HUP "$(cat "$BATS_FILE_TMPDIR/mosquitto.pid")"
    crl_port=$(sed -n 's/.*listen 127.0.0.1:\([0-9]*\).*/\1/p' "$dir/svc/crl/nginx.conf")
    ocsp_port=$(sed -n 's/.*listen 127.0.0.1:\([0-9]*\).*/\1/p' "$dir/svc/ocsp/nginx.conf")
    is_in() { [ "$(http_as held-1 "$1")" = 200 ]; }
    wait_for 60 is_in "$crl_port"
    wait_for 60 is_in "$ocsp_port"
    wait_for 60 publish_as held-1 "$(cat "$BATS_FILE_TMPDIR/mosquitto.port")"
    kill "$(cat "$BATS_FILE_TMPDIR/haproxy.pid")"
    rm -f "$dir/svc/haproxy.sock"
    haproxy_port=$(free_port)
    haproxy_up "$haproxy_port"
    [ "$(http_as held-1 "$haproxy_port")" = 200 ]
    run tls_as bad-1 "$haproxy_port"
    [[ $output == *"SSL alert number 44"* ]]
    [ "$(http_as bad-1 "$crl_port")" = 400 ]
    [ "$(http_as bad-1 "$ocsp_port")" = 400 ]
}
