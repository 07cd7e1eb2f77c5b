#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What inkan-gate writes for servers that read files, and what it never writes: lists made by a CA of the test's own, served as
# files, with no feed.
load ../lib/instance

programs=${INKAN_PROGRAMS:?}

setup_file() {
    at=$(mktemp -d "${INKAN_TEST_OUT:-/var/tmp}/lists.XXXXXX")
    export at
    mkdir "$at/state" "$at/www"
    for ca in root issuing; do
        printf '[ca]\ndefault_ca = d\n[d]\ndatabase = %s/%s.index\ncrlnumber = %s/%s.number\ndefault_md = sha256\ncrl_extensions = e\n[e]\nauthorityKeyIdentifier = keyid\n' "$at" $ca "$at" $ca > "$at/$ca.cnf"
        : > "$at/$ca.index"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj "/CN=$ca" -keyout "$at/$ca.key" -out "$at/$ca.pem" 2> /dev/null
    done
    cat "$at/root.pem" "$at/issuing.pem" > "$at/ca.pem"
    www_port=$(free_port)
    export www_port
    (cd "$at/www" && exec python3 -m http.server --bind 127.0.0.1 "$www_port" > /dev/null 2>&1 3>&-) &
    echo $! > "$at/www.pid"
    cat > "$at/gate.yaml" <<YAML
state: $at/state
user: nobody
listen: ["unix:$at/gate.sock"]
crls: [{name: own, url: "http://127.0.0.1:$www_port/list.pem", ca: $at/ca.pem, file: $at/list.pem, poll: 1s}]
drivers: [{name: told, kind: reload, crl: own, command: [/bin/sh, -c, "echo told >> $at/told"]}]
YAML
    chown nobody "$at" "$at/state"
    chmod 755 "$at"
    publish
    gate_starts
}

teardown_file() {
    for file in gate www sleeper; do kill "$(cat "$at/$file.pid")"; done 2> /dev/null || true
    [ -n "${INKAN_KEEP:-}" ] || rm -rf "$at"
}

# crl CA NUMBER [options]: a CRL of that CA, as PEM
crl() {
    local ca=$1
    printf '%04x\n' "$2" > "$at/$ca.number"
    openssl ca -config "$at/$ca.cnf" -gencrl -cert "$at/$ca.pem" -keyfile "$at/$ca.key" "${@:3}" 2> /dev/null
}

# bent: a CRL with one bit of its signature changed
bent() {
    openssl crl -outform DER | python3 -c 'import sys; d = bytearray(sys.stdin.buffer.read()); d[-3] ^= 1; sys.stdout.buffer.write(d)' | openssl crl -inform DER
}

# publish: what the URL gives from now on: the good pair, or what stands on standard input
publish() {
    if [ -t 0 ] || [ "${1:-}" != - ]; then { crl root 10 -crldays 5; crl issuing "${number:-10}" -crldays 5; } > "$at/www/next"; else cat > "$at/www/next"; fi
    mv "$at/www/next" "$at/www/list.pem"
}

status() { "$programs/inkan-gate" status --socket "$at/gate.sock" | jq -r "$1"; }

written() { # CRLNUMBER: that of the issuing CA in the file
    [ "$(awk '/BEGIN/ { n++ } n == 2' "$at/list.pem" | openssl crl -noout -crlnumber)" = "crlNumber=0x$(printf %02X "$1")" ]
}

# refused TEXT: the gate says so, and the file is what it was
refused() {
    wait_for 60 says "$1"
    cmp "$at/before" "$at/list.pem"
}

says() { [[ "$(status '.lists[0].error')" == *"$1"* ]]; }
is_well() { [ "$(status '.lists[0].error | length')" = 0 ]; }
# told TIMES: that often the server was told
told() { [ "$(wc -l < "$at/told")" = "$1" ]; }
# gate_ends, gate_starts: the one that runs has let go of its socket before another comes
gate_ends() {
    kill "$(cat "$at/gate.pid")"
    wait_for 60 sh -c "! kill -0 $(cat "$at/gate.pid")"
}
gate_starts() {
    "$programs/inkan-gate" -c "$at/gate.yaml" > "$at/out" 2>&1 3>&- &
    echo $! > "$at/gate.pid"
}

@test "a good pair is written and the server is told once" {
    wait_for 60 written 10
    wait_for 60 grep -q told "$at/told"
    [ "$(stat -c %a "$at/list.pem")" = 644 ]
    sleep 1.5
    told 1
    [ "$(status '.drivers[0].applied_list')" = 1 ]
    cp "$at/list.pem" "$at/before"
}

@test "never: an expired list, a wrong signature, a CA that is missing, an older number, no list at all" {
    { crl root 11 -crldays 5; crl issuing 11 -crl_lastupdate 20250101000000Z -crl_nextupdate 20250102000000Z; } | publish -
    refused "nextUpdate has passed"
    { crl root 11 -crldays 5; crl issuing 11 -crldays 5 | bent; } | publish -
    refused "signature is not by its key"
    crl issuing 11 -crldays 5 | publish -
    refused 'no CRL of "root"'
    number=9 publish
    refused "older than the one in use"
    { crl root 11 -crldays 5; crl issuing 11 -crl_lastupdate 20990101000000Z -crl_nextupdate 20990202000000Z; } | publish -
    refused "thisUpdate lies ahead"
    echo nothing | publish -
    refused "no CRL of"
    rm "$at/www/list.pem"
    refused "HTTP 404"
    told 1
}

@test "a newer list is taken again, and lists of others are left out" {
    { crl root 12 -crldays 5; openssl x509 -in "$at/root.pem"; crl issuing 12 -crldays 5; } | publish -
    wait_for 60 written 12
    [ "$(grep -c BEGIN "$at/list.pem")" = 2 ]
    wait_for 60 is_well
    wait_for 60 told 2
}

@test "an earlier list counts at a start also when it has expired: nothing older takes its place" {
    gate_ends
    { crl root 20 -crldays 5; crl issuing 20 -crl_lastupdate 20250101000000Z -crl_nextupdate 20250102000000Z; } > "$at/list.pem"
    cp "$at/list.pem" "$at/before"
    number=19 publish # the root's is older still
    gate_starts
    refused "older than the one in use"
    { crl root 21 -crldays 5; crl issuing 21 -crldays 5; } | publish -
    wait_for 60 written 21
    wait_for 60 is_well
}

@test "what it signals must have the name of the configuration; a server that is not told is told again" {
    gate_ends
    sleep 600 3>&- &
    local sleeper=$!
    echo "$sleeper" > "$at/sleeper.pid"
    sed -i "s#command: .*#pid_file: $at/sleeper.pid, process: nginx}]#" "$at/gate.yaml"
    gate_starts
    wait_for 60 driver_says "is not nginx"
    kill "$sleeper" # it was there to be ended
    rm "$at/sleeper.pid"
    wait_for 60 driver_says "sleeper.pid"
    # A server that ends at the signal it was promised.
    sed -i "s#process: nginx#process: sleep#" "$at/gate.yaml"
    gate_ends
    sleep 601 3>&- &
    sleeper=$!
    echo "$sleeper" > "$at/sleeper.pid"
    gate_starts
    wait_for 60 sh -c "! kill -0 $sleeper"
}

driver_says() { [[ "$(status '.drivers[0].error')" == *"$1"* ]]; }

@test "mistakes of the configuration are found with their line, before anything starts" {
    local bad
    while IFS='|' read -r bad what; do
        printf 'state: /tmp\n%b\n' "$bad" > "$at/bad.yaml"
        run "$programs/inkan-gate" -t -c "$at/bad.yaml"
        [ "$status" -eq 1 ]
        [[ $output == *"$what"* ]] || { echo "$bad: $output"; false; }
    done <<'CASES'
nonsense: 1|unknown key
state: /var|stands there twice
listen: x|must be a list
urls: ["https://a"]|urls need ca, cert and key
audiences: [{name: a, stale_soft: 8d}]|stale_hard is below
audiences: [{name: a, scopes: [all]}]|must be some of
drivers: [{name: a, kind: iis}]|must be reload
drivers: [{name: a, kind: reload, crl: none, pid_file: /x, process: y}]|no list is called
drivers: [{name: a, kind: haproxy}]|haproxy needs socket and acl
drivers: [{name: a, kind: haproxy, socket: /s, acl: /a}]|without urls haproxy needs crl
crls: [{name: a, url: b, ca: c, file: d, poll: 0s}]|must be a time
CASES
    run "$programs/inkan-gate" -t -c "$INKAN_SOURCE/deploy/gate.example.yaml"
    [ "$status" -eq 0 ]
    printf 'state: %s\nlisten: ["192.0.2.1:80"]\nuser: nobody\n' "$at/state" > "$at/bad.yaml"
    run timeout 60 "$programs/inkan-gate" -c "$at/bad.yaml"
    [ "$status" -eq 1 ]
    [[ $output == *"not on the loopback"* ]]
}

@test "it runs as its user, without rights, without core dumps, filtered; its hand cannot be made to do anything else" {
    local pid
    pid=$(cat "$at/gate.pid")
    kill -0 "$pid"
    [ "$(stat -c %U "/proc/$pid/mem")" = root ] # not dumpable
    grep -q "^Uid:.*$(id -u nobody)" "/proc/$pid/status"
    grep -qE '^CapEff:.0+$' "/proc/$pid/status"
    grep -qE '^NoNewPrivs:.1$' "/proc/$pid/status"
    grep -qE '^Seccomp:.2$' "/proc/$pid/status"
    grep -qE 'Max core file size +0 +0' "/proc/$pid/limits"
    for task in /proc/"$pid"/task/*; do grep -qE '^Seccomp:.2$' "$task/status"; done
    [ "$(find "/proc/$(pgrep -P "$pid")/fd" -type l | wc -l)" -le 4 ]
}

@test "many questions at once are answered, each and in turn, also by one who reads late" {
    timeout 30 python3 - "$at/gate.sock" << 'PY'
import socket, sys, time

def ask(count, reads_late):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.settimeout(10)
    s.sendall(b"".join(b"GET /v1/decision?n=%d HTTP/1.1\r\nHost: gate\r\n\r\n" % i for i in range(count)))
    time.sleep(reads_late)
    s.sendall(b"GET /v1/none HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
    got = b""
    while more := s.recv(1 << 20):
        got += more
    return [int(one[:3]) for one in got.split(b"HTTP/1.1 ")[1:]]

for count in 1, 250, 1000:
    for reads_late in 0, 0.2:
        got = ask(count, reads_late)
        assert got == count * [503] + [404], (count, reads_late, len(got), got[:3], got[-3:])
PY
}

@test "stopped it ends well, and nothing of it is left" {
    local pid hand
    pid=$(cat "$at/gate.pid")
    hand=$(pgrep -P "$pid")
    kill "$pid"
    wait_for 60 sh -c "! kill -0 $pid"
    grep -q event=gate-stopped "$at/out"
    wait_for 60 sh -c "! kill -0 $hand"
}
