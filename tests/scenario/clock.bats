#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A clock that jumps: nothing is issued or signed at a time that cannot be right, and the way back is clear.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_test_clock
    instance_up records_validity=30d
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    group_secret 'clk-*'
    [ "$(enroll clk-known)" = 200 ]
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

status_why() {
    inkan status --json | jq -r .why
}

newest_row() {
    ledger_query "SELECT COUNT(*) || ' ' || (SELECT COUNT(*) FROM intent) FROM cert"
}

# Nothing is issued and nothing signed live; the service says so and takes no harm.
refuses_to_sign() { # NAME
    local before
    before=$(newest_row)
    [ "$(enroll "$1")" = 503 ]
    grep -qi '^retry-after: [1-9]' "$dir/headers"
    [ "$(newest_row)" = "$before" ]
    run inkan cert issue --profile station --name station-1 --csr "$units/$1.csr.der"
    [ "$status" -eq 1 ]
    [ "$(newest_row)" = "$before" ]
    answers "trylater (3)" "$units/clk-known.pem"
    [ "$(ready)" = 503 ]
}

signs() { # NAME
    [ "$(enroll "$1" -k)" = 200 ] && answers good "$units/clk-known.pem" && [ "$(ready)" = 200 ]
}

prepare() { # NAME
    new_csr "$1" "/CN=$1"
    openssl base64 -d -A < "$units/$1.csr" > "$units/$1.csr.der"
}

@test "small jumps in both directions do not disturb" {
    set_clock 1
    signs clk-a0
    set_clock -200
    signs clk-back
    # Never before its issuer, which is younger than that.
    starts() { date -d "$(openssl x509 -in "$1" -noout -startdate | cut -d= -f2)" +%s; }
    [ "$(starts "$units/clk-back.pem")" -ge "$(starts "$dir/fleet-ca.pem")" ]
    set_clock 240
    signs clk-a1
    set_clock 0
    signs clk-a2
    set_clock 1800
    signs clk-a3
    set_clock 1600
    signs clk-a4
    # The time written never runs backwards.
    [ "$(ledger_query "SELECT COUNT(*) FROM audit a JOIN audit b ON b.seq = a.seq + 1 WHERE b.time < a.time")" = 0 ]
}

@test "one hour back while running: nothing is issued, the log names the clock, and it heals by itself" {
    prepare clk-b1
    local before
    before=$(log_lines)
    set_clock -2000
    refuses_to_sign clk-b1
    log_after "$before" | grep 'event=clock-refused' | grep -q 'now=.*floor='
    [[ "$(status_why)" == *clock* ]]
    [ "$(inkan status --json | jq .sealed)" = false ]
    inkan doctor | grep -i clock | grep -q fail
    alarm_is() { [ "$(inkan --json alarm list --all | jq -r '[.[] | select(.kind == "clock-behind")] | last.state')" = "$1" ]; }
    waits_for 60 alarm_is open
    set_clock 1800
    waits_for 60 signs clk-b1
    waits_for 60 alarm_is cleared
}

@test "two hours forward while running: sealed, and a right clock alone does not open it" {
    prepare clk-c1
    local before
    before=$(log_lines)
    set_clock 9000
    refuses_to_sign clk-c1
    log_after "$before" | grep -q 'event=ledger-sealed'
    [ "$(inkan status --json | jq .sealed)" = true ]
    [[ "$(status_why)" == *clock* ]]
    inkan status --json | jq -e '.why as $why | .processes[] | select(.name == "core") | .state == $why'
    set_clock 1800
    sleep 2
    refuses_to_sign clk-c1
    # Neither does a restart.
    stop_service
    start_again
    waits_for 60 answers "trylater (3)" "$units/clk-known.pem"
    refuses_to_sign clk-c1
    run inkan clock accept < /dev/null
    [ "$status" -ne 0 ]
    refuses_to_sign clk-c1
    inkan clock accept --yes
    waits_for 60 signs clk-c1
    [ "$(inkan audit export --json | jq -s '[.[] | select(.event == "clock-accepted")] | length')" = 1 ]
    [ "$(inkan audit export --json | jq -s '[.[] | select(.event == "ledger-sealed")] | length')" = 1 ]
}

@test "one hour back between stop and start: nothing is issued until the clock is right" {
    prepare clk-d1
    stop_service
    set_clock -2000
    start_again
    waits_for 60 answers "trylater (3)" "$units/clk-known.pem"
    refuses_to_sign clk-d1
    set_clock 1800
    waits_for 60 signs clk-d1
}

@test "to 1970, by 400 days, into 2038 and into 2050 while running: refused as long as it lasts, and nothing is ever dated there" {
    local before jump
    before=$(date +%s)
    prepare clk-g1
    set_clock -"$before"
    refuses_to_sign clk-g1
    set_clock 1800
    waits_for 60 signs clk-g1
    for jump in $((400 * 86400)) $((2147483648 - before)) $((2524608000 - before)); do
        prepare "clk-g-$jump"
        set_clock "$jump"
        refuses_to_sign "clk-g-$jump"
        [ "$(inkan status --json | jq .sealed)" = true ]
        set_clock 1800
        inkan clock accept --yes
        waits_for 60 signs "clk-g-$jump"
    done
    ledger_query "SELECT seq, time, event, actor, object, detail FROM audit WHERE time < $before - 60 OR time > $before + 7200"
    [ "$(ledger_query "SELECT COUNT(*) FROM audit WHERE time < $before - 60 OR time > $before + 7200")" = 0 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM status_log WHERE time < $before - 60 OR time > $before + 7200")" = 0 ]
    [ "$(ledger_query "SELECT COUNT(*) FROM crl WHERE this_update > $before + 7200")" = 0 ]
}

@test "40 days forward between stop and start: sealed until accepted" {
    prepare clk-e1
    stop_service
    set_clock $((1800 + 40 * 86400))
    start_again
    waits_for 60 answers "trylater (3)" "$units/clk-known.pem"
    refuses_to_sign clk-e1
    [ "$(inkan status --json | jq .sealed)" = true ]
    set_clock 1800
    inkan clock accept --yes
    waits_for 60 signs clk-e1
}

@test "20 days forward between stop and start is a long holiday: everything is renewed and serves" {
    prepare clk-f1
    stop_service
    set_clock $((1800 + 20 * 86400 + 43200))
    start_again
    waits_for 60 signs clk-f1
    [ "$(inkan status --json | jq .sealed)" = false ]
    # Lists are signed again, and so is the responder's certificate, which is past two thirds of its life.
    lists_are_fresh() { [ "$(inkan crl list --json | jq --argjson t "$(($(date +%s) + 20 * 86400))" '[.[] | select((.issuer == "fleet-ca" or .issuer == "maker-ca") and .this_update > $t)] | length')" = 2 ]; }
    waits_for 60 lists_are_fresh
    responder_is_fresh() { [ "$(inkan ocsp list --json | jq --argjson t "$(($(date +%s) + 49 * 86400))" '[.[] | select(.issuer == "fleet-ca" and .not_after > $t)] | length')" = 1 ]; }
    waits_for 60 responder_is_fresh
    # So is the certificate of the record key; the next one is of the same key.
    record_is_fresh() { [ "$(inkan cert list --profile records --json | jq --argjson t "$(($(date +%s) + 49 * 86400))" '[.[] | select(.not_after > $t)] | length')" = 1 ]; }
    waits_for 60 record_is_fresh
    [ "$(inkan cert list --profile records --json | jq length)" = 2 ]
}
