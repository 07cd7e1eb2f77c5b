#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Access decisions and the feed of a real service: every reason and audience by curl and through nginx, before and after each change.
load ../lib/instance

setup_file() {
    instance_up fronts=2 extra_domains='  - {name: other}' \
        extra_audiences='  - {name: line, scopes: [line, enroll-only, repair]}
  - {name: elsewhere, domains: [other]}
  - {name: demo, products: [demo]}
  - {name: toys, products: [toy]}
  - {name: patched, firmware_blocked: ["1.0*"]}
  - {name: impatient, stale_soft: 6s, stale_hard: 11s}'
    for unit in dev-a dev-b dev-c; do
        unit_birth "$unit" && unit_device "$unit" enroll > /dev/null
        openssl x509 -in "$units/$unit/cert.pem" -out "$units/$unit.pem"
    done
    gateway gw-1
}

teardown_file() {
    instance_load
    [ ! -e "$dir/nginx.pid" ] || kill "$(cat "$dir/nginx.pid")"
    instance_down
}

setup() {
    instance_load
    sock=$dir/run/decision.sock
}

# gateway NAME: $units/NAME.{key,pem}
gateway() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$units/$1.key" -out "$units/$1.csr" 2> /dev/null
    inkan cert issue --profile gateway --name "$1" --csr "$units/$1.csr" --out "$units/$1.pem" 2> /dev/null
}

escaped() { # CERT as nginx writes it
    jq -sRr @uri "$1"
}

fingerprint() {
    openssl x509 -in "$1" -outform DER | sha256sum | cut -d' ' -f1
}

ski() {
    openssl x509 -in "$1" -noout -ext subjectKeyIdentifier | tail -n 1 | tr -d ' :' | tr 'A-F' 'a-f'
}

# ask [curl options]: by the socket; JSON in $dir/body, headers in $dir/headers, prints the HTTP status
ask() {
    curl -sS --unix-socket "$dir/run/decision.sock" -o "$dir/body" -D "$dir/headers" -w '%{http_code}' "$@"
}

# says CERT [AUDIENCE]: "HTTP-status reason"
says() {
    local status
    status=$(ask -H "X-Client-Cert: $(escaped "$1")" "http://localhost/v1/decision${2:+?audience=$2}")
    echo "$status $(jq -r .reason "$dir/body")"
}

header() { # NAME
    sed -n "s/^$1: \(.*\)\r\$/\1/p" "$dir/headers"
}

over_tls() { # GATEWAY [curl options]
    local name=$1
    shift
    curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/$name.pem" --key "$units/$name.key" -o "$dir/body" -D "$dir/headers" -w '%{http_code}' "$@"
}

feed() { "$source_dir/tests/lib/feed.py" "$sock" "$dir/fleet-root.pem" "$@"; }

@test "a unit in service is admitted, and headers and JSON say the same of it" {
    [ "$(says "$units/dev-a.pem")" = "200 ok" ]
    [ "$(header Inkan-Decision) $(header Inkan-Reason) $(header Inkan-Device) $(header Inkan-Domain) $(header Inkan-State) $(header Inkan-Scope) $(header Inkan-Product)" = \
        "allow ok dev-a example in_service full demo" ]
    [ "$(jq -r '[.decision, .reason, .device_id, .domain, .state, .scope, .product, .cert_status, .close, .cache_s] | join(" ")' "$dir/body")" = \
        "allow ok dev-a example in_service full demo good false 10" ]
    [ "$(header Inkan-Status-Seq)" = "$(jq .status_seq "$dir/body")" ]
    [ "$(header Inkan-Cache)" = 10 ]
    [ "$(jq '.status_age_s <= 15 and (.policy_version | length == 8) and (.trace_id | length > 0)' "$dir/body")" = true ]
}

@test "every form of a certificate is the same unit; a fingerprint or a serial alone is unverified" {
    [ "$(ask -H "X-Client-Cert: $(openssl x509 -in "$units/dev-a.pem" -outform DER | base64 -w0)" http://localhost/v1/decision)" = 200 ]
    [ "$(ask -H "X-Forwarded-Client-Cert: By=x;Hash=$(fingerprint "$units/dev-a.pem");Cert=\"$(escaped "$units/dev-a.pem")\";Subject=\"CN=a,b\"" -X PUT \
        -H 'Content-Length: 0' 'http://localhost/v1/decision/original/path?and=query')" = 200 ]
    [ "$(jq -r '.device_id + " " + (.identity_unverified | tostring)' "$dir/body")" = "dev-a null" ]
    [ "$(python3 "$source_dir/tests/lib/envoy_asks.py" "$sock" "$units/dev-a.pem" HEAD / POST '/x?audience=toys' PROPFIND /x)" = "200 allow ok dev-a
200 allow ok dev-a
200 allow ok dev-a" ]
    [ "$(ask -H "X-Forwarded-Client-Cert: Hash=$(fingerprint "$units/dev-a.pem")" http://localhost/v1/decision)" = 200 ]
    [ "$(jq -r '.device_id + " " + (.identity_unverified | tostring)' "$dir/body")" = "dev-a true" ]
    [ "$(ask -H "X-Client-Issuer: $(ski "$dir/fleet-ca.pem")" -H "X-Client-Serial: $(cert_serial "$units/dev-a.pem")" http://localhost/v1/decision)" = 200 ]
    [ "$(jq -r '.device_id + " " + (.identity_unverified | tostring)' "$dir/body")" = "dev-a true" ]
    jq -n --rawfile cert "$units/dev-a.pem" '{cert: $cert, audience: "update", resource: "/fw", action: "GET", client: "192.0.2.1", connection: "7"}' > "$dir/q"
    [ "$(ask -H 'Content-Type: application/json' --data-binary "@$dir/q" http://localhost/v1/decision)" = 200 ]
    [ "$(jq -r .device_id "$dir/body")" = dev-a ]
}

@test "what names nobody is 401, what is not one question is 400" {
    [ "$(ask http://localhost/v1/decision)" = 401 ]
    [ "$(jq -r '.decision + " " + .reason' "$dir/body")" = "deny no_identity" ]
    [ "$(ask -H 'X-Client-Cert: nonsense' http://localhost/v1/decision)" = 401 ]
    [ "$(ask -H "X-Client-Cert: $(escaped "$units/dev-a.pem")" -H "X-Client-Cert: $(escaped "$units/dev-b.pem")" http://localhost/v1/decision)" = 401 ]
    [ "$(ask -H "X-Client-Cert: $(escaped "$units/dev-a.pem")" -H "X-Client-Fingerprint: $(fingerprint "$units/dev-a.pem")" http://localhost/v1/decision)" = 401 ]
    [ "$(ask -H 'X-Client-Verify: SUCCESS' http://localhost/v1/decision)" = 401 ]
    [ "$(ask -H 'Content-Type: application/json' -d '{"verified":"SUCCESS"}' http://localhost/v1/decision)" = 400 ]
    [ "$(ask -H 'Content-Type: application/json' -d '[]' http://localhost/v1/decisions)" = 400 ]
    [ "$(ask -X PUT -H 'Content-Length: 0' http://localhost/v1/decisions)" = 405 ]
    [ "$(ask http://localhost/v1/feed/other)" = 404 ]
}

@test "only gateways ask over the network" {
    local url=https://localhost:$port/v1/decision cert
    cert="X-Client-Cert: $(escaped "$units/dev-a.pem")"
    [ "$(over_tls gw-1 -H "$cert" "$url")" = 200 ]
    [ "$(curl -sS --cacert "$dir/fleet-root.pem" -o /dev/null -w '%{http_code}' -H "$cert" "$url")" = 401 ]
    cp "$units/dev-b/key.pem" "$units/dev-b.key"
    [ "$(over_tls dev-b -H "$cert" "$url")" = 403 ]
    [ -z "$(header Inkan-Decision)" ]
    [ "$(over_tls dev-b "https://localhost:$port/v1/feed/snapshot")" = 403 ]
    gateway gw-2
    [ "$(over_tls gw-2 -H "$cert" "$url")" = 200 ]
    inkan cert hold "$units/gw-2.pem" --yes
    [ "$(over_tls gw-2 -H "$cert" "$url")" = 403 ]
    inkan cert release "$units/gw-2.pem" --yes
    [ "$(over_tls gw-2 -H "$cert" "$url")" = 200 ]
    inkan cert revoke "$units/gw-2.pem" --yes
    [ "$(over_tls gw-2 -H "$cert" "$url")" = 403 ]
    [ "$(over_tls gw-2 "https://localhost:$port/v1/feed/changes?after=1")" = 403 ]
    [ "$(stat -c %a "$sock")" = 660 ]
}

@test "what a gateway says of its servers is kept under its name, and nothing else is taken" {
    local changes=https://localhost:$port/v1/feed/changes?after=1 bad
    for bad in nginx nginx/1 '../x/1/1' 'a/1/1,a/1/1' "a/1/-1" "$(printf 's%d/1/1,' {1..17})z/1/1"; do
        [ "$(over_tls gw-1 "$changes&applied=$bad")" = 400 ]
    done
    over_tls gw-1 "$changes&applied=nginx/1/1700000000,broker/999999999/1700000001" > "$dir/body.status"
    wait_for 60 gateway_said gw-1
    [ "$(inkan gateway list --json | jq -c '[.[] | select(.name == "gw-1") | [.server, .applied_seq, .applied_at]] | sort | .[0, 2]' | tr '\n' ' ')" = \
        '["broker",999999999,1700000001] ["nginx",1,1700000000] ' ]
    # In force is what the service knows of by then: of a row long past, nothing.
    [ "$(inkan gateway list --json | jq '[.[] | select(.server == "nginx")][0].in_force_at')" = 0 ]
    [ "$(inkan gateway list --json | jq '[.[] | select(.server == "broker")][0] | .in_force_at == .seen_at')" = true ]
    core_tells() { curl -fsS "http://127.0.0.1:$((port + 2))/metrics" > "$dir/metrics" && grep -q '^inkan_gateway_seen_seconds{gateway="gw-1"} [1-9]' "$dir/metrics"; }
    wait_for 60 core_tells # within its second, which a busy one may miss
    grep -q '^inkan_gateway_in_force_seconds{gateway="gw-1"} 0$' "$dir/metrics"
    # A device's certificate says nothing here.
    [ "$(over_tls dev-b "$changes&applied=nginx/1/1")" = 403 ]
    [ "$(inkan gateway list --json | jq '[.[] | select(.name != "gw-1" and .name != "gw-2")] | length')" = 0 ]
}

@test "a gateway's next certificate takes its line over; two gateways of one name are told of" {
    local changes=https://localhost:$port/v1/feed/changes?after=1
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=gw-1 -keyout "$units/next.key" -out "$units/next.csr" 2> /dev/null
    inkan cert issue --profile gateway --name gw-1 --csr "$units/next.csr" --out "$units/next.pem" 2> /dev/null
    has_line() { # CERT: the line is its
        over_tls "$1" "$changes&applied=nginx/1/1" > /dev/null
        [ "$(inkan gateway list --json | jq -r '[.[] | select(.name == "gw-1") | .serial] | unique | join(" ")')" = "$(cert_serial "$units/$1.pem")" ]
    }
    wait_for 60 has_line gw-1
    wait_for 60 has_line next
    no grep event=gateway-name-shared "$dir/log/inkan.log"
    wait_for 60 has_line gw-1
    wait_for 60 has_line next
    [ "$(grep -c 'event=gateway-name-shared.*gateway=gw-1' "$dir/log/inkan.log")" = 1 ]
}

gateway_said() { # NAME
    [ "$(inkan gateway list --json | jq --arg n "$1" '[.[] | select(.name == $n)] | length')" -gt 1 ]
}

@test "each audience has its own answer" {
    [ "$(says "$units/dev-a.pem" update)" = "200 ok" ]
    [ "$(says "$units/dev-a.pem" line)" = "403 scope" ]
    [ "$(says "$units/dev-a.pem" elsewhere)" = "403 policy" ]
    [ "$(says "$units/dev-a.pem" demo)" = "200 ok" ]
    [ "$(says "$units/dev-a.pem" toys)" = "403 policy" ]
    [ "$(says "$units/dev-a.pem" nobody)" = "403 policy" ]
    [ "$(ask -H 'Inkan-Audience: line' -H "X-Client-Cert: $(escaped "$units/dev-a.pem")" http://localhost/v1/decision)" = 403 ]
    # A birth certificate enrols and does nothing else.
    [ "$(says "$units/dev-a.idevid.pem")" = "403 scope" ]
    [ "$(says "$units/dev-a.idevid.pem" line)" = "200 ok" ]
    [ "$(says "$units/gw-1.pem")" = "403 policy" ]
    [ "$(says "$dir/fleet-ca.pem")" = "403 policy" ]
}

@test "a certificate of somebody else, or with our serial, is not known" {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=dev-a -days 10 -keyout "$dir/x.key" -out "$dir/x.pem" 2> /dev/null
    [ "$(says "$dir/x.pem")" = "403 unknown_issuer" ]
    # Our issuer's name, key identifier and serial around a key of their own.
    python3 - "$units/dev-a.pem" > "$dir/y.pem" <<'PY'
import sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
ours = x509.load_pem_x509_certificate(open(sys.argv[1], "rb").read())
key = ec.generate_private_key(ec.SECP256R1())
forged = x509.CertificateBuilder(ours.issuer, ours.subject, key.public_key(), ours.serial_number, ours.not_valid_before, ours.not_valid_after)
forged = forged.add_extension(ours.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value, False)
print(forged.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), end="")
PY
    [ "$(says "$dir/y.pem")" = "403 unknown_serial" ]
    [ "$(jq .known "$dir/body")" = null ]
    [ "$(ask -H "X-Client-Issuer: $(ski "$dir/fleet-ca.pem")" -H 'X-Client-Serial: 0102' http://localhost/v1/decision)" = 403 ]
    [ "$(jq -r .reason "$dir/body")" = unknown_serial ]
}

@test "many at once: one answer each, in their order" {
    jq -n --arg a "$(fingerprint "$units/dev-a.pem")" --rawfile b "$units/dev-b.pem" \
        '[range(0; 85) | {fingerprint: $a}, {cert: $b}, {}] + [{fingerprint: ("00" * 32)}]' > "$dir/q"
    [ "$(jq length "$dir/q")" = 256 ]
    [ "$(ask -H 'Content-Type: application/json' --data-binary "@$dir/q" http://localhost/v1/decisions)" = 200 ]
    [ "$(jq -c '[.[].reason] | [length, (.[0:3]), (.[252:256]), (map(select(. == "ok")) | length)]' "$dir/body")" = \
        '[256,["ok","ok","no_identity"],["ok","ok","no_identity","unknown_serial"],170]' ]
    [ "$(jq -r '.[253].device_id' "$dir/body")" = dev-b ]
    jq '. + [{}]' "$dir/q" > "$dir/q2"
    [ "$(ask -H 'Content-Type: application/json' --data-binary "@$dir/q2" http://localhost/v1/decisions)" = 400 ]
}

@test "hold, release and revoke are in force at both fronts when the command returns" {
    local url=https://localhost:$port/v1/decision i
    for i in 1 2 3; do
        inkan cert hold "$units/dev-c.pem" --yes > /dev/null
        [ "$(says "$units/dev-c.pem")" = "403 on_hold" ]
        [ "$(jq -r '[.close, .cache_s, .cert_status, .scope, .revocation_reason] | join(" ")' "$dir/body")" = "true 5 on_hold none certificateHold" ]
        [ "$(header Inkan-Close)" = 1 ]
        over_tls gw-1 -H "X-Client-Cert: $(escaped "$units/dev-c.pem")" "$url" > /dev/null
        [ "$(jq -r .reason "$dir/body")" = on_hold ]
        inkan cert release "$units/dev-c.pem" --yes > /dev/null
        [ "$(says "$units/dev-c.pem")" = "200 ok" ]
    done
    inkan cert revoke "$units/dev-c.pem" --reason superseded --yes
    [ "$(says "$units/dev-c.pem")" = "403 revoked" ]
    [ "$(jq -r '[.close, .cache_s, .revocation_reason, .revoked_at > 0] | join(" ")' "$dir/body")" = "true 300 superseded true" ]
    [ "$(says "$units/dev-a.pem")" = "200 ok" ]
}

@test "a certificate just issued is known at once" {
    unit_birth dev-n
    for i in 1 2 3; do
        unit_device dev-n enroll > /dev/null
        openssl x509 -in "$units/dev-n/cert.pem" -out "$units/dev-n.pem"
        [ "$(says "$units/dev-n.pem")" = "200 ok" ]
        rm -r "$units/dev-n"
    done
}

@test "the state of the device decides, at once" {
    unit_birth dev-s && unit_device dev-s enroll > /dev/null
    openssl x509 -in "$units/dev-s/cert.pem" -out "$units/dev-s.pem"
    [ "$(says "$units/dev-s.pem")" = "200 ok" ]
    inkan device suspend dev-s --domain example --yes
    [ "$(says "$units/dev-s.pem")" = "403 on_hold" ]
    [ "$(says "$units/dev-s.idevid.pem" line)" = "403 device_disabled" ]
    inkan device release dev-s --domain example --yes
    [ "$(says "$units/dev-s.pem")" = "200 ok" ]
    inkan device quarantine dev-s --domain example --yes
    [ "$(says "$units/dev-s.pem")" = "403 scope" ]
    [ "$(jq -r '.state + " " + .scope' "$dir/body")" = "quarantined update-only" ]
    [ "$(says "$units/dev-s.pem" update)" = "200 ok" ]
    inkan device release dev-s --domain example --yes
    [ "$(says "$units/dev-s.pem")" = "200 ok" ]
    inkan device set-firmware dev-s --firmware 1.0.7 --domain example
    [ "$(says "$units/dev-s.pem" patched)" = "403 firmware_blocked" ]
    [ "$(says "$units/dev-s.pem")" = "200 ok" ]
    [ "$(header Inkan-Firmware)" = 1.0.7 ]
    inkan device set-firmware dev-s --firmware 1.1.0 --domain example
    [ "$(says "$units/dev-s.pem" patched)" = "200 ok" ]
    inkan device lose dev-s --domain example --yes
    [ "$(says "$units/dev-s.pem")" = "403 revoked" ]
    [ "$(jq -r .state "$dir/body")" = lost ]
    alarm_is_raised() { grep -q 'event=alarm-raised kind=seen-while-lost .*dev-s' "$dir/log/inkan.log"; }
    wait_for 60 alarm_is_raised
    inkan device find dev-s --domain example --yes
    [ "$(says "$units/dev-s.idevid.pem" line)" = "403 device_disabled" ]
    rm -r "$units/dev-s"
    unit_device dev-s enroll > /dev/null
    openssl x509 -in "$units/dev-s/cert.pem" -out "$units/dev-s2.pem"
    [ "$(says "$units/dev-s2.pem")" = "200 ok" ]
    [ "$(says "$units/dev-s.pem")" = "403 revoked" ]
    inkan device decommission dev-s --domain example --yes
    [ "$(says "$units/dev-s2.pem")" = "403 revoked" ]
    [ "$(says "$units/dev-s.idevid.pem" line)" = "403 device_disabled" ]
    [ "$(jq .cache_s "$dir/body")" = 5 ]
}

@test "nginx asks for every request: keep-alive and resumed connections end with the unit's right" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout "$dir/www.key" -out "$dir/www.csr" 2> /dev/null
    inkan cert issue --profile server --name localhost --csr "$dir/www.csr" --out "$dir/www.pem"
    nginx_port=$(free_port)
    cat > "$dir/nginx.conf" <<CONF
user root;
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $dir/ngx1; proxy_temp_path $dir/ngx2; fastcgi_temp_path $dir/ngx3; uwsgi_temp_path $dir/ngx4; scgi_temp_path $dir/ngx5;
    server {
        listen 127.0.0.1:$nginx_port ssl;
        ssl_certificate $dir/www.pem; ssl_certificate_key $dir/www.key; ssl_protocols TLSv1.2 TLSv1.3;
        ssl_client_certificate $dir/ca.pem; ssl_verify_client on;
        location / {
            auth_request /inkan;
            auth_request_set \$unit \$upstream_http_inkan_device;
            add_header Unit \$unit always;
            root $dir/www;
        }
        location = /inkan {
            internal;
            proxy_pass http://unix:$sock:/v1/decision;
            proxy_pass_request_body off; proxy_pass_request_headers off;
            proxy_set_header X-Client-Cert \$ssl_client_escaped_cert;
            proxy_set_header X-Original-URI \$request_uri;
        }
    }
}
CONF
    mkdir -p "$dir/www" && echo hello > "$dir/www/index.html"
    nginx -c "$dir/nginx.conf" 3>&-
    unit_birth dev-web && unit_device dev-web enroll > /dev/null
    openssl x509 -in "$units/dev-web/cert.pem" -out "$units/dev-web.pem"
    # With TLS 1.2 and 1.3 a connection that stays open and a session that is resumed, in each state of the unit.
    python3 - "$nginx_port" "$dir" "$units" "$programs/inkan --socket $dir/run/admin.sock" > "$dir/seen" <<'PY'
import http.client, shlex, socket, ssl, subprocess, sys
port, dir, units, inkan = sys.argv[1:]

class Client:
    def __init__(self, version):
        self.context = ssl.create_default_context(cafile=dir + "/fleet-root.pem")
        self.context.load_verify_locations(dir + "/fleet-ca.pem")
        self.context.load_cert_chain(units + "/dev-web.pem", units + "/dev-web/key.pem")
        self.context.minimum_version = self.context.maximum_version = version
        self.open = http.client.HTTPSConnection("localhost", int(port), context=self.context)
        self.open.connect()
        self.sock = self.open.sock

    def resume(self):
        c = http.client.HTTPSConnection("localhost", int(port), context=self.context)
        c.sock = self.context.wrap_socket(socket.create_connection(("localhost", int(port))), server_hostname="localhost", session=self.session)
        assert c.sock.session_reused
        return c

def get(c):
    c.request("GET", "/index.html")
    r = c.getresponse()
    r.read()
    return "%d %s" % (r.status, r.headers.get("Unit", ""))

def everywhere():
    said = []
    for c in clients:
        said.append(get(c.open))
        assert c.open.sock is c.sock
        if not hasattr(c, "session"):
            c.session = c.sock.session
        said.append(get(c.resume()))
    print(*said, sep=", ")

clients = [Client(ssl.TLSVersion.TLSv1_2), Client(ssl.TLSVersion.TLSv1_3)]
everywhere()
for verb in "hold", "release", "revoke":
    subprocess.run(shlex.split(inkan) + ["cert", verb, units + "/dev-web.pem", "--yes"], check=True, stdout=subprocess.DEVNULL)
    everywhere()
PY
    [ "$(cat "$dir/seen")" = "200 dev-web, 200 dev-web, 200 dev-web, 200 dev-web
403 dev-web, 403 dev-web, 403 dev-web, 403 dev-web
200 dev-web, 200 dev-web, 200 dev-web, 200 dev-web
403 dev-web, 403 dev-web, 403 dev-web, 403 dev-web" ]
    kill "$(cat "$dir/nginx.pid")"
    rm -f "$dir/nginx.pid"
}

@test "the feed: a snapshot and the changes after it, verified, are the decisions" {
    feed snapshot > "$dir/s1"
    [ "$(jq '.count == (.lines | length) and .count > 10' "$dir/s1")" = true ]
    key="$(jq -r --arg s "$(cert_serial "$units/dev-a.pem")" '.lines | keys[] | select(endswith($s))' "$dir/s1")"
    [ "$(jq -r --arg k "$key" '.lines[$k]' "$dir/s1" | cut -f3-6,8-9)" = "$(printf 'good\t-\tin_service\tfull\texample\tdev-a')" ]
    seq=$(jq .seq "$dir/s1")
    # A heartbeat is signed and comes when it should; a change comes at once.
    started=$(date +%s%N)
    [ "$(feed changes "$seq" 1 | jq -c '[.after, .seq, (.rows | length)]')" = "[$seq,$seq,0]" ]
    waited=$((($(date +%s%N) - started) / 1000000))
    [ "$waited" -ge 1000 ] && [ "$waited" -lt 15000 ]
    feed changes "$seq" 30 > "$dir/c1" 3>&- &
    waiting=$!
    sleep 0.3
    started=$(date +%s%N)
    inkan cert hold "$units/dev-a.pem" --yes
    wait "$waiting"
    [ "$((($(date +%s%N) - started) / 1000000))" -lt 20000 ]
    [ "$(jq -r '.rows[0][1]' "$dir/c1" | cut -f2-4,6)" = "$(printf '%s\ton_hold\tcertificateHold\tnone' "$(cert_serial "$units/dev-a.pem")")" ]
    inkan cert release "$units/dev-a.pem" --yes
    [ "$(feed changes 99999999 0)" = 410 ]
}

@test "the feed has no gap and no wrong order through every end of status and core" {
    rm -f "$dir/follow"
    "$source_dir/tests/lib/feed.py" "$sock" "$dir/fleet-root.pem" follow "$dir/follow" 600 3>&- &
    follower=$!
    for round in 1 2 3; do
        for i in 1 2 3; do
            inkan cert hold "$units/dev-b.pem" --yes > /dev/null
            inkan cert release "$units/dev-b.pem" --yes > /dev/null
        done
        kill -9 "$(cat "$dir/run/$([ $round = 2 ] && echo core || echo status).pid")"
        wait_for 60 health_is_ready
    done
    nothing_of_before() { [ "$(feed changes 1 0)" = 410 ]; } # a new status process keeps none
    wait_for 60 nothing_of_before
    inkan cert hold "$units/dev-b.pem" --yes
    feed snapshot > "$dir/s2"
    followed() { [ "$(jq .seq "$dir/follow")" = "$(jq .seq "$dir/s2")" ] && [ "$(jq '.answers > 5' "$dir/follow")" = true ]; }
    wait_for 60 followed
    kill "$follower"
    [ "$(jq -S .lines "$dir/follow")" = "$(jq -S .lines "$dir/s2")" ]
    inkan cert release "$units/dev-b.pem" --yes
}

@test "without the core: the known-good are admitted, then called stale, then nobody; the unknown never" {
    core=$(cat "$dir/run/core.pid")
    stale_is() { [ "$(says "$units/dev-a.pem" impatient)" = "$1" ]; }
    is_fresh() { stale_is "200 ok" && [ "$(jq .status_age_s "$dir/body")" -le 1 ]; } # the whole of the six seconds is ahead
    wait_for 60 is_fresh
    kill -STOP "$core"
    stale_is "200 ok"
    [ "$(ask -H "X-Client-Fingerprint: $(printf '00%.0s' {1..32})" http://localhost/v1/decision)" = 403 ]
    wait_for 60 stale_is "200 stale_data"
    [ "$(says "$units/dev-a.pem")" = "200 ok" ]
    wait_for 60 stale_is "403 stale_data"
    [ "$(says "$units/dev-a.pem")" = "200 ok" ]
    kill -CONT "$core"
    wait_for 60 stale_is "200 ok"
    grep -q event=decisions-stale "$dir/log/inkan.log"
}
