#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# inkan-gate and real servers: a unit is suspended, released and revoked, and every path it has into nginx, HAProxy, Apache,
# mosquitto and stunnel ends with that and comes back, beside a unit that nobody touches. Each server runs from its recipe.
load ../lib/instance
load ../lib/fault
load ../lib/gate

setup_file() {
    instance_up
    gate_setup
    for unit in untouched a b c d e f g h; do
        [ "$(enroll "gw-$unit")" = 200 ]
    done
    servers_up
}
teardown_file() { gate_teardown; instance_down; }
setup() { instance_load; }

right_rows() { # SERVER: how many paths there were right
    jq "[.\"$1\".rows[] | select(.right)] | length" <<< "$output"
}

resumptions() { # SERVER: of the path with the fewest
    jq "[.\"$1\".rows[] | select(.path | startswith(\"resumed\")) | .resumed] | min" <<< "$output"
}

state_is() { # STATUS REASON UNIT
    [ "$(gate_asks "$3")" = "$1" ] && grep -q "\"reason\":\"$2\"" "$gw/body"
}

@test "a unit that is suspended is refused everywhere, on every path; an untouched one stays" {
    probe_servers gw-a "device suspend gw-a --yes"
    jq -c 'map_values([.rows[] | .cut_ms])' <<< "$output"
    # All five paths turned, and both of the untouched unit did not.
    for server in nginx nginxcrl haproxy haproxytcp apache mosquitto stunnel; do
        [ "$(right_rows "$server")" = 7 ]
    done
    # Where a server offers sessions, they really were resumed.
    for server in nginx haproxy haproxytcp; do
        [ "$(resumptions "$server")" -gt 0 ]
    done
    state_is 403 on_hold gw-a
}

@test "released it is admitted again, everywhere" {
    probe_servers gw-a "device release gw-a --yes" --until-admitted
    jq -c 'map_values([.rows[] | .cut_ms])' <<< "$output"
    for server in nginx nginxcrl haproxy haproxytcp apache mosquitto stunnel; do
        [ "$(right_rows "$server")" = 4 ]
    done
    state_is 200 ok gw-a
}

@test "revoked it is refused everywhere, for good" {
    probe_servers gw-a "cert revoke $units/gw-a.pem --yes"
    for server in nginx nginxcrl haproxy haproxytcp apache mosquitto stunnel; do
        [ "$(right_rows "$server")" = 7 ]
    done
    state_is 403 revoked gw-a
}

@test "HAProxy: what goes on behind a request, a WebSocket, is shut; an untouched unit's goes on" {
    local version
    version=$(list_version)
    echo nonsense >> "$gw/nginxcrl/nginx.conf" # for the test after the next: nginx cannot load what is told now
    timeout 120 python3 - "$haproxy_port" "$gw/ca.pem" "$units" "$programs/inkan --socket $dir/run/admin.sock device suspend gw-h --yes" <<'PY'
import shlex, socket, ssl, subprocess, sys, time
port, ca, units, command = sys.argv[1:]

def tunnel(unit):
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(f"{units}/{unit}.pem", f"{units}/{unit}.key")
    s = context.wrap_socket(socket.create_connection(("localhost", int(port)), 5), server_hostname="localhost")
    s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
              b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert b" 101 " in s.recv(1000)
    return s

def goes_on(s):
    s.sendall(b"still there?")
    return s.recv(100) == b"still there?"

suspended, untouched = tunnel("gw-h"), tunnel("gw-untouched")
assert goes_on(suspended) and goes_on(untouched)
began = time.monotonic()
subprocess.run(shlex.split(command), check=True, stdout=subprocess.DEVNULL)
assert suspended.recv(1) == b"" # or it takes longer than the five seconds of the socket
print("shut after", round(time.monotonic() - began, 2), "s")
assert goes_on(untouched)
PY
    wait_for 60 list_is_newer "$version" # else there would be nothing that nginx has to load
    inkan device release gw-h --yes
}

@test "what a server has of its own is not taken for a refusal: trouble, silence, another certificate, an end after so many answers" {
    local trouble
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout "$gw/other.key" -out "$gw/other.crt" 2> /dev/null
    cat "$gw/other.crt" "$gw/other.key" > "$gw/other.pem"
    for trouble in 5xx silence other polite; do
        probe_in_trouble "$trouble" > "$gw/probed.$trouble" 2>&1 3>&- &
    done
    wait
    for trouble in 5xx silence other polite; do
        cat "$gw/probed.$trouble"
        jq -e '.rows | length == 5 and all(.before == "admitted" and .after == "admitted" and .cut_ms == -1)' "$gw/probed.$trouble"
    done
    jq -e '.rows | all(.away > 0)' "$gw/probed.5xx"
    jq -e '.rows | all(.away > 0)' "$gw/probed.silence"
    jq -e '.rows | all(.away > 0 or .path == "open")' "$gw/probed.other"
    jq -e '.rows[] | select(.path == "open") | .reconnects > 0 and .reconnects < .tries / 2' "$gw/probed.polite"
    probe_in_trouble refuses
}

probe_in_trouble() {
    python3 "$source_dir/tests/lib/probe_trouble.py" "$programs/inkan-gate" "$gw" "$units" gw-untouched "$1"
}

list_version() { gate_status '.lists[0].version'; }
list_is_newer() { [ "$(list_version)" -gt "$1" ]; }

# unit_reads UNIT PORT [curl options]: what the application says to it
unit_reads() {
    curl -sS --max-time 20 --cacert "$gw/ca.pem" --cert "$units/$1.pem" --key "$units/$1.key" "${@:3}" "https://localhost:$2/"
}

@test "mosquitto: over the gate's own listener nothing is read and nothing written" {
    local kick=$gw/mosquitto/kick.sock unit_b=(-h localhost -p "$mosquitto_port" --cafile "$gw/ca.pem" --cert "$units/gw-b.pem" --key "$units/gw-b.key") pids=()
    stdbuf -oL mosquitto_sub "${unit_b[@]}" -d -t topic > "$gw/sub.unit" 3>&- &
    pids+=($!)
    stdbuf -oL mosquitto_sub --unix "$kick" -d -t '#' > "$gw/sub.kick" 3>&- &
    pids+=($!)
    wait_for 60 grep -q SUBACK "$gw/sub.unit"
    wait_for 60 grep -q SUBACK "$gw/sub.kick"
    mosquitto_pub --unix "$kick" -q 1 -t topic -m "of the listener"
    mosquitto_pub "${unit_b[@]/gw-b/gw-untouched}" -q 1 -t topic -m "of a unit"
    wait_for 60 grep -qx "of a unit" "$gw/sub.unit"
    kill "${pids[@]}"
    no grep "of the listener" "$gw/sub.unit"
    no grep "received PUBLISH" "$gw/sub.kick"
}

@test "stunnel: it has been restarted when it can be restarted again" {
    mkdir "$gw/late"
    echo "pid = $gw/late/pid" > "$gw/late/conf"
    printf '#!/bin/sh\n(sleep 0.3; echo 4711 > %s) > /dev/null 2>&1 3>&- &\n' "$gw/late/pid" > "$gw/late/stunnel4" # as stunnel, but slower
    chmod +x "$gw/late/stunnel4"
    PATH=$gw/late:$PATH "$source_dir/deploy/recipes/stunnel/restart" "$gw/late/conf"
    [ "$(cat "$gw/late/pid")" = 4711 ]
}

@test "nothing that a client writes under the gate's names reaches the application" {
    local name forged=() server
    : "$(gate_ask -D "$gw/names.allow" -H "X-Client-Cert: $(escaped "$units/gw-b.pem")" /v1/decision)"
    : "$(gate_ask -D "$gw/names.deny" -H "X-Client-Cert: $(escaped "$units/gw-a.pem")" /v1/decision)"
    for name in Inkan-Audience $(sed -n 's/^\(Inkan-[A-Za-z-]*\):.*/\1/p' "$gw"/names.* | sort -u); do
        forged+=(-H "$name: forged" -H "${name//-/_}: forged")
    done
    curl -sS "${forged[@]}" "http://127.0.0.1:$app_port/" > "$gw/read"
    [ "$(grep -c forged "$gw/read")" = $((${#forged[@]} / 2)) ]
    for server in "$nginx_port" "$nginxcrl_port" "$haproxy_port" "$apache_port"; do
        unit_reads gw-b "$server" "${forged[@]}" > "$gw/read"
        [ "$(head -n 1 "$gw/read")" = hello ]
        no grep forged "$gw/read"
    done
    unit_reads gw-b "$nginx_port" "${forged[@]}" > "$gw/read"
    [ "$(tr '\n' ' ' < "$gw/read")" = "hello Inkan-Device: gw-b Inkan-Scope: full " ]
}

@test "a server that takes the signal and does not load its list is told of, until it has" {
    wait_for 60 nginx_is_behind # the service is told of it, too
    wait_for 60 nginx_error_has "nginx started no new worker"
    wait_for 60 grep -q 'event=gate-driver-failed driver=nginx code=' "$gw/gate.out"
    sed -i '/^nonsense$/d' "$gw/nginxcrl/nginx.conf"
    kill -HUP "$(cat "$gw/nginxcrl/nginx.pid")" # as who mends it would; the gate would within ten seconds
    wait_for 60 nginx_error_is_none
}

in_force_at() { # SERVER: as the service has it
    inkan gateway list --json | jq --arg s "$1" '.[] | select(.name == "gateway-1" and .server == $s) | .in_force_at'
}
nginx_is_behind() { [ "$(in_force_at nginx)" -lt "$(in_force_at haproxy)" ]; }
nginx_error() { gate_status '.drivers[] | select(.name == "nginx") | .error'; }
nginx_error_has() { [[ "$(nginx_error)" == *"$1"* ]]; }
nginx_error_is_none() { [ -z "$(nginx_error)" ]; }

@test "a disk that takes nothing: who is revoked is refused all the same, and what was known is there after a restart" {
    chown root "$gw/state"
    for unit in gw-f gw-g; do # what is not kept must not keep the gate from hearing of the next
        inkan cert revoke "$units/$unit.pem" --yes
        wait_for 60 state_is 403 revoked "$unit"
    done
    wait_for 60 grep -q event=gate-state-not-kept "$gw/gate.out"
    wait_for 60 feed_says "$gw/state"
    wait_for 60 feed_is_there
    stop_background gate
    chown nobody "$gw/state"
    gate_start
    wait_for 60 state_is 403 revoked gw-g
    wait_for 60 feed_is_well
}

feed_says() { [[ "$(gate_status .feed.error)" == *"$1"* ]]; }
feed_is_there() { [ "$(gate_status .feed.connected)" = true ]; }
feed_is_well() { [ "$(gate_status .feed.error)" = "" ]; }

@test "the gate says what each server acts on, and when it was told" {
    local seq
    seq=$(gate_status .feed.seq)
    wait_for 60 all_applied "$seq"
    [ "$(gate_status '[.drivers[] | select(.failures > 0)] | length')" = 0 ]
    [ "$(gate_status '[.drivers[] | select(.applied_at_ms > (now - 600) * 1000)] | length')" = 5 ]
    # The service hears it with the gate's next question.
    wait_for 60 service_knows "$seq"
}

service_knows() { # SEQ: of the gate's own answers and of its five drivers
    [ "$(inkan gateway list --json | jq --argjson seq "$1" '[.[] | select(.name == "gateway-1" and .applied_seq >= $seq and .in_force_at > now - 300)] | length')" = 6 ]
}

all_applied() { # SEQ
    [ "$(gate_status "[.drivers[] | select(.applied_seq < $1)] | length")" = 0 ]
}

@test "a unit whose older certificate was revoked stays connected when the gate starts again; suspended it is put out" {
    local subject client
    subject=$(openssl x509 -in "$units/gw-e.pem" -noout -subject -nameopt compat | sed 's/^subject=//')
    new_csr gw-e2 "$subject"
    [ "$(EST_OPERATION=simplereenroll est_enroll gw-e2 --cert "$units/gw-e.pem" --key "$units/gw-e.key")" = 200 ]
    inkan cert revoke "$units/gw-e.pem" --reason superseded --yes
    wait_for 60 state_is 403 revoked gw-e
    stop_background gate
    stdbuf -oL mosquitto_sub -h localhost -p "$mosquitto_port" --cafile "$gw/ca.pem" --cert "$units/gw-e2.pem" --key "$units/gw-e2.key" -i of-its-choice -t nothing \
        -d > "$gw/sub" 2>&1 3>&- &
    client=$!
    wait_for 60 grep -q CONNACK "$gw/sub"
    gate_start
    wait_for 60 state_is 200 ok gw-e2
    sleep 1
    [ "$(grep -c CONNACK "$gw/sub")" = 1 ]
    inkan device suspend gw-e --yes
    wait_for 60 connected_anew
    kill "$client" || true
}

# mosquitto_sub tries again by itself: what matters is that it was put out, and is refused.
connected_anew() { grep -qE 'Error|disconnect|CONNECT.*CONNECT' "$gw/sub" || [ "$(grep -c 'sending CONNECT' "$gw/sub")" -gt 1 ]; }

@test "the shapes: nginx, Envoy, JSON, several at once; what names nobody and what is no question" {
    local cert=$units/gw-b.pem as_envoy=(GET / HEAD / POST '/upload?audience=nobody' PUT /v1/decision DELETE '/a%2Fb?c=d' PATCH /../x OPTIONS /x PROPFIND /x)
    [ "$(gate_asks gw-b)" = 200 ]
    # What the client of Envoy asks for is no matter: only the certificate is.
    [ "$(python3 "$source_dir/tests/lib/envoy_asks.py" "$gw/gate.sock" "$cert" "${as_envoy[@]}" | sort | uniq -c | tr -s ' ')" = " 8 200 allow ok gw-b" ]
    [ "$(python3 "$source_dir/tests/lib/envoy_asks.py" "$gw/gate.sock" "$units/gw-a.pem" "${as_envoy[@]}" | sort | uniq -c | tr -s ' ')" = " 8 403 deny revoked gw-a" ]
    jq -n --rawfile c "$cert" '{cert: $c}' > "$gw/question"
    [ "$(gate_ask -H 'Content-Type: application/json' --data-binary "@$gw/question" /v1/decision)" = 200 ]
    [ "$(jq -r .device_id "$gw/body")" = gw-b ]
    jq -n --rawfile a "$units/gw-a.pem" --rawfile b "$cert" '[{cert: $a}, {cert: $b}]' > "$gw/question"
    [ "$(gate_ask -H 'Content-Type: application/json' --data-binary "@$gw/question" /v1/decisions)" = 200 ]
    [ "$(jq -r '[.[].decision] | join(" ")' "$gw/body")" = "deny allow" ]
    [ "$(gate_ask -H "X-Client-Serial: $(cert_serial "$cert")" -H "X-Client-Issuer: $(fleet_ski)" /v1/decision)" = 200 ]
    [ "$(jq .identity_unverified "$gw/body")" = true ]
    [ "$(gate_ask /v1/decision)" = 401 ]
    [ "$(gate_ask -H "X-Client-Verify: SUCCESS" /v1/decision)" = 401 ]
    [ "$(gate_ask -H 'Content-Type: application/json' -d '{"cert":7}' /v1/decision)" = 400 ]
    [ "$(gate_ask /v1/other)" = 404 ]
}

@test "a certificate with our names and another's signature is not known; one of another CA neither" {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Example Fleet CA 1/O=Example Fleet" -keyout "$gw/false.key" \
        -out "$units/false.pem" -set_serial "0x$(cert_serial "$units/gw-b.pem")" 2> /dev/null
    [ "$(gate_asks false)" = 403 ]
    grep -q '"reason":"unknown_' "$gw/body"
    # The unit's own certificate with one octet of its signature changed.
    openssl x509 -in "$units/gw-b.pem" -outform DER | python3 -c 'import sys; d = bytearray(sys.stdin.buffer.read()); d[-3] ^= 1; sys.stdout.buffer.write(d)' |
        openssl base64 -A > "$gw/bent"
    [ "$(gate_ask -H "X-Client-Cert: $(sed 's/+/%2B/g' "$gw/bent")" /v1/decision)" = 403 ]
    grep -q '"reason":"unknown_serial"' "$gw/body"
}

@test "the service stopped: who was known to be good is admitted, who was revoked is not, who is unknown neither" {
    inkan cert revoke "$units/gw-c.pem" --yes
    wait_for 60 state_is 403 revoked gw-c
    # The gate does not hear of a unit that enrols now.
    stop_background gate
    [ "$(enroll gw-late)" = 200 ]
    stop_service
    gate_start
    [ "$(gate_status .feed.connected)" = false ]
    state_is 200 ok gw-b
    state_is 403 revoked gw-c
    state_is 403 unknown_serial gw-late
    # The servers go on as they are.
    [ "$(as_unit gw-b "$nginx_port")" = 200 ]
    [ "$(as_unit gw-c "$nginx_port")" = 403 ]
    [ "$(as_unit gw-late "$nginx_port")" = 403 ]
    [ "$(as_unit gw-b "$haproxy_port")" = 200 ]
    wait_for 60 refused_by_haproxy gw-c # the gate tells it by itself, once it has what was kept
}

refused_by_haproxy() { [ "$(as_unit "$1" "$haproxy_port")" = 403 ]; }

@test "a server that starts again while nobody can tell it anything refuses whom it refused; without its list it does not start" {
    stop_background gate
    no haproxy -c -f <(sed "s#refused.lst#none.lst#" "$gw/haproxy/haproxy.cfg")
    for server in nginx nginxcrl haproxy apache; do
        pid=$(cat "$gw/$server"/*.pid)
        kill "$pid"
        wait_for 60 is_gone "$pid"
    done
    nginx -p "$gw/nginx" -c "$gw/nginx/nginx.conf" -e "$gw/nginx/error.log" 3>&- 4>&-
    nginx -p "$gw/nginxcrl" -c "$gw/nginxcrl/nginx.conf" -e "$gw/nginxcrl/error.log" 3>&- 4>&-
    haproxy -D -f "$gw/haproxy/haproxy.cfg" 3>&- 4>&-
    apache2 -d "$gw/apache" -f "$gw/apache/apache2.conf" -k start 3>&- 4>&-
    # gw-a is revoked since all of them were seen to refuse it.
    for server in "$nginxcrl_port" "$haproxy_port" "$apache_port"; do
        wait_for 60 listens "$server"
        [ "$(as_unit gw-b "$server")" = 200 ]
        [ "$(as_unit gw-a "$server" || true)" != 200 ]
    done
    wait_for 60 listens "$nginx_port"
    [ "$(as_unit gw-b "$nginx_port")" = 500 ] # nobody answers it
    [ "$(as_unit gw-a "$nginx_port")" = 500 ]
    gate_start
}

@test "a gate without any snapshot admits nobody; an altered, an older and a foreign one are refused" {
    cp -a "$gw/state" "$gw/kept"
    stop_background gate
    rm -f "$gw"/state/*
    gate_start
    [ "$(gate_asks gw-b)" = 503 ]
    [ "$(as_unit gw-b "$nginx_port")" = 500 ]
    # Altered: one word of one unit.
    restored sed -i "/\t$(cert_serial "$units/gw-b.pem")\t/ s/in_service/shipped/" "$gw/state/snapshot"
    [ "$(gate_asks gw-b)" = 503 ]
    grep -q 'gate-snapshot-refused' "$gw/gate.out"
    # Older: the snapshot from before the revocations, as it was signed, without them.
    restored rm "$gw/state/changes"
    [ "$(gate_asks gw-c)" = 503 ]
    grep -q 'gate-snapshot-refused.*older files' "$gw/gate.out"
    # Somebody else's: signed under another root.
    restored true
    stop_background gate
    sed "s#^ca: .*#ca: $gw/ca.pem#" "$gw/gate.yaml" > "$gw/other.yaml"
    background gate "$programs/inkan-gate" -c "$gw/other.yaml"
    wait_for 60 gate_answers
    [ "$(gate_asks gw-b)" = 503 ]
    restored true
    state_is 200 ok gw-b
}

# restored COMMAND...: the kept state, changed by the command, and a gate started from it
restored() {
    stop_background gate
    rm -rf "$gw/state"
    cp -a "$gw/kept" "$gw/state"
    "$@"
    gate_start
}

@test "with the service back the gate goes on where it was, and hears of what it missed" {
    start_again
    wait_for 60 state_is 200 ok gw-late
    wait_for 60 feed_is_there
    inkan cert revoke "$units/gw-d.pem" --yes
    wait_for 60 state_is 403 revoked gw-d
    # A gateway whose certificate is revoked hears nothing more.
    inkan cert revoke "$gw/gateway.pem" --yes
    wait_for 60 gate_is_cut_off
}

gate_is_cut_off() { [ "$(gate_status .feed.connected)" = false ]; }
