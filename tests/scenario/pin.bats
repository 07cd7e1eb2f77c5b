#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A PIN the token refuses is tried once, by nobody else, until a person changes something. Real supervisor, real signer; the
# token is behind a module that counts.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_shim
    use_test_clock
    instance_up "token_env=$token_env"
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    group_secret 'pin-*'
    [ "$(enroll pin-known)" = 200 ]
    cp -p "$dir/pin/issuing" "$dir/pin/issuing.right"
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

# The PIN file stays the signer's own, as an editor of the right user would leave it.
put_pin() { # FILE or text
    cp -p "$dir/pin/issuing.right" "$dir/pin/issuing.new"
    chmod 600 "$dir/pin/issuing.new"
    if [ "$1" = right ]; then cat "$dir/pin/issuing.right"; else printf '%s\n' "$1"; fi > "$dir/pin/issuing.new"
    chmod 400 "$dir/pin/issuing.new"
    mv "$dir/pin/issuing.new" "$dir/pin/issuing"
}

# The wrong PIN is seen at the next login: the signer starts anew.
kill_signer() {
    kill -9 "$(pid_of signer-issuing)"
}

state_of_signer() {
    inkan status --json | jq -r '.processes[] | select(.name == "signer-issuing") | .state'
}

# It says so before it ends; only then the supervisor has looked at the PIN that is not to be tried again.
is_blocked() { [[ "$(state_of_signer)" == *PIN_BLOCKED*"held back: the PIN was refused"* ]]; }
is_ready() { [ "$(state_of_signer)" = ready ]; }
no_signer() { [ ! -e "$dir/run/signer-issuing.pid" ]; }
logins() { calls issuing C_Login; }

# ten_minutes SECONDS: the clock goes on by ten minutes in ten steps; after each the supervisor and every timer run for that long
ten_minutes() {
    local at
    at=$(cat "$INKAN_TEST_CLOCK")
    for step in 1 2 3 4 5 6 7 8 9 10; do
        set_clock $((at + 60 * step))
        sleep "$1"
        # People and devices keep asking meanwhile.
        [ "$(enroll "pin-wait-$step-$RANDOM")" = 503 ]
        inkan status > /dev/null
    done
}

@test "a wrong PIN is one login in ten minutes, named by status, and nothing loops" {
    : > "$side/calls-issuing"
    put_pin 12345678
    lines=$(log_lines)
    kill_signer
    waits_for 60 is_blocked
    ten_minutes 3
    [ "$(logins)" = 1 ]
    # It was started once after the kill and not again.
    [ "$(log_after "$lines" | grep 'event=process-started' | grep -c 'process=signer-issuing')" = 1 ]
    log_after "$lines" | grep 'event=process-held-back' | grep -q 'process=signer-issuing'
    [ "$(log_after "$lines" | grep -c 'event=process-held-back')" = 1 ]
    is_blocked
    inkan token list --json | jq -e '.[] | select(.name == "issuing") | .state | test("PIN_BLOCKED|held|PIN")'
    inkan doctor --json | jq -e '.[] | select(.check == "token issuing" and .state == "fail")'
    # The rest of the service is not touched.
    answers good "$units/pin-known.pem"
    [ "$(enroll pin-blocked)" = 503 ]
    grep -qi '^retry-after: [1-9]' "$dir/headers"
}

@test "the same wrong PIN is not tried again by a restart of the whole service" {
    stop_service
    start_again
    waits_for 60 is_blocked
    sleep 2
    [ "$(logins)" = 1 ]
    waits_for 60 answers good "$units/pin-known.pem"
}

@test "a right PIN file brings it back without a command, with one more login" {
    put_pin right
    waits_for 60 enrolls pin-back
    [ "$(logins)" = 2 ]
    waits_for 60 is_ready
}

@test "with the right PIN restarts and logins go on as ever" {
    kill_signer
    waits_for 60 enrolls pin-normal
    [ "$(logins)" = 3 ]
}

@test "inkan token unblock tries the same PIN once more, and a right one serves" {
    put_pin 87654321
    kill_signer
    waits_for 60 is_blocked
    waits_for 60 no_signer
    [ "$(logins)" = 4 ]
    # Still wrong: one more try, blocked again.
    inkan token unblock issuing
    five() { [ "$(logins)" = 5 ]; }
    waits_for 60 five
    waits_for 60 is_blocked
    sleep 7
    [ "$(logins)" = 5 ]
    put_pin right
    inkan token unblock issuing || true # the file alone may have been enough by now
    waits_for 60 enrolls pin-unblocked
    [ "$(logins)" = 6 ]
}

@test "a kill inside C_Login is repeated once at most, then blocked, and unblock brings it back" {
    : > "$side/calls-issuing"
    shim_rules issuing "C_Login kill=before"
    lines=$(log_lines)
    kill_signer
    waits_for 60 is_blocked
    ten_minutes 1
    [ "$(logins)" = 2 ]
    [ "$(log_after "$lines" | grep 'event=process-started' | grep -c 'process=signer-issuing')" -le 3 ]
    shim_rules issuing
    [ "$(enroll pin-still)" = 503 ]
    inkan token unblock issuing
    waits_for 60 enrolls pin-still
    [ "$(logins)" = 3 ]
}

@test "one kill inside C_Login and then an answer is no block" {
    : > "$side/calls-issuing"
    shim_rules issuing "C_Login kill=before first=1"
    # The count of the rule is per process: after the kill the rule goes.
    kill_signer
    for _ in $(seq 3000); do # often: it is started again after a second
        [ "$(logins)" = 0 ] || break
        sleep 0.02
    done
    shim_rules issuing
    waits_for 60 enrolls pin-once
    waits_for 60 is_ready
    [ "$(logins)" -le 3 ]
}

trail() { # EVENT: how many entries
    inkan audit export --json | jq -s --arg event "$1" '[.[] | select(.event == $event)] | length'
}

@test "an unblock is in the trail before it happens: a core killed meanwhile leaves the intent" {
    local begun done core
    begun=$(trail token-unblock-begun)
    done=$(trail token-unblocked)
    [ "$begun" = "$done" ]
    core=$(pid_of core)
    # The core asks, the supervisor does not get to start the program that would do it.
    kill -STOP "$(pid_of inkand)"
    inkan token unblock issuing 3>&- &
    local asked=$!
    intent_is_written() { [ "$(ledger_query "SELECT COUNT(*) FROM audit WHERE event = 'token-unblock-begun'")" = $((begun + 1)) ]; }
    waits_for 60 intent_is_written
    kill -9 "$core"
    kill -CONT "$(pid_of inkand)"
    no wait "$asked"
    waits_for 60 enrolls pin-after-crash
    [ "$(trail token-unblock-begun)" = $((begun + 1)) ]
    [ "$(trail token-unblocked)" = "$done" ]
}

@test "a token that locks after three wrong PINs is never locked by us; locked by others it is not asked, and status says so" {
    : > "$side/calls-issuing"
    shim_rules issuing "C_Login pin_lock=3" "C_GetTokenInfo pin_lock=3"
    kill_signer
    waits_for 60 enrolls pin-lock-0
    put_pin 11111111
    kill_signer
    waits_for 60 is_blocked
    stop_service
    start_again
    waits_for 60 is_blocked
    [ "$(cat "$side/wrong-pins-issuing")" = 1 ]
    [ "$(logins)" = 2 ]
    # A second wrong one leaves one try. That is not ours, not even for the right PIN.
    put_pin 22222222
    tried() { [ "$(cat "$side/wrong-pins-issuing")" = 2 ] && is_blocked; }
    waits_for 60 tried
    lines=$(log_lines)
    put_pin right
    last_try() { log_after "$lines" | grep 'event=signer-pin-refused' | grep -q 'only one PIN try is left'; }
    waits_for 60 last_try
    waits_for 60 is_blocked
    [ "$(logins)" = 3 ]
    # Somebody else uses it up.
    echo 3 > "$side/wrong-pins-issuing"
    lines=$(log_lines)
    inkan token unblock issuing
    locked() { inkan status --json | jq -r '.processes[] | select(.name == "signer-issuing") | .state' | grep -q 'PIN is locked'; }
    waits_for 60 locked
    locked_is_logged() { log_after "$lines" | grep 'event=signer-pin-refused' | grep -q 'the user PIN is locked'; }
    waits_for 60 locked_is_logged
    [ "$(logins)" = 3 ]
    [ "$(enroll pin-lock-1)" = 503 ]
    # The security officer unlocks it.
    echo 0 > "$side/wrong-pins-issuing"
    inkan token unblock issuing
    waits_for 60 enrolls pin-lock-1
    [ "$(logins)" = 4 ]
    shim_rules issuing
}

@test "a PIN by descriptor and one by prompt: both tokens serve, nothing of it is on disk; without a terminal the start is refused" {
    stop_service
    cp "$dir/inkan.yaml" "$dir/keep.yaml"
    cp "$dir/pin/issuing" "$dir/pin/ocsp" "$side/"
    sed -i "s#pin: file:$dir/pin/issuing\$#pin: fd:7#; s#pin: file:$dir/pin/ocsp\$#pin: prompt#" "$dir/inkan.yaml"
    rm -f "$dir/pin/issuing" "$dir/pin/ocsp"
    run setsid "$programs/inkand" -c "$dir/inkan.yaml" 7< "$side/issuing" 3>&-
    [ "$status" -eq 1 ]
    [[ $output == *"PIN of token \"ocsp\""* ]]
    run setsid "$programs/inkand" -c "$dir/inkan.yaml" 3>&-
    [ "$status" -eq 1 ]
    [[ $output == *"descriptor 7 is not open"* ]]
    python3 - "$programs/inkand" "$dir/inkan.yaml" "$side" 3>&- <<'PY'
import os, pty, sys
program, config, side = sys.argv[1:]
pin = open(side + "/ocsp").read().strip()
child, terminal = pty.fork()
if child == 0:
    os.dup2(os.open(side + "/issuing", os.O_RDONLY), 7)
    os.execv(program, [program, "-c", config])
text = b""
while b"PIN of token" not in text:
    text += os.read(terminal, 1000)
os.write(terminal, (pin + "\n").encode())
try:
    while True:
        more = os.read(terminal, 1000)
        if not more:
            break
        text += more
except OSError:
    pass
assert pin.encode() not in text, "the PIN was echoed"
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
PY
    wait_for 60 health_is_ready
    inkan cert list --json > /dev/null
    # A signer that is killed gets it again.
    kill_signer
    wait_for 60 health_is_ready
    for token in issuing ocsp; do
        no grep -rqaF "$(cat "$side/$token")" "$dir/state" "$dir/log" "$dir/run" "$dir/inkan.yaml"
        for pid in $(cat "$dir"/run/*.pid); do
            no grep -qaF "$(cat "$side/$token")" "/proc/$pid/environ" "/proc/$pid/cmdline"
        done
    done
    stop_service
    install -m 400 -o inkan-signer "$side/issuing" "$side/ocsp" "$dir/pin/"
    cp "$dir/keep.yaml" "$dir/inkan.yaml"
}

@test "started by systemd: a PIN is a credential that root alone can read; ready, still there and stopping are told" {
    stop_service
    cp "$dir/inkan.yaml" "$dir/keep.yaml"
    sed -i "s#pin: file:$dir/pin/issuing\$#pin: credential:issuing-pin#" "$dir/inkan.yaml"
    install -d -m 500 "$side/credentials"
    run env CREDENTIALS_DIRECTORY="$side/credentials" "$programs/inkand" -c "$dir/inkan.yaml" 3>&-
    [ "$status" -eq 1 ]
    [[ $output == *'PIN of token "issuing"'*issuing-pin* ]]
    install -m 400 "$dir/pin/issuing" "$side/credentials/issuing-pin"
    rm "$dir/pin/issuing"
    python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    print(s.recv(100).decode(), flush=True)' "$side/notify" > "$side/told" 3>&- &
    systemd=$!
    wait_for 60 test -S "$side/notify"
    CREDENTIALS_DIRECTORY=$side/credentials NOTIFY_SOCKET=$side/notify start_service 3>&-
    wait_for 60 health_is_ready
    waits_for 60 enrolls pin-credential
    front_serves() { [ "$(inkan status --json | jq -r '.processes[] | select(.name == "front-0") | .state')" = serving ]; }
    waits_for 60 front_serves
    kill_signer
    waits_for 60 enrolls pin-credential-2
    no grep -qa CREDENTIALS_DIRECTORY "/proc/$(pid_of signer-issuing)/environ"
    wait_for 60 grep -q WATCHDOG=1 "$side/told"
    stop_service
    wait_for 60 grep -q STOPPING=1 "$side/told"
    kill "$systemd"
    [ "$(grep -E 'READY|STOPPING' "$side/told" | tr '\n' ' ')" = "READY=1 STOPPING=1 " ]
    install -m 400 -o inkan-signer "$side/credentials/issuing-pin" "$dir/pin/issuing"
    cp "$dir/keep.yaml" "$dir/inkan.yaml"
}
