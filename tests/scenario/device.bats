#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# inkan-device: first boot, renewal, power cuts, trust anchors, clock.
load ../lib/instance

setup_file() { faketime_tidy; instance_up; }
teardown_file() { instance_down; }
setup() { instance_load; }

@test "first boot, status, renewal with a new key; the old credential stays until the new one was used" {
    unit_birth dev-1
    unit_device dev-1 enroll
    first=$(cert_serial "$units/dev-1/cert.pem")
    old_key=$(openssl pkey -in "$units/dev-1/key.pem" -pubout)
    unit_device dev-1 renew
    [ "$(cert_serial "$units/dev-1/cert.pem")" != "$first" ]
    [ "$(openssl pkey -in "$units/dev-1/key.pem" -pubout)" != "$old_key" ]
    [ -e "$units/dev-1/cred-1/key.pem" ]
    unit_device dev-1 prove
    [ ! -e "$units/dev-1/cred-1" ]
    [ "$(unit_device dev-1 status --json | jq -r .generation)" = 2 ]
    [ "$(ocsp_status "$units/dev-1/cert.pem")" = good ]
}

@test "enroll with a credential there asks nobody" {
    unit_birth dev-2
    unit_device dev-2 enroll
    first=$(cert_serial "$units/dev-2/cert.pem")
    unit_device dev-2 enroll
    [ "$(cert_serial "$units/dev-2/cert.pem")" = "$first" ]
}

@test "a lost reply: the key that waits is used again, one certificate exists" {
    unit_birth dev-3
    mkdir -m 700 "$units/dev-3"
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$units/dev-3/pending.key"
    new_csr dev-3 /CN=dev-3/serialNumber=dev-3 "$units/dev-3/pending.key"
    [ "$(est_enroll dev-3 --cert "$units/dev-3.idevid.pem" --key "$units/dev-3.idevid.key")" = 200 ]
    unit_device dev-3 enroll
    [ "$(cert_serial "$units/dev-3/cert.pem")" = "$(cert_serial "$units/dev-3.pem")" ]
    [ ! -e "$units/dev-3/pending.key" ]
}

@test "power cut at every file operation of a renewal: a complete pair remains, the next try succeeds" {
    unit_birth dev-4
    unit_device dev-4 enroll
    cuts=0
    for call in fsync rename symlink; do
        for n in 1 2 3 4 5; do
            run strace -f -o /dev/null -e trace=$call -e inject=$call:signal=KILL:when=$n \
                "$programs/inkan-device" renew --dir "$units/dev-4" --url "$(est_url)" --anchor "$dir/fleet-root.pem"
            [ "$status" -eq 0 ] || cuts=$((cuts + 1))
            # What is there is one pair, and the service still takes it.
            [ "$(openssl x509 -in "$units/dev-4/current/cert.pem" -noout -pubkey)" = "$(openssl pkey -in "$units/dev-4/current/key.pem" -pubout)" ]
            unit_device dev-4 prove
        done
    done
    [ "$cuts" -ge 8 ]
    unit_device dev-4 renew
}

@test "a service it is not pinned to is refused" {
    unit_birth dev-5
    run "$programs/inkan-device" enroll --dir "$units/dev-5" --url "$(est_url)" --anchor "$dir/maker-root.pem" \
        --idevid-cert "$units/dev-5.idevid.pem" --idevid-key "$units/dev-5.idevid.key"
    [ "$status" -eq 1 ]
    [ ! -e "$units/dev-5/current" ]
    unit_device dev-5 enroll
}

@test "no clock at boot: a unit that wakes up in 1970 enrols and renews" {
    unit_birth dev-6
    run faketime '1970-01-02 00:00:00' "$programs/inkan-device" enroll --dir "$units/dev-6" --url "$(est_url)" \
        --anchor "$dir/fleet-root.pem" --idevid-cert "$units/dev-6.idevid.pem" --idevid-key "$units/dev-6.idevid.key"
    echo "$output"
    [ "$status" -eq 0 ]
    run faketime '1970-01-02 00:00:00' "$programs/inkan-device" renew --dir "$units/dev-6" --url "$(est_url)" --anchor "$dir/fleet-root.pem"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "with the clock right an expired trust anchor is not accepted" {
    unit_birth dev-7
    unit_device dev-7 enroll
    run faketime '+30 years' "$programs/inkan-device" renew --dir "$units/dev-7" --url "$(est_url)" --anchor "$dir/fleet-root.pem"
    [ "$status" -eq 1 ]
}

@test "anchors: taken over from cacerts over a verified connection" {
    unit_birth dev-8
    unit_device dev-8 enroll
    unit_device dev-8 anchors
    openssl x509 -in "$units/dev-8/anchors.pem" -noout -subject | grep -q 'Example Fleet Root'
    [ "$(grep -c BEGIN "$units/dev-8/anchors.pem")" = 1 ]
    # The pinned file is not needed from now on.
    "$programs/inkan-device" renew --dir "$units/dev-8" --url "$(est_url)"
}

@test "a secret instead of a birth identity; the password file must be private" {
    inkan device add dev-9 > /dev/null
    inkan secret add --device dev-9 --json > "$dir/s.json"
    jq -r .secret "$dir/s.json" > "$dir/password"
    chmod 644 "$dir/password"
    run "$programs/inkan-device" enroll --dir "$units/dev-9" --url "$(est_url)" --anchor "$dir/fleet-root.pem" \
        --user "$(jq -r .user "$dir/s.json")" --password-file "$dir/password" --id dev-9
    [ "$status" -eq 1 ]
    chmod 600 "$dir/password"
    "$programs/inkan-device" enroll --dir "$units/dev-9" --url "$(est_url)" --anchor "$dir/fleet-root.pem" \
        --user "$(jq -r .user "$dir/s.json")" --password-file "$dir/password" --id dev-9
    [ "$(ocsp_status "$units/dev-9/cert.pem")" = good ]
}

@test "channel binding on TLS 1.3 is accepted" {
    unit_birth dev-10
    unit_device dev-10 enroll --bind
    unit_device dev-10 renew --bind
}

@test "every key type" {
    for type in p384 ed25519 rsa2048; do
        unit_birth "dev-$type"
        unit_device "dev-$type" enroll --key "$type"
        unit_device "dev-$type" renew --key "$type"
    done
}

@test "a key in a token behind a pkcs11: URI" {
    unit_birth dev-tok
    mkdir "$dir/dev-token"
    printf 'directories.tokendir = %s/dev-token\nobjectstore.backend = file\n' "$dir" > "$dir/dev-softhsm.conf"
    export SOFTHSM2_CONF=$dir/dev-softhsm.conf
    module=$(softhsm_module)
    softhsm2-util --init-token --free --label unit --so-pin 12345678 --pin 87654321 > /dev/null
    pkcs11-tool --module "$module" --token-label unit --login --pin 87654321 --keypairgen --key-type EC:prime256v1 --label op --id 01 > /dev/null 2>&1
    printf 87654321 > "$dir/dev-pin"
    chmod 600 "$dir/dev-pin"
    unit_device dev-tok enroll --key "pkcs11:module-path=$module;token=unit;object=op?pin-source=file:$dir/dev-pin"
    [ ! -e "$units/dev-tok/current/key.pem" ]
    unit_device dev-tok renew --key "pkcs11:module-path=$module;token=unit;object=op?pin-source=file:$dir/dev-pin"
    [ "$(inkan cert list --device dev-tok --profile ldevid --json | jq length)" = 2 ]
    # Without a token the PIN went to every token there was.
    run unit_device dev-tok renew --key "pkcs11:module-path=$module;object=op?pin-source=file:$dir/dev-pin"
    [ "$status" -eq 1 ]
    [[ $output == *"token="* ]]
}

@test "a unit that slept past the end of its certificate comes back by its birth identity" {
    unit_birth dev-late
    mkdir -p -m 700 "$units/dev-late/cred-1"
    faketime '2020-01-01 00:00:00' openssl req -x509 -days 1 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=dev-late \
        -keyout "$units/dev-late/cred-1/key.pem" -out "$units/dev-late/cred-1/cert.pem" 2> /dev/null
    ln -s cred-1 "$units/dev-late/current"
    "$programs/inkan-device" run --dir "$units/dev-late" --url "$(est_url)" --anchor "$dir/fleet-root.pem" \
        --idevid-cert "$units/dev-late.idevid.pem" --idevid-key "$units/dev-late.idevid.key" 2> "$dir/late.log" 3>&- &
    pid=$!
    wait_for 60 grep -q "new credential in use" "$dir/late.log"
    grep -q "enrolled again" "$dir/late.log"
    kill "$pid"
    wait "$pid"
    [ "$(ocsp_status "$units/dev-late/cert.pem")" = good ]
}

@test "a waiting key that cannot be read now is kept" {
    unit_birth dev-kept
    mkdir -m 700 "$units/dev-kept"
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$units/dev-kept/pending.key"
    cp "$units/dev-kept/pending.key" "$dir/kept.key"
    run strace -f -o /dev/null -P "$units/dev-kept/pending.key" -e trace=openat -e inject=openat:error=EMFILE \
        "$programs/inkan-device" enroll --dir "$units/dev-kept" --url "$(est_url)" --anchor "$dir/fleet-root.pem" \
        --idevid-cert "$units/dev-kept.idevid.pem" --idevid-key "$units/dev-kept.idevid.key"
    [ "$status" -eq 1 ]
    cmp "$units/dev-kept/pending.key" "$dir/kept.key"
    unit_device dev-kept enroll
    cmp "$units/dev-kept/key.pem" "$dir/kept.key"
}

@test "the daemon enrols, proves and ends when told; after a revocation its renewal is refused" {
    unit_birth dev-run
    "$programs/inkan-device" run --dir "$units/dev-run" --url "$(est_url)" --anchor "$dir/fleet-root.pem" \
        --idevid-cert "$units/dev-run.idevid.pem" --idevid-key "$units/dev-run.idevid.key" 2> "$dir/run.log" 3>&- &
    pid=$!
    wait_for 60 grep -q enrolled "$dir/run.log"
    [ -e "$units/dev-run/current" ]
    kill "$pid"
    wait "$pid"
    inkan cert revoke "$units/dev-run/cert.pem" --reason keyCompromise --yes
    run unit_device dev-run renew
    [ "$status" -eq 1 ]
    [[ $output == *"HTTP 403"* ]]
}

# deferring NAME: a server of our own making on a free port that accepts every enrollment with 202 and Retry-After: 3, and
# logs when each request came. Sets $deferring_port and $deferring_pid.
deferring() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout "$dir/$1.key" -out "$dir/$1.csr" 2> /dev/null
    inkan cert issue --profile server --name localhost --csr "$dir/$1.csr" --chain --out "$dir/$1.pem" 2> /dev/null
    deferring_port=$(free_port)
    python3 - "$deferring_port" "$dir/$1.pem" "$dir/$1.key" "$dir/$1.log" 3>&- <<'PY' &
import http.server, ssl, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def do_GET(self):
        self.answer(204)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[4], "a") as f:
            print(time.monotonic(), file=f)
        self.answer(202, Retry_After="3")
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PY
    deferring_pid=$!
    wait_for 60 curl -s -o /dev/null --cacert "$dir/fleet-root.pem" "https://localhost:$deferring_port/"
}

@test "202: accepted but not decided is exit 3; the daemon asks again with the same key, not before Retry-After" {
    unit_birth dev-202
    deferring later
    run "$programs/inkan-device" enroll --dir "$units/dev-202" --url "https://localhost:$deferring_port/.well-known/est" --anchor "$dir/fleet-root.pem" \
        --idevid-cert "$units/dev-202.idevid.pem" --idevid-key "$units/dev-202.idevid.key"
    [ "$status" -eq 3 ]
    [[ $output == *"ask again in 3 s"* ]]
    [ -e "$units/dev-202/pending.key" ]
    before=$(cksum < "$units/dev-202/pending.key")
    "$programs/inkan-device" run --dir "$units/dev-202" --url "https://localhost:$deferring_port/.well-known/est" --anchor "$dir/fleet-root.pem" \
        --idevid-cert "$units/dev-202.idevid.pem" --idevid-key "$units/dev-202.idevid.key" 2> "$dir/202.log" 3>&- &
    pid=$!
    wait_for 60 sh -c "[ \$(wc -l < $dir/later.log) -ge 3 ]"
    kill "$pid" "$deferring_pid"
    wait "$pid"
    [ "$(cksum < "$units/dev-202/pending.key")" = "$before" ]
    awk 'NR > 2 && $1 - last < 3 { exit 1 } { last = $1 }' "$dir/later.log"
    # The real service decides at once, for the key that waited.
    unit_device dev-202 enroll
    [ ! -e "$units/dev-202/pending.key" ]
}
