#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A backup comes back after the world has moved on: nothing that was revoked is good again, no number is used twice.
# The tests build on each other, in this order.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    mkdir -m 777 "$side/elsewhere"
    instance_up "notify=$(echo "  - {name: trail, to: \"file:$side/elsewhere/trail\", send: [audit], history: true}")"
    group_secret 'res-*'
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

published_number() {
    curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" | openssl crl -inform DER -noout -crlnumber | sed 's/.*=//; s/^0x//'
}

restore() {
    "$programs/inkan" restore "$@" -c "$dir/inkan.yaml"
}

@test "a backup is made while the service runs, complete and readable by its owner only" {
    enroll_many res-early- 10 "$side/early" > "$side/load"
    [ "$(jq .issued "$side/load")" = 10 ]
    # Heads from before: one that comes after the copy names what the copy has not.
    waits_for 60 test -s "$dir/marks/audit-heads"
    cp "$dir/marks/audit-heads" "$side/heads"
    inkan backup --out "$side/backup"
    [ "$(stat -c %a "$side/backup")" = 600 ]
    [ "$(sqlite3 -readonly "$side/backup" 'PRAGMA integrity_check')" = ok ]
    [ "$(sqlite3 -readonly "$side/backup" "SELECT COUNT(*) FROM device")" = 10 ]
    inkan audit verify --ledger "$side/backup" --heads "$side/heads"
}

@test "a backup is never overwritten" {
    sha256sum "$side/backup" > "$side/sum"
    run inkan backup --out "$side/backup"
    [ "$status" -eq 1 ]
    [[ "$output" == *"never overwritten"* ]]
    sha256sum -c "$side/sum"
}

@test "while the service runs nothing is restored" {
    run restore "$side/backup"
    [ "$status" -eq 1 ]
    [[ "$output" == *"another process holds"* ]]
    [ "$(enroll res-still)" = 200 ]
    # And there is nothing to accept.
    run inkan restore --accept
    [ "$status" -eq 1 ]
}

@test "after the backup: 100 issues, 10 revocations" {
    enroll_many res-late- 100 "$side/late" --connections 8 > "$side/load"
    [ "$(jq .issued "$side/load")" = 100 ]
    certs_of "$side/early"
    certs_of "$side/late"
    for n in 1 2 3 4 5; do
        inkan cert revoke "$units/res-early-$n.pem" --reason keyCompromise --yes > /dev/null
        inkan cert revoke "$units/res-late-$n.pem" --reason cessationOfOperation --yes > /dev/null
    done
    answers revoked "$units/res-early-1.pem"
    answers revoked "$units/res-late-1.pem"
    inkan crl publish --issuer fleet-ca
    # Enough entries for a head of the trail that the backup knows nothing of.
    heads=$(wc -l < "$dir/marks/audit-heads")
    enroll_many res-more- 500 "$side/more" --connections 8 > "$side/load"
    [ "$(jq .issued "$side/load")" = 500 ]
    head_is_out() { [ "$(wc -l < "$dir/marks/audit-heads")" -gt "$heads" ]; }
    waits_for 120 head_is_out
    ledger_query "SELECT hex(serial) FROM intent" | sort > "$side/serials"
    [ "$(wc -l < "$side/serials")" -gt 110 ]
    newest=$(ledger_query "SELECT MAX(seq) FROM audit")
    all_is_told() { [ "$(tail -n 1 "$side/elsewhere/trail" | jq .seq)" -ge "$newest" ]; }
    waits_for 60 all_is_told
}

@test "a damaged file and the ledger of another service are refused, and the ledger stays" {
    stop_service
    sha256sum "$dir/state/ledger/ledger.db" > "$side/ledger.sum"
    cp "$side/backup" "$side/damaged"
    dd if=/dev/urandom of="$side/damaged" bs=1 seek=20000 count=3000 conv=notrunc 2> /dev/null
    run restore "$side/damaged"
    echo "$output"
    [ "$status" -eq 1 ]
    head -c 40000 "$side/backup" > "$side/cut"
    run restore "$side/cut"
    [ "$status" -eq 1 ]
    run restore /dev/null
    [ "$status" -eq 1 ]
    run restore "$side/not-there"
    [ "$status" -eq 1 ]
    cp "$side/backup" "$side/foreign"
    sqlite3 "$side/foreign" "PRAGMA journal_mode = DELETE; UPDATE meta SET value = CAST('00112233445566778899aabbccddeeff' AS BLOB) WHERE name = 'ledger_id'" > /dev/null
    run restore "$side/foreign"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"is of ledger"* ]]
    sha256sum -c "$side/ledger.sum"
    # The service still starts with what it had.
    start_again
    waits_for 60 health_is_ready
    waits_for 60 answers revoked "$units/res-late-1.pem"
    answers good "$units/res-late-50.pem"
}

@test "a restored ledger is sealed: 503, tryLater, and nothing is signed" {
    stop_service
    cp -p "$dir/state/notify/trail" "$side/told"
    openssl crl -inform DER -in "$dir/state/crl/fleet-ca.crl" -noout -crlnumber | sed 's/.*=//; s/^0x//' > "$side/number"
    restore "$side/backup" > "$side/restored"
    cat "$side/restored"
    grep -q 'kept as' "$side/restored"
    kept=$(ls "$dir"/state/ledger/ledger.db.replaced-*Z)
    [ -s "$kept" ]
    start_again
    waits_for 60 answers "trylater (3)" "$units/res-early-9.pem"
    answers "trylater (3)" "$units/res-early-1.pem"
    answers "trylater (3)" "$units/res-late-50.pem"
    [ "$(enroll res-sealed)" = 503 ]
    waits_for 60 not_ready
    [ "$(inkan status --json | jq .sealed)" = true ]
    run inkan cert revoke "$units/res-early-9.pem" --yes
    [ "$status" -eq 1 ]
    run inkan clock accept --yes
    [ "$status" -eq 1 ]
    # The list that was published stays what it was.
    [ "$(published_number)" = "$(cat "$side/number")" ]
    curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" | openssl crl -inform DER -noout -text | grep -q -i "$(cert_serial "$units/res-early-1.pem")"
    stop_service
    start_again
    waits_for 60 answers "trylater (3)" "$units/res-early-9.pem"
}

@test "accepted: what was revoked is revoked again, what is lost is said" {
    # As if nobody had told inkan-notify while the ledger was sealed.
    kill -STOP "$(pid_of notify)"
    cp -p "$side/told" "$dir/state/notify/trail"
    mv "$side/elsewhere/trail" "$side/trail.before"
    inkan restore --accept --json > "$side/accepted"
    kill -KILL "$(pid_of notify)"
    cat "$side/accepted"
    [ "$(jq .reimported "$side/accepted")" = 10 ]
    jq -r .lost "$side/accepted" | grep -q 'audit entries [0-9]* to [0-9]*'
    jq -r .lost "$side/accepted" | grep -q '5 certificates that only a CRL knows'
    waits_for 60 health_is_ready
    waits_for 60 answers good "$units/res-early-9.pem"
    for n in 1 2 3 4 5; do
        answers revoked "$units/res-early-$n.pem"
        answers revoked "$units/res-late-$n.pem"
    done
    [ "$(inkan cert show "$units/res-early-1.pem" --json | jq -r .reason)" = keyCompromise ]
    answers good "$units/res-early-9.pem"
    answers unknown "$units/res-late-50.pem"
    run inkan restore --accept
    [ "$status" -eq 1 ]
}

@test "who was told more than the restored trail holds is told on from what the backup held" {
    from=$(($(sqlite3 -readonly "$side/backup" "SELECT MAX(seq) FROM audit") + 1))
    [ "$(jq -s 'max_by(.seq).seq' "$side/trail.before")" -gt "$(ledger_query "SELECT MAX(seq) FROM audit")" ]
    told_anew() { inkan audit export --from "$from" | jq -S -c . | cmp - <(jq -S -c . "$side/elsewhere/trail"); }
    waits_for 60 told_anew
    [ "$(head -n 1 "$side/elsewhere/trail" | jq .seq)" = "$from" ]
}

@test "the next list has a higher number and every entry of the one before" {
    local before
    before=$(printf '%d' "0x$(cat "$side/number")")
    higher() { [ "$(printf '%d' "0x$(published_number)")" -gt "$before" ]; }
    waits_for 60 higher
    curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" | openssl crl -inform DER -noout -text > "$side/list"
    for n in 1 2 3 4 5; do
        grep -q -i "$(cert_serial "$units/res-early-$n.pem")" "$side/list"
        grep -q -i "$(cert_serial "$units/res-late-$n.pem")" "$side/list"
    done
}

@test "a device whose certificate is lost enrols again; no serial comes twice" {
    enroll_many res-late- 30 "$side/again" --connections 4 > "$side/load"
    cat "$side/load"
    [ "$(jq .issued "$side/load")" = 30 ]
    ledger_query "SELECT hex(serial) FROM intent" | sort > "$side/serials.now"
    # What both know is what the backup had.
    sqlite3 -readonly "$side/backup" "SELECT hex(serial) FROM intent" | sort > "$side/serials.backup"
    [ -z "$(comm -12 "$side/serials" "$side/serials.now" | comm -23 - "$side/serials.backup")" ]
    [ "$(comm -13 "$side/serials" "$side/serials.now" | wc -l)" -ge 30 ]
}

@test "the trail says what happened: intact inside, and the heads kept elsewhere show the loss" {
    inkan audit export --json > "$side/trail"
    [ "$(jq -s '[.[] | select(.event == "restore-accepted")] | length' "$side/trail")" = 1 ]
    run inkan audit verify
    echo "$output"
    [ "$status" -eq 3 ]
    run inkan audit verify --heads "$dir/marks/audit-heads"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"NOT intact"* ]]
}

@test "an older ledger put in place by hand is noticed by the marks" {
    stop_service
    cp "$side/backup" "$dir/state/ledger/ledger.db"
    rm -f "$dir"/state/ledger/ledger.db-wal "$dir"/state/ledger/ledger.db-shm
    [ "$(id -u)" -ne 0 ] || chown inkan-core: "$dir/state/ledger/ledger.db"
    start_again
    waits_for 60 answers "trylater (3)" "$units/res-early-9.pem"
    [ "$(enroll res-by-hand)" = 503 ]
    [[ "$(inkan status --json | jq -r .why)" == *mark* ]]
    inkan restore --accept
    waits_for 60 health_is_ready
    waits_for 60 answers revoked "$units/res-late-1.pem"
    answers revoked "$units/res-early-1.pem"
    waits_for 60 enrolls res-by-hand
}
