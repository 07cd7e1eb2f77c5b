# SPDX-License-Identifier: Apache-2.0
# inkan-gate beside real relying services, each from its recipe in deploy/recipes with a directory and ports of its own. For tests
# that have loaded lib/instance and lib/fault.
#
#   setup_file() { instance_up; gate_setup; ...; }      teardown_file() { gate_teardown; instance_down; }
#
# $gw is the directory of the gateway's host; $gw/ca.pem what its servers' certificate chains to.

gate_setup() {
    gw=$(mktemp -d "${INKAN_TEST_OUT:-/var/tmp}/gw.XXXXXX")
    chmod 755 "$gw"
    keep_gate gw "$gw"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout "$gw/server.key" -out "$gw/ca.pem" 2> /dev/null
    cat "$gw/ca.pem" "$gw/server.key" > "$gw/server.pem"
    chmod 644 "$gw/server.key" "$gw/server.pem"
    group_secret 'gw-*'
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=gateway-1 -keyout "$gw/gateway.key" -out "$gw/gateway.csr" 2> /dev/null
    inkan cert issue --profile gateway --name gateway-1 --csr "$gw/gateway.csr" --out "$gw/gateway.pem" 2> /dev/null
    app_up
}

keep_gate() { # NAME VALUE
    echo "$1='$2'" >> "$BATS_FILE_TMPDIR/instance.env"
}

# background NAME COMMAND...: its process number is in $gw/NAME.bg
background() {
    local name=$1
    shift
    "$@" > "$gw/$name.out" 2>&1 3>&- 4>&- &
    echo $! > "$gw/$name.bg"
    disown
}

stop_background() { # NAME
    local pid
    pid=$(cat "$gw/$1.bg" 2> /dev/null) || return 0
    kill "$pid" 2> /dev/null || true
    wait_for 20 is_gone "$pid" || kill -9 "$pid"
    rm -f "$gw/$1.bg"
}

is_gone() { ! kill -0 "$1" 2> /dev/null; }

gate_teardown() {
    [ -e "$BATS_FILE_TMPDIR/instance.env" ] || return 0
    instance_load
    [ -n "${gw:-}" ] || return 0
    for one in "$gw"/*.bg; do
        [ ! -e "$one" ] || stop_background "$(basename "$one" .bg)"
    done
    for one in "$gw"/*/*.pid; do
        [ ! -s "$one" ] || kill_server "$(cat "$one")"
    done
    [ -n "${INKAN_KEEP:-}" ] || rm -rf "$gw"
}

# kill_server PID: stunnel waits for its connections at SIGTERM
kill_server() {
    kill "$1" 2> /dev/null || return 0
    wait_for 1 is_gone "$1" || kill -9 "$1" 2> /dev/null || true
}

# app_up: the application behind the servers, plain HTTP with keep-alive on $app_port: 200 for everything, and the Inkan headers it was
# given, one a line; a WebSocket that says again whatever it is told
app_up() {
    app_port=$(free_port)
    keep_gate app_port "$app_port"
    cat > "$gw/app.py" <<'PY'
import http.server, sys
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers["Upgrade"]:
            return self.echo()
        told = sorted(f"{name}: {value}\n" for name, value in self.headers.items() if name.lower().startswith("inkan"))
        body = ("hello\n" + "".join(told)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def echo(self):
        self.send_response(101)
        self.send_header("Connection", "upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") # for the key of RFC 6455 1.3
        self.end_headers()
        while data := self.connection.recv(100):
            self.connection.sendall(data)
        self.close_connection = True
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
PY
    background app python3 "$gw/app.py" "$app_port"
    wait_for 60 curl -sf "http://127.0.0.1:$app_port/"
}

# recipe FILE SERVER [NAME=VALUE...]: deploy/recipes/FILE with its places filled in, on standard output
recipe() {
    local file=$1 run=$gw/$2 edit="" one
    shift 2
    for one in RUN="$run" SERVER_CERT="$gw/ca.pem" SERVER_KEY="$gw/server.key" SERVER_PEM="$gw/server.pem" DEVICE_CA="$dir/ca.pem" CRL="$gw/crl.pem" \
        UPSTREAM="http://127.0.0.1:$app_port" UPSTREAM_HOST_PORT="127.0.0.1:$app_port" GATE_GROUP=nogroup GATE_SOCKET="$gw/gate.sock" "$@"; do
        edit="$edit;s#@${one%%=*}@#${one#*=}#g"
    done
    sed "${edit#;}" "$source_dir/deploy/recipes/$file"
}

# server_dir NAME: an empty directory for it, and a port in $server_port, kept as NAME_port
server_dir() {
    mkdir -p "$gw/$1"
    chmod 777 "$gw/$1" # servers and gate run as users of their own; what they share lies here
    server_port=$(free_port)
    keep_gate "${1}_port" "$server_port"
}

listens() { # PORT
    (: < "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

nginx_up() { # NAME RECIPE
    server_dir "$1"
    recipe "nginx/$2" "$1" PORT="$server_port" > "$gw/$1/nginx.conf"
    nginx -p "$gw/$1" -c "$gw/$1/nginx.conf" -e "$gw/$1/error.log" 3>&- 4>&- && wait_for 60 listens "$server_port"
}

# It does not start before the gate has written its list.
haproxy_up() {
    server_dir haproxy
    haproxytcp_port=$(free_port)
    keep_gate haproxytcp_port "$haproxytcp_port"
    recipe haproxy/haproxy.cfg haproxy PORT="$server_port" TCP_PORT="$haproxytcp_port" ACL="$gw/haproxy/refused.lst" > "$gw/haproxy/haproxy.cfg"
    wait_for 60 test -e "$gw/haproxy/refused.lst"
    haproxy -D -f "$gw/haproxy/haproxy.cfg" 3>&- 4>&- && wait_for 60 listens "$server_port"
}

mosquitto_up() {
    server_dir mosquitto
    cp "$source_dir/deploy/recipes/mosquitto/nothing.acl" "$gw/mosquitto/"
    recipe mosquitto/mosquitto.conf mosquitto PORT="$server_port" KICK="$gw/mosquitto/kick.sock" > "$gw/mosquitto/mosquitto.conf"
    chmod 644 "$gw/mosquitto/nothing.acl"
    background mosquitto mosquitto -c "$gw/mosquitto/mosquitto.conf"
    wait_for 60 listens "$server_port"
    wait_for 60 test -S "$gw/mosquitto/kick.sock" # the second one it opens
    chgrp nogroup "$gw/mosquitto/kick.sock" # on a real host the gate's user is in mosquitto's group
}

apache_up() {
    server_dir apache
    recipe apache/apache2.conf apache PORT="$server_port" MODULES=/usr/lib/apache2/modules USER=www-data GROUP=www-data > "$gw/apache/apache2.conf"
    apache2 -d "$gw/apache" -f "$gw/apache/apache2.conf" -k start 3>&- 4>&- && wait_for 60 listens "$server_port"
}

stunnel_up() {
    server_dir stunnel
    recipe stunnel/stunnel.conf stunnel PORT="$server_port" > "$gw/stunnel/stunnel.conf"
    stunnel4 "$gw/stunnel/stunnel.conf" 3>&- 4>&- && wait_for 60 listens "$server_port"
}

# gate_config: everything but the drivers, which come from standard input
gate_config() {
    cat > "$gw/gate.yaml" <<YAML
state: $gw/state
user: ${gate_user:-nobody}
listen: ["unix:$gw/gate.sock"]
urls: ["https://localhost:$port"]
ca: $dir/fleet-root.pem
cert: $gw/gateway.pem
key: $gw/gateway.key
crls:
  - {name: fleet, url: "http://localhost:$((port + 1))/crl/fleet-ca.pem", ca: $dir/ca.pem, file: $gw/crl.pem, poll: 1s}
$(cat)
YAML
    mkdir -p "$gw/state"
    chmod 700 "$gw/state"
    chown "${gate_user:-nobody}" "$gw/state" "$gw" "$gw/gateway.key"
}

gate_start() {
    rm -f "$gw/gate.sock"
    background gate "$programs/inkan-gate" -c "$gw/gate.yaml" -v
    wait_for 60 gate_answers
}

gate_answers() { "$programs/inkan-gate" status --socket "$gw/gate.sock" > /dev/null 2>&1; }

gate_status() { # [jq filter]
    "$programs/inkan-gate" status --socket "$gw/gate.sock" | jq -r "${1:-.}"
}

# servers_up: every server from its recipe, and a gate that drives them
servers_up() {
    curl -sf -o "$gw/crl.pem" "http://localhost:$((port + 1))/crl/fleet-ca.pem"
    nginx_up nginx nginx.conf
    nginx_up nginxcrl crl.conf
    mosquitto_up
    apache_up
    stunnel_up
    gate_config <<YAML
drivers:
  - {name: nginx, kind: reload, crl: fleet, pid_file: $gw/nginxcrl/nginx.pid, process: nginx}
  - {name: apache, kind: reload, crl: fleet, pid_file: $gw/apache/apache2.pid, process: apache2, signal: USR1}
  - {name: stunnel, kind: reload, crl: fleet, command: [$source_dir/deploy/recipes/stunnel/restart, $gw/stunnel/stunnel.conf]}
  - {name: mosquitto, kind: mosquitto, crl: fleet, issuers: [fleet-ca], pid_file: $gw/mosquitto/mosquitto.pid, process: mosquitto, kick: $gw/mosquitto/kick.sock}
  - {name: haproxy, kind: haproxy, issuers: [fleet-ca], socket: $gw/haproxy/admin.sock, acl: $gw/haproxy/refused.lst, table: inkan_open}
YAML
    mkdir -p "$gw/haproxy"
    chmod 777 "$gw/haproxy"
    gate_start
    haproxy_up
}

# probe_servers UNIT "INKAN COMMAND" [options of inkan-gate probe]: at every server at once; $output is JSON by server. Fails when a
# path of the unit was not cut in time, or one of gw-untouched was.
probe_servers() {
    local unit=$1 run=$2 one options=(--option=--settle=300 --option=--interval=200)
    shift 2
    for one in "$@"; do options+=("--option=$one"); done
    output=$(timeout 240 python3 "$source_dir/tests/lib/probe_all.py" --programs "$programs" --gw "$gw" --units "$units" --unit "$unit" \
        --control gw-untouched --run "$programs/inkan --socket $dir/run/admin.sock $run" "${options[@]}" "nginx:$nginx_port" "nginxcrl:$nginxcrl_port" \
        "haproxy:$haproxy_port" "haproxytcp:$haproxytcp_port" "apache:$apache_port" "mosquitto:$mosquitto_port:mqtt" "stunnel:$stunnel_port")
}

escaped() { # FILE: as nginx writes $ssl_client_escaped_cert
    python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(open(sys.argv[1]).read()))' "$1"
}

# gate_ask [curl options] PATH: asks the gate; prints the HTTP status, the body is in $gw/body
gate_ask() {
    local args=() one
    for one in "$@"; do
        case $one in
            /v1/*) args+=("http://localhost$one") ;;
            *) args+=("$one") ;;
        esac
    done
    curl -sS --max-time 20 --unix-socket "$gw/gate.sock" -o "$gw/body" -w '%{http_code}' "${args[@]}"
}

gate_asks() { # UNIT: may it connect? Prints the HTTP status
    gate_ask -H "X-Client-Cert: $(escaped "$units/$1.pem")" /v1/decision
}

# as_unit UNIT PORT [curl options]: a request of that unit to a server; prints the HTTP status
as_unit() {
    curl -sS --max-time 20 --cacert "$gw/ca.pem" --cert "$units/$1.pem" --key "$units/$1.key" -o /dev/null -w '%{http_code}' "${@:3}" "https://localhost:$2/"
}

fleet_ski() {
    openssl x509 -in "$dir/fleet-ca.pem" -noout -ext subjectKeyIdentifier | tail -n 1 | tr -d ' :' | tr 'A-F' 'a-f'
}
