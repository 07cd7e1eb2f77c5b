#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A slow disk, and what is found when the files of a ledger were damaged between two starts.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_io_fault
    instance_up "extra_config=
connections_per_address: 1024"
    group_secret 'dmg-*'
    enroll_many dmg-known- 40 "$BATS_FILE_TMPDIR/known" > /dev/null
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

# load_for SECONDS FIRST COUNT: what tests/bench/enroll_load says of $connections kept-alive connections, in $side/load
load_for() {
    "$build/bench/enroll_load" --port "$port" --user "$user" --secret "$secret" --devices "$side/devices" --first "$2" --count "$3" \
        --connections "$connections" --phase "0:$1" > "$side/load"
    jq -c '.phases[0] | {rate, good, errors, status, p50_us, p99_us, max_us}' "$side/load"
}
of_load() { jq ".phases[0].$1" "$side/load"; }

kill_all() {
    # The supervisor first: nobody starts the core again, and nothing is closed in order.
    kill -KILL "$(pid_of inkand)" "$(pid_of core)"
    wait_for 60 processes_gone
    rm -f "$dir/run/inkand.pid"
}

known_is_there() {
    ledger_query "SELECT lower(hex(der)) FROM cert" | sort > "$side/rows"
    [ -z "$(cut -d' ' -f2 "$BATS_FILE_TMPDIR/known" | sort | comm -23 - "$side/rows")" ]
}

@test "every sync 200 ms late: half of what group commit can carry then, every request answered in bounded time" {
    local connections=256 batch=64 build=${INKAN_BUILD:-$(dirname "$INKAN_PROGRAMS")}
    "$build/bench/make_devices" "$side" dmg-slow- 3500 > "$side/devices"
    load_for 1.5 0 2000
    quick=$(of_load rate)
    io_rule process=core call=sync n=0 do=delay value=200
    load_for 4 2000 1500
    io_rule
    # A commit carries batch_max certificates at most, and lasts as long as a sync and the work for them.
    awk -v slow="$(of_load rate)" -v quick="$quick" -v batch=$batch 'BEGIN {
        possible = batch / (0.2 + batch / quick)
        printf "%.0f a second of %.0f possible; %.0f on a quick disk\n", slow, possible, quick
        exit !(slow >= possible / 2)
    }'
    [ "$(of_load errors)" = 0 ]
    [ "$(of_load status | jq -c keys)" = '["200"]' ]
    # Four commits, and the marks of the audit trail between them.
    [ "$(of_load max_us)" -le 5000000 ]
    waits_for 60 enrolls dmg-after
}

@test "a list in its place whose directory was not synced: it is said, and the next list comes after it" {
    enrolls dmg-listed
    local lines
    lines=$(log_lines)
    chmod 1777 "$side" # the core marks there that it happened
    # The first sync is that of the file itself.
    io_rule process=core call=sync path=/state/crl n=2 do=errno value=5
    inkan cert revoke "$units/dmg-listed.pem" --yes
    said() { log_after "$lines" | grep -q 'event=crl-refused.*fsync'; }
    waits_for 60 said
    io_rule
    published() { log_after "$lines" | grep -q 'event=crl-published ca=fleet-ca shard=0'; }
    waits_for 60 published
    no grep -q 'event=crl-refused.*thisUpdate' <(log_after "$lines")
}

@test "-shm deleted after a crash: made anew, nothing is missing" {
    kill_all
    rm -f "$dir/state/ledger/ledger.db-shm"
    start_again
    waits_for 60 health_is_ready
    known_is_there
    waits_for 60 enrolls dmg-shm
}

@test "a log that lost its end after a crash: the marks notice it, the service is sealed" {
    inkan crl publish --issuer fleet-ca
    enroll_many dmg-lost- 40 "$side/lost" > /dev/null
    inkan crl publish --issuer fleet-ca
    kill_all
    [ -s "$dir/state/ledger/ledger.db-wal" ]
    truncate -s $(($(stat -c %s "$dir/state/ledger/ledger.db-wal") / 3)) "$dir/state/ledger/ledger.db-wal"
    local lines
    lines=$(log_lines)
    start_again
    seen() { log_after "$lines" | grep -q 'event=ledger-sealed.*mark'; }
    waits_for 60 seen
    [ "$(enroll dmg-sealed)" = 503 ]
    inkan restore --accept > /dev/null
    waits_for 60 health_is_ready
}

@test "the first page overwritten: the core refuses to start and names the ledger" {
    stop_service
    cp "$dir/state/ledger/ledger.db" "$side/good.db"
    dd if=/dev/urandom of="$dir/state/ledger/ledger.db" bs=4096 count=1 conv=notrunc 2> /dev/null
    local before
    before=$(log_lines)
    # The start says why, and the service goes on trying without being ready.
    run "$programs/inkand" -c "$dir/inkan.yaml" 3>&- 4>&-
    [ "$status" -eq 1 ]
    [[ $output == *'the core does not start: '*ledger.db* ]]
    no health_is_ready
    timeout 30 "$programs/inkan" --socket "$dir/run/admin.sock" order list > "$side/asked" 2>&1 3>&- &
    asked=$!
    named() { log_after "$before" | grep 'proc=core' | grep 'ledger.db' | grep -q 'not a database\|malformed'; }
    waits_for 60 named
    no test "$(enroll dmg-page --max-time 1)" = 200
    code=0
    wait "$asked" || code=$?
    [ "$code" -eq 1 ]
    grep -q 'the core is starting, or cannot' "$side/asked"
    stop_service
    cat "$side/good.db" > "$dir/state/ledger/ledger.db"
    start_again
    waits_for 60 health_is_ready
    waits_for 60 enrolls dmg-page
}

@test "one octet of a stored certificate changed: audit verify names the entry" {
    stop_service
    cp "$dir/state/ledger/ledger.db" "$side/flipped.db"
    python3 - "$side/flipped.db" "$(head -n 1 "$BATS_FILE_TMPDIR/known" | cut -d' ' -f2)" <<'PY'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
at = data.find(bytes.fromhex(sys.argv[2])[:200])
assert at > 0
data[at + 150] ^= 1
open(sys.argv[1], "wb").write(data)
PY
    run "$programs/inkan" audit verify --ledger "$side/flipped.db"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"NOT intact"* ]]
    start_again
    waits_for 60 health_is_ready
}
