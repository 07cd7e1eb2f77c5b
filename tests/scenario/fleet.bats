#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Mass actions: what is shown is what is done, each unit once, whatever happens meanwhile.
load ../lib/instance

build=${INKAN_BUILD:-$(dirname "$INKAN_PROGRAMS")}
units_in_lot=1000

setup_file() {
    instance_up people=yes || return 1
    operator alice
    operator bob
    stop_service
    "$build/bench/fill_ledger" "$dir/state/ledger/ledger.db" --count $((4 * units_in_lot)) --lots 4 > "$dir/filled" || return 1
    start_service 3>&- 4>&-
}
teardown_file() { instance_down; }
setup() { instance_load; }

# operator NAME: a person with a key of their own, $dir/people/NAME.{key,pem}
operator() {
    mkdir -p "$dir/people" &&
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$dir/people/$1.key" -out "$dir/people/$1.csr" 2> /dev/null &&
        inkan operator add "$1" --roles operator --csr "$dir/people/$1.csr" --out "$dir/people/$1.pem" > /dev/null
}
# as NAME COMMAND...: signed by that person
as() {
    inkan --as "$dir/people/$1.pem" --key "$dir/people/$1.key" "${@:2}"
}

fleet() { inkan fleet "$@" --yes; }
count() { inkan device count --select "$1"; }
batch() { inkan fleet show "$1" --json | jq -r ".$2"; }
newest() { inkan fleet list --limit 1 --json | jq -r '.[0].id'; }
trail() { inkan audit export | jq -c "select(.object == \"batch:$1\")"; }

# steps ID: the steps of a batch in the trail follow each other without a gap, and their counts are the batch's.
steps() {
    trail "$1" | jq -s -e --argjson count "$(batch "$1" done)" --argjson changed "$(batch "$1" changed)" '
        [.[] | select(.event == "batch-step") | .detail | if type == "string" then fromjson else . end] |
        (.[0].first == 1) and (.[-1].last == $count) and ([.[].changed] | add) == $changed and
        all(range(1; length) as $i | .[$i].first == .[$i - 1].last + 1; .) and all(.[]; .last - .first < 500)'
}

@test "a selector counts, lists by pages and exports; a mistake names its column" {
    [ "$(count 'device = fill-*')" = 4000 ]
    [ "$(inkan device count)" = "$(inkan device list --json | jq length)" ]
    [ "$(count 'lot = lot-1')" = 1000 ]
    [ "$(count "lot = lot-1 and model = 'cam 1' and firmware < 1.10")" = 166 ]
    [ "$(inkan device count --select 'device = fill-*' --by lot --json | jq -c '[.[].units]')" = '[1000,1000,1000,1000]' ]
    [ "$(inkan device list --select 'lot = lot-2' --json | jq length)" = 1000 ]
    [ "$(inkan device list --select 'lot = lot-2' --limit 3 --json | jq length)" = 3 ]
    [ "$(inkan cert list --select 'lot = lot-2 and cert_status = good' --json | jq length)" = 1000 ]
    inkan device export --select 'lot = lot-3' --out "$dir/lot.csv"
    [ "$(wc -l < "$dir/lot.csv")" = 1001 ]
    [ "$(inkan device export --select 'lot = lot-3' --format jsonl | jq -r .device_id | sort -u | wc -l)" = 1000 ]
    run inkan device list --select 'lot = lot-2 and colour = red'
    [ "$status" -eq 1 ]
    [[ "$output" = *"selector, column 17: no field is called"* ]]
    run inkan device list --select 'lot = lot-2' --domain example
    [ "$status" -eq 1 ]
}

@test "the preview shows what would happen, and a dry run changes nothing" {
    inkan fleet suspend --select 'lot = lot-0' --dry-run --json > "$dir/look"
    [ "$(jq -r .count "$dir/look")" = 1000 ]
    [ "$(jq -r '.models | map(.units) | add' "$dir/look")" = 1000 ]
    [ "$(jq -r '.states[0].would' "$dir/look")" = change ]
    [ "$(inkan device export --select 'lot = lot-0' --format ids | sha256sum | cut -d' ' -f1)" = "$(jq -r .digest "$dir/look")" ]
    [ "$(count 'lot = lot-0 and state = in_service')" = 1000 ]
    [ "$(inkan fleet list --json)" = "[]" ]
    run inkan fleet suspend --select 'lot = absent' --yes
    [ "$status" -eq 1 ]
    run inkan fleet suspend --select 'lot = lot-0' < /dev/null
    [ "$status" -eq 1 ]
    [[ "$output" = *"--yes"* ]]
    run fleet suspend --select 'lot = lot-0' --file "$dir/look"
    [ "$status" -eq 2 ]
}

@test "a suspension holds the certificates of a unit, OCSP and CRL say so when it is done; undo releases what it still holds" {
    unit_birth real-1
    unit_device real-1 enroll
    unit_birth real-2
    unit_device real-2 enroll
    printf 'real-1\nexample/real-2\nreal-1\n' > "$dir/ids"
    fleet suspend --file "$dir/ids" --reason "ticket 17"
    id=$(newest)
    [ "$(batch "$id" state)" = done ]
    [ "$(batch "$id" count)" = 2 ]
    [ "$(batch "$id" changed)" = 2 ]
    [ "$(batch "$id" why)" = "ticket 17" ]
    [[ "$(ocsp_status "$units/real-1/cert.pem")" = revoked* ]]
    inkan crl get --issuer fleet-ca --out "$dir/list.crl"
    openssl crl -inform DER -in "$dir/list.crl" -noout -text | grep -qi "$(cert_serial "$units/real-1/cert.pem")"
    # One of them was taken up by somebody else since: it stays as that one left it.
    printf 'real-2\n' > "$dir/ids"
    fleet release --file "$dir/ids"
    fleet suspend --file "$dir/ids"
    fleet undo "$id"
    [ "$(batch "$(newest)" undo_of)" = "$id" ]
    [ "$(batch "$(newest)" count)" = 1 ]
    [ "$(ocsp_status "$units/real-1/cert.pem")" = good ]
    [[ "$(ocsp_status "$units/real-2/cert.pem")" = revoked* ]]
    run fleet undo "$id"
    [ "$status" -eq 1 ]
    printf 'real-1\nnobody\n' > "$dir/ids"
    run fleet suspend --file "$dir/ids"
    [ "$status" -eq 1 ]
    [[ "$output" = *"1 of 2 ids are not declared: example/nobody"* ]]
}

@test "a canary does its part and waits; resume does the rest, one entry of the trail for each step" {
    run fleet quarantine --select 'lot = lot-0' --canary 10 --why "CVE-2026-1"
    [ "$status" -eq 3 ]
    id=$(newest)
    [ "$(batch "$id" state)" = canary ]
    [ "$(count 'lot = lot-0 and state = quarantined')" = 100 ]
    # spread over the lot, not its beginning
    [ "$(count "lot = lot-0 and state = quarantined and device = fill-00000009*")" = 10 ]
    inkan fleet resume "$id"
    [ "$(batch "$id" state)" = done ]
    [ "$(count 'lot = lot-0 and state = quarantined')" = 1000 ]
    steps "$id"
    [ "$(trail "$id" | jq -r .event | uniq | tr '\n' ' ')" = "batch-created batch-frozen batch-started batch-step batch-canary batch-resumed batch-step batch-done " ]
    fleet unquarantine --select 'lot = lot-0'
    [ "$(count 'lot = lot-0 and state = in_service')" = 1000 ]
}

@test "a quarantine of many ends for a unit that reports the wanted release; a suspension of many wants a review at its date" {
    fleet quarantine --select 'device in (fill-0000000001, fill-0000000002)' --until-firmware 9.9
    inkan device set-firmware fill-0000000001 --firmware 9.9
    [ "$(count 'device in (fill-0000000001, fill-0000000002) and state = in_service')" = 1 ]
    fleet unquarantine --select 'device = fill-0000000002'
    fleet suspend --select 'device = fill-0000000002' --until 1s
    wait_for 60 grep -q 'event=alarm-raised.*suspend-review.*fill-0000000002' "$dir/log/inkan.log"
    fleet release --select 'device = fill-0000000002'
    run fleet release --select 'device = fill-0000000002' --until 1s
    [ "$status" -eq 2 ]
}

@test "what the table refuses is counted and listed, and is no obstacle to the others" {
    inkan device import - < <(seq -f 'declared-%g' 3) > /dev/null
    fleet suspend --select 'device in (declared-1, declared-2, fill-0000001500, fill-0000001501)'
    id=$(newest)
    [ "$(batch "$id" changed)" = 2 ]
    [ "$(batch "$id" refused)" = 2 ]
    inkan fleet refused "$id" --json > "$dir/refused"
    [ "$(jq -r '.[0].device_id' "$dir/refused")" = declared-1 ]
    [[ "$(jq -r '.[0].reason' "$dir/refused")" = *declared* ]]
    run fleet suspend --select 'device in (declared-1, declared-2)' # nothing done at all is no success
    [ "$status" -eq 1 ]
    fleet suspend --select 'device in (fill-0000001500, fill-0000001502)'
    [ "$(batch "$(newest)" same)" = 1 ]
    [ "$(batch "$(newest)" changed)" = 1 ]
    fleet release --select 'lot = lot-1 and state = suspended'
}

@test "what is asked for is what was seen, or nothing" {
    look=$(inkan fleet suspend --select 'lot = lot-1' --dry-run --json)
    run python3 "$source_dir/tests/lib/admin_call.py" "$dir/run/admin.sock" batch.create \
        "$(jq -n --argjson look "$look" '{action: "suspend", select: "lot = lot-2", count: $look.count, digest: $look.digest}')"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" = *"the list is not the one that was shown"* ]]
    [ "$(batch "$(newest)" state)" = failed ]
    [ "$(count 'lot = lot-2 and state = suspended')" = 0 ]
    for args in '{"action":"dance","select":"lot = lot-2"}' '{"action":"suspend","select":"lot ="}' '{"action":"suspend","select":"lot = x","digest":"00"}' \
        '{"action":"revoke","select":"lot = lot-2","reason":"certificateHold"}' '{"action":"suspend","select":"lot = lot-2","canary":100}'; do
        run python3 "$source_dir/tests/lib/admin_call.py" "$dir/run/admin.sock" batch.create "$args"
        [ "$status" -eq 1 ]
    done
}

@test "above the threshold it waits for another person, who approves this list and no other" {
    run as alice fleet suspend --select "lot = lot-1 and firmware = 1.7" --yes --why "ticket 9"
    echo "$output"
    [ "$status" -eq 0 ] # 100 units: not above it
    run as alice fleet suspend --select "lot = lot-1 and firmware in (1.7, 1.8)" --yes
    echo "$output"
    [ "$status" -eq 3 ]
    [[ "$output" = *"is waiting"* ]]
    id=$(newest)
    [ "$(batch "$id" created_by)" = alice ]
    [ "$(count 'lot = lot-1 and state = suspended')" = 100 ]
    run as alice fleet approve "$id" --yes
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" = *"the second person is another one than who asked"* ]]
    run python3 "$source_dir/tests/lib/admin_call.py" "$dir/run/admin.sock" batch.run \
        "$(inkan fleet show "$id" --json | jq '{id: (.id | tostring), action, count, digest: (.digest[0:62] + "00")}')"
    [ "$status" -eq 1 ]
    [[ "$output" = *"has another list"* ]]
    run python3 "$source_dir/tests/lib/admin_call.py" "$dir/run/admin.sock" batch.run \
        "$(inkan fleet show "$id" --json | jq '{id: (.id | tostring), action: "release", count, digest}')"
    [ "$status" -eq 1 ]
    [[ "$output" = *"does something else"* ]]
    [ "$(batch "$id" state)" = waiting ]
    as bob fleet approve "$id" --yes
    [ "$(batch "$id" state)" = done ]
    [ "$(batch "$id" changed)" = 100 ]
    [ "$(batch "$id" same)" = 100 ]
    [ "$(batch "$id" approved_by)" = bob ]
    # Both signatures are in the entry that let it run.
    inkan audit export | jq -s -e --arg o "batch:$id" '[.[] | select(.object == $o and .event == "batch-started")][0] |
        .actor == "alice" and (.signature | length) > 100 and (.approvals | length) > 100'
    # Root alone: the trail says so.
    fleet release --select 'lot = lot-1 and state = suspended'
    trail "$(newest)" | jq -s -e '[.[] | select(.event == "batch-started") | .detail | if type == "string" then fromjson else . end][0].alone'
}

@test "many just below the threshold are one above it: each operator's own add up" {
    # The hundred that alice let run alone count with the next, however small; bob's do not.
    run as alice fleet suspend --select 'device = fill-0000003500' --yes
    echo "$output"
    [ "$status" -eq 3 ]
    [[ "$output" = *"with 100 units of mass actions that alice let run alone before it is more than 100 units"* ]]
    id=$(newest)
    as bob fleet suspend --select 'device = fill-0000003501' --yes
    [ "$(batch "$(newest)" state)" = done ]
    run as alice fleet approve "$id" --yes
    [ "$status" -eq 1 ]
    as bob fleet approve "$id" --yes
    [ "$(batch "$id" approved_by)" = bob ]
    [ "$(count 'lot = lot-3 and state = suspended')" = 2 ]
    # What another person approved is not alice's alone; her own undo of it would be.
    run as alice fleet undo "$id" --yes
    [ "$status" -eq 3 ]
    undo=$(newest)
    inkan fleet list | awk -v id="$undo" -v of="$id" '$1 == id { for (i = 2; i <= NF; i++) if ($i == of) found = 1 } END { exit !found }'
    pending=$(batch "$undo" pending)
    # Who approves it sees what it undoes, and that is what runs.
    inkan approval show "$pending" | grep -qx "  undo  *$id"
    [[ "$(typed "fleet approve $undo" n 2>&1)" = *"what batch $id did and nobody changed since"* ]]
    run python3 "$source_dir/tests/lib/admin_call.py" "$dir/run/admin.sock" batch.run \
        "$(inkan fleet show "$undo" --json | jq '{id: (.id | tostring), count, digest, undo: .id}')"
    [ "$status" -eq 1 ]
    [[ "$output" = *"does something else"* ]]
    as alice fleet cancel "$undo" --yes > /dev/null
    # Root is outside, and the trail says where the sum would have held.
    fleet release --select 'lot = lot-3 and state = suspended'
    trail "$(newest)" | jq -s -e '[.[] | select(.event == "batch-started") | .detail | if type == "string" then fromjson else . end][0].alone'
}

@test "a batch and the request that was to let it run end together" {
    ask() {
        run as alice fleet suspend --select "lot = lot-1 and firmware in (1.7, 1.8)" --yes
        [ "$status" -eq 3 ]
        id=$(newest)
        pending=$(batch "$id" pending)
    }
    approval() { inkan approval show "$pending" --json | jq -r ".$1"; }
    ask
    as bob approval refuse "$pending" --reason "not today"
    [ "$(batch "$id" state) $(batch "$id" error)" = "cancelled not today" ]
    [ "$(trail "$id" | jq -r 'select(.event == "batch-cancelled").actor')" = bob ]
    ask
    as bob fleet cancel "$id" --yes > /dev/null
    [ "$(approval state) $(approval outcome)" = "refused batch-cancelled" ]
    run as bob approval approve "$pending" --yes
    [ "$status" -eq 1 ]
    [[ "$output" = *"is refused"* ]]
    [ "$(count 'lot = lot-1 and state = suspended')" = 0 ]
    # Root needs nobody, and then nobody is waited for.
    ask
    fleet approve "$id"
    [ "$(batch "$id" state)" = done ]
    [ "$(approval state) $(approval outcome)" = "refused batch-started" ]
    trail "$id" | jq -s -e '[.[] | select(.event == "batch-started") | .detail | if type == "string" then fromjson else . end][0].alone'
    fleet release --select 'lot = lot-1 and state = suspended'
    [ "$(inkan approval list --json)" = "[]" ]
}

@test "a pause stops it between two steps, cancel leaves what is done, and both can be undone" {
    fleet suspend --select 'lot in (lot-1, lot-2)' --no-wait || true
    id=$(newest)
    inkan fleet pause "$id" > /dev/null || true
    state=$(batch "$id" state)
    done=$(batch "$id" done)
    sleep 0.5
    [ "$(batch "$id" done)" = "$done" ]
    [ "$(count 'lot in (lot-1, lot-2) and state = suspended')" = "$done" ]
    if [ "$state" = paused ]; then
        inkan fleet cancel "$id" --yes > /dev/null
        [ "$(batch "$id" state)" = cancelled ]
        run inkan fleet resume "$id"
        [ "$status" -eq 1 ]
    fi
    fleet undo "$id"
    [ "$(count 'lot in (lot-1, lot-2) and state = in_service')" = 2000 ]
}

# typed WORDS ANSWER: the command on a terminal where that is typed; what stood on it, each redrawing of a line a line of its own
typed() {
    printf '%s\n' "$2" | script -qec "'$programs/inkan' --socket '$dir/run/admin.sock' $1" "$dir/screen" > /dev/null || true
    tr -s '\r' '\n' < "$dir/screen"
}

@test "on a terminal: a question, a bar, and no is no" {
    typed "fleet suspend --select 'lot = lot-2'" n > "$dir/said"
    grep -q 'Suspend these units? \[y/N\]' "$dir/said"
    grep -q 'nothing was done' "$dir/said"
    [ "$(count 'lot = lot-2 and state = suspended')" = 0 ]
    typed "fleet suspend --select 'lot = lot-2'" y > "$dir/said"
    cat "$dir/said"
    grep -qE 'done \[#{30}\] 1000 of 1000, [0-9]+/s, 0 refused' "$dir/said"
    typed "fleet undo $(newest)" y > "$dir/said"
    grep -qE 'done \[#{30}\] 1000 of 1000' "$dir/said"
    [ "$(count 'lot = lot-2 and state = in_service')" = 1000 ]
    typed "fleet release --select 'device = declared-1'" n > "$dir/said"
    grep -q 'none of these units would change' "$dir/said"
}

another_core() { [ -s "$dir/run/core.pid" ] && [ "$(cat "$dir/run/core.pid")" != "$1" ] && inkan status; }

@test "the core killed in the middle, again and again: each unit is changed exactly once" {
    fleet suspend --select 'lot in (lot-1, lot-2, lot-3)' --no-wait || true
    id=$(newest)
    for kill in 1 2 3; do
        core=$(cat "$dir/run/core.pid")
        kill -9 "$core"
        wait_for 60 another_core "$core"
        sleep 0.1
    done
    inkan fleet watch "$id"
    [ "$(batch "$id" changed)" = 3000 ]
    [ "$(count 'lot in (lot-1, lot-2, lot-3) and state = suspended')" = 3000 ]
    steps "$id"
    [ "$(sqlite3 "file:$dir/state/ledger/ledger.db?mode=ro" "SELECT count(*), count(DISTINCT device) FROM device_event WHERE batch = $id")" = "3000|3000" ]
    [ "$(sqlite3 "file:$dir/state/ledger/ledger.db?mode=ro" "SELECT count(*) FROM status_log WHERE batch = $id")" = 3000 ]
}

@test "what neither ran nor waits for a person when the core ended has failed, and says what to do; what waited too long is cancelled" {
    # A list half written, one that nobody was asked about, one whose approval was running, one that nobody approves in time, one that waits.
    far=$(($(date +%s) + 86400))
    stop_service
    sqlite3 "$dir/state/ledger/ledger.db" > "$dir/made" <<SQL
        CREATE TEMP TABLE p (n, state, expires);
        INSERT INTO p VALUES (3, 1, $far), (4, 0, 5), (5, 0, $far);
        INSERT INTO pending (state, operator, op, args, jws, created_at, expires_at, decided_at, ended_at, outcome)
            SELECT state, 1, 'batch.run', '{}', x'00', 1, expires, 0, 0, '' FROM p ORDER BY n;
        INSERT INTO batch (action, state, selector, reason, why, until, wanted, created_by, created_at, pending, approved_by,
            approved_at, count, digest, canary, next, changed, same, refused, seq, started_at, ended_at, error)
            SELECT 0, value > 1, 'lot = lot-1', 0, '', 0, '', 'alice', 1, CASE WHEN value > 2 THEN (SELECT max(id) FROM pending) + value - 5 ELSE 0 END, '',
                0, value > 1, CASE WHEN value > 1 THEN zeroblob(32) ELSE x'' END, 0, 0, 0, 0, 0, 0, 0, 0, '' FROM generate_series(1, 5);
        INSERT INTO batch_item SELECT max(id) - 4, 1, 1 FROM batch;
        SELECT max(id) FROM batch;
SQL
    last=$(cat "$dir/made")
    start_service 3>&- 4>&-
    for id in $((last - 4)) $((last - 3)) $((last - 2)); do
        [ "$(batch "$id" state)" = failed ]
        [[ "$(batch "$id" error)" = *"before it could start; nothing was changed: give the same command again"* ]]
        grep -q "event=batch-failed batch=$id " "$dir/log/inkan.log"
    done
    late_is_over() { [ "$(batch $((last - 1)) state)" = cancelled ]; }
    wait_for 60 late_is_over
    [ "$(batch $((last - 1)) error)" = "nobody approved it in time" ]
    [ "$(batch "$last" state)" = waiting ]
    fleet cancel "$last" > /dev/null
    [ "$(inkan approval list --json)" = "[]" ]
    # It stands in nobody's way.
    fleet suspend --select 'device = fill-0000001001'
    fleet release --select 'device = fill-0000001001'
}

@test "anybody who may change units may stop a mass action; it goes on by somebody who may do what it does" {
    inkan fleet compromise --select 'device in (fill-0000000001, fill-0000000002)' --canary 50 --yes || true
    id=$(newest)
    [ "$(batch "$id" state)" = canary ]
    run as alice fleet resume "$id"
    [ "$status" -eq 1 ]
    [[ "$output" = *"device.compromise is for the role"* ]]
    [ "$(batch "$id" state)" = canary ]
    as alice fleet cancel "$id" --yes > /dev/null
    [ "$(batch "$id" state) $(batch "$id" changed)" = "cancelled 1" ]
}

@test "the trail of all this verifies, and an altered row of a step is found" {
    inkan backup --out "$dir/backup.db"
    run inkan audit verify --ledger "$dir/backup.db"
    echo "$output"
    [ "$status" -eq 3 ]
    id=$(inkan fleet list --json | jq -r '[.[] | select(.changed == 3000)][0].id')
    sqlite3 "$dir/backup.db" "DROP TRIGGER status_log_is_final; UPDATE status_log SET reason = 1 WHERE seq = (SELECT min(seq) + 7 FROM status_log WHERE batch = $id)"
    run inkan audit verify --ledger "$dir/backup.db"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" = *"status rows "*" of batch $id were changed"* ]]
}
