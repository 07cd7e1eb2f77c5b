#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# inkan-station and inkan-simdevice against a service that misbehaves on demand (tests/lib/line_stub.py). What the real service
# makes of a station is in tests/scenario/factory.bats and tests/fault/line.
source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
programs=${INKAN_PROGRAMS:?}

setup() {
    d=$BATS_TEST_TMPDIR
    stub=
}

teardown() {
    [ -z "$stub" ] || kill "$stub" 2> /dev/null || true
}

# serve [OPTION...]: the service, in $d/service
serve() {
    mkdir "$d/service"
    python3 "$source_dir/tests/lib/line_stub.py" "$d/service" "$@" 2> "$d/service.log" 3>&- &
    stub=$!
    for _ in $(seq 1200); do
        [ ! -e "$d/service/port" ] || break
        sleep 0.05
    done
    url=https://localhost:$(cat "$d/service/port")
}

# station [OPTION...]; `exec=exec station ... &` is the program itself, to be killed
#   in_session: with a simulated device in a session, unless told otherwise
station() {
    ${exec:-} "$programs/inkan-station" --url "$url" --ca "$d/service/ca.pem" --cert "$d/service/station.pem" --key "$d/service/station.key" \
        --order WO-1 --journal "$d/journal" "$@"
}
in_session() {
    station --device-session --device-command "$programs/inkan-simdevice --dir $d/units --no-sync --session" "$@"
}
ids() { # N
    seq -f 'M2-%04g' 1 "$1"
}
of_json() { # MEMBER FILE
    python3 -c 'import json, sys; print(json.load(open(sys.argv[2]))[sys.argv[1]])' "$1" "$2"
}
# every unit of $d/units holds its key and the one valid certificate that was issued for it, and is confirmed
holds_what_is_valid() { # N
    touch "$d/service/revoked"
    sort "$d/service/issued" | comm -23 - <(sort "$d/service/revoked") > "$d/valid"
    [ "$(wc -l < "$d/valid")" -eq "$1" ]
    [ "$(sort -u "$d/service/confirmed" | wc -l)" -eq "$1" ]
    "$programs/inkan-simdevice" --dir "$d/units" --list | awk '$4 == "yes" {sub("^0*", "", $2); print $1, $2}' | sort > "$d/held"
    cmp "$d/valid" "$d/held"
}
# the same, and none was issued in vain
holds_what_was_issued() { # N
    holds_what_is_valid "$1"
    [ ! -s "$d/service/revoked" ]
}

@test "lost answers and a busy service: each unit gets one certificate and keeps it" {
    serve --fault lost:7 --fault busy:31
    ids 24 | in_session --fixtures 4 --json > "$d/out"
    [ "$(of_json done "$d/out")" -eq 24 ]
    [ "$(of_json retries "$d/out")" -gt 0 ]
    holds_what_was_issued 24
}

# killed_and_started COMMAND...: until a run comes to its end by itself; later and later, so that a slow machine gets on too
killed_and_started() {
    local n
    for n in $(seq 60); do
        exec=exec "$@" --ids "$d/ids" --fixtures 3 --quiet --json > "$d/out" 2>> "$d/err" 3>&- &
        pid=$!
        sleep "$((n / 6)).$((RANDOM % 5 + 2))"
        kill -KILL "$pid" 2> /dev/null || true
        status=0
        wait "$pid" || status=$?
        [ "$status" -ne 0 ] || break
    done
    [ "$status" -eq 0 ]
}

@test "killed at random moments it goes on where it was" {
    serve --fault lost:9
    ids 30 > "$d/ids"
    killed_and_started in_session
    holds_what_was_issued 30
}

# with_made_keys [OPTION...]: a session with devices whose keys the service makes
with_made_keys() {
    station --key-mode server --device-session --device-command "$programs/inkan-simdevice --dir $d/units --no-sync --session --server-key" "$@"
}

@test "keys made by the service: killed and with answers lost, each unit ends with one valid certificate and its key" {
    serve --fault lost:9
    ids 16 > "$d/ids"
    killed_and_started with_made_keys
    holds_what_is_valid 16
    # One that comes in clear is no answer where it must be wrapped for the device: the unit is set aside, none is given to it.
    ids 17 | tail -1 > "$d/ids"
    run with_made_keys --ids "$d/ids" --key-mode server-encrypted
    [ "$status" -eq 1 ]
    [[ $output == *"reason=bad-answer"*"the key is not encrypted"* ]]
    [ ! -e "$d/units/M2-0017" ]
}

# The secret numbers of all units' keys, for secret_search.py.
secrets_of_units() {
    for key in "$d"/units/*/key.pem; do
        openssl pkey -in "$key" -outform DER | openssl pkcs8 -topk8 -nocrypt -inform DER -outform DER -out "$key.der"
    done
    /usr/bin/python3 "$source_dir/tests/lib/keygen.py" secrets "$d"/units/*/key.pem.der > "$d/secrets"
    rm "$d"/units/*/key.pem.der
}

@test "after the confirm the station has no key that passed through it, in memory or file" {
    [ "$(id -u)" -eq 0 ] || skip "needs root to read another process's memory"
    programs=${INKAN_RELEASE:+$INKAN_RELEASE/bin} # a sanitizer keeps freed memory for a while on purpose
    programs=${programs:-$INKAN_PROGRAMS}
    serve
    mkfifo "$d/ids"
    exec=exec with_made_keys --ids "$d/ids" --fixtures 2 2> "$d/err" 3>&- &
    pid=$!
    exec 8> "$d/ids"
    ids 6 >&8
    for _ in $(seq 1200); do
        [ "$(grep -c '^.* done ' "$d/err")" -lt 6 ] || break
        sleep 0.05
    done
    secrets_of_units
    [ "$(wc -l < "$d/secrets")" -eq 6 ]
    run python3 "$source_dir/tests/lib/secret_search.py" "$d/secrets" "pid:$pid" "$d/journal" "$d/err"
    exec 8>&-
    wait "$pid"
    echo "$output"
    [ "$status" -eq 0 ]
    holds_what_was_issued 6
}

# killed_at STEP DEVICE-OPTIONS [OPTION...]: one unit; the station is killed while the device is at STEP, and started again
killed_at() {
    local step=$1 how=$2
    shift 2
    cat > "$d/device" <<SH
echo "\$INKAN_STEP" >> $d/steps
[ "\$INKAN_STEP" != $step ] || [ -e $d/may-go-on ] || sleep 120
exec $programs/inkan-simdevice --dir $d/units $how
SH
    ids 1 > "$d/ids"
    exec=exec station "$@" --ids "$d/ids" --device-command "sh $d/device" 3>&- &
    pid=$!
    for _ in $(seq 1200); do
        ! grep -qs "$step" "$d/steps" || break
        sleep 0.05
    done
    kill -KILL "$pid"
    wait "$pid" || true
    touch "$d/may-go-on"
    station "$@" --ids /dev/null --device-command "sh $d/device"
}

@test "a key that was handed over before a crash is the one that the certificate in the journal finds" {
    serve
    killed_at install --server-key --key-mode server
    [ "$(tr '\n' ' ' < "$d/steps")" = "csr key install install sign " ]
    holds_what_was_issued 1
}

@test "a key that no device had before a crash is replaced, and its certificate revoked" {
    serve
    killed_at key --server-key --key-mode server
    [[ $(tr '\n' ' ' < "$d/steps") == "csr key install "*"csr key install sign " ]]
    [ "$(wc -l < "$d/service/revoked")" -eq 1 ]
    holds_what_is_valid 1
}

@test "after a crash it repeats the unfinished step and none before it" {
    serve
    killed_at sign ""
    [ "$(tr '\n' ' ' < "$d/steps")" = "csr install sign sign " ]
    holds_what_was_issued 1
}

@test "an order that ends stops the station, and the unit stays unfinished" {
    serve --quantity 3
    ids 5 > "$d/ids"
    run in_session --ids "$d/ids"
    [ "$status" -eq 4 ]
    [[ $output == *"reason=order-full"*"the order has its 3 units"* ]]
    holds_what_was_issued 3
    run in_session --ids /dev/null
    [ "$status" -eq 4 ] # the fourth is tried first
    rm "$d/journal"
    run "$programs/inkan-station" --url "$url" --ca "$d/service/ca.pem" --cert "$d/service/station.pem" --key "$d/service/station.key" \
        --order WO-9 --journal "$d/journal" --steps pack --ids "$d/ids"
    [ "$status" -eq 4 ]
    [[ $output == *"reason=unknown-order"* ]]
}

@test "a refused unit and a broken one are set aside, the others pass" {
    serve
    printf 'M2-1\nWRONG-1\nM2-2\n' > "$d/ids"
    run in_session --ids "$d/ids" --json
    [ "$status" -eq 1 ]
    [[ $output == *'failed unit=WRONG-1'*'step=issue reason=device-not-in-order'* ]]
    [[ $output == *'"reasons": {"device-not-in-order": 1}'* ]]
    holds_what_was_issued 2
    # In the next run only when asked for.
    in_session --ids "$d/ids"
    run in_session --ids /dev/null --retry-failed
    [ "$status" -eq 1 ]
    # A device that signs wrongly fails, whatever it is asked again; so many in a row stop the station.
    ids 20 > "$d/ids"
    run station --ids "$d/ids" --device-session --device-command "$programs/inkan-simdevice --dir $d/bad --no-sync --session --bad 1000" --failures 3 --json
    [ "$status" -eq 1 ]
    [[ $output == *'reason=signature-wrong'*'"end": "failures", "done": 0, "failed": 3'* ]]
}

@test "a device that lost its key is begun again with a new one" {
    serve
    ids 2 | station --device-session --device-command "$programs/inkan-simdevice --dir $d/units --no-sync --session --lose 1000"
    [ "$(wc -l < "$d/service/issued")" -eq 4 ]
    [ "$(sort -u "$d/service/confirmed" | wc -l)" -eq 2 ]
}

@test "an old challenge is asked for again" {
    serve --fault stale:3
    ids 4 | in_session --json > "$d/out"
    [ "$(of_json done "$d/out")" -eq 4 ]
}

@test "a unit whose certificate comes later makes room for the next, and is first in the next run" {
    serve --fault later:4
    ids 2 > "$d/ids"
    run in_session --ids "$d/ids" --json
    [ "$status" -eq 3 ]
    [[ $output == *"captured unit=M2-0002 "*'"done": 1,'*'"captured": 1, "unfinished": 1,'* ]]
    in_session --ids /dev/null
    holds_what_was_issued 2
}

@test "told to stop, it finishes the units at work and leaves the rest" {
    serve
    ids 500 > "$d/ids"
    exec=exec in_session --ids "$d/ids" --fixtures 2 --json > "$d/out" 3>&- &
    pid=$!
    for _ in $(seq 1200); do
        [ ! -s "$d/service/confirmed" ] || break
        sleep 0.05
    done
    kill -TERM "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 3 ]
    [ "$(of_json end "$d/out")" = told ]
    holds_what_was_issued "$(of_json done "$d/out")"
}

@test "an order without numbers left ends a run that asks for them, and that is no failure" {
    serve --quantity 3
    run in_session --allot --fixtures 2
    [ "$status" -eq 0 ]
    [[ $output == *"3 done, 0 failed"*"every number of the order is allotted"* ]]
    [[ $output != *stopped* ]]
    holds_what_was_issued 3
}

@test "numbers that the order allots: none is lost, also not with its answer" {
    serve --fault lost:5
    in_session --allot --count 12 --fixtures 3 --json > "$d/out"
    [ "$(of_json done "$d/out")" -eq 12 ]
    holds_what_was_issued 12
    [ "$(sort "$d/service/confirmed" | tail -1)" = M2-00000012 ]
}

@test "a file of options, a scanner's line ends, steps of another station" {
    serve
    cat > "$d/station.yaml" <<YAML
# the packing table
url: $url
ca: $d/service/ca.pem
cert: $d/service/station.pem
key: "$d/service/station.key"
order: WO-1
steps: pack,ship
journal: $d/pack
YAML
    printf ' M2-0001 \r\nM2-0002\rM2-0001\r\n# a note\nnot an id!\n' > "$d/scan"
    run "$programs/inkan-station" --config "$d/station.yaml" --carton C-1 --ids "$d/scan"
    [ "$status" -eq 0 ]
    [[ $output == *"not a device_id: not an id!"* ]]
    [[ $output == *"2 done, 0 failed"* ]]
    [ "$(grep -c '^ship ' "$d/pack")" -eq 2 ]
    echo "colour: red" >> "$d/station.yaml"
    run "$programs/inkan-station" --config "$d/station.yaml"
    [ "$status" -eq 2 ]
    [[ $output == *"station.yaml:9"* ]]
    # What no step of the list would do is refused, not left out.
    sed -i '$d' "$d/station.yaml"
    run "$programs/inkan-station" --config "$d/station.yaml" --secrets --ids "$d/scan"
    echo "$status $output"
    [ "$status" -eq 5 ]
    [[ $output == *"--secrets needs the step write"* ]]
    run "$programs/inkan-station" --config "$d/station.yaml" --evidence --ids "$d/scan"
    [ "$status" -eq 5 ]
    [[ $output == *"--evidence needs the step confirm"* ]]
}

@test "a journal whose last line was torn is read up to it; one that is damaged, or of another order, is refused" {
    serve
    ids 2 > "$d/ids"
    in_session --ids "$d/ids"
    cp "$d/journal" "$d/whole"
    printf 'confirm M2-00' >> "$d/journal"
    in_session --ids "$d/ids"
    cmp "$d/journal" "$d/whole"
    # Torn between issue and write: the certificate is asked for again, and is the same.
    sed -i '/^write M2-0002/,$d' "$d/journal"
    truncate -s -9 "$d/journal"
    in_session --ids /dev/null
    holds_what_was_issued 2
    sed '2s/^begin/begun/' "$d/whole" > "$d/journal"
    run in_session --ids "$d/ids"
    [ "$status" -eq 5 ]
    [[ $output == *"journal: line 2 cannot be read"* ]]
    sed '1s/WO-1/WO-2/' "$d/whole" > "$d/journal"
    run in_session --ids "$d/ids"
    [ "$status" -eq 5 ]
    [[ $output == *"is not a journal of order WO-1"* ]]
}

@test "on a terminal: figures and fixtures; one station per journal" {
    serve
    ids 6 > "$d/ids"
    declare -f station in_session > "$d/run"
    declare -p programs url d >> "$d/run"
    echo "in_session --ids $d/ids --fixtures 2" >> "$d/run"
    script -qec "bash $d/run" "$d/screen" > /dev/null
    grep -q 'order WO-1   done .*yield 100' "$d/screen"
    (
        flock 9
        run in_session --ids "$d/ids"
        [ "$status" -eq 5 ]
        [[ $output == *"is in use by another inkan-station"* ]]
    ) 9< "$d/journal"
}
