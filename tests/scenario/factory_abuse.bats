#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a station that means harm, or an operator in a hurry, can do to a factory line: as little as possible.
load ../lib/instance
load ../lib/fault
load ../lib/factory

setup_file() {
    instance_up people=yes two_person_above=0
    station_add issue-1 issue
    station_add verify-1 verify
    station_add qa-1 qa
    station_add rework-1 rework
    order_open WO-a
    order_open WO-late "not_after: \"$(date -u -d '+20 sec' +%FT%TZ)\""
    [ "$(unit_issue issue-1 WO-late WO-late-00000001)" = 200 ]
}
teardown_file() { instance_down; }
setup() { instance_load; }

@test "a certificate that an operator revoked does not count: its unit is confirmed with another key" {
    [ "$(unit_issue issue-1 WO-a WO-a-00000001)" = 200 ]
    inkan cert revoke "$units/WO-a-00000001.pem" --reason keyCompromise --yes
    [ "$(unit_confirm WO-a WO-a-00000001)" = 403 ]
    [ "$(unit_state WO-a WO-a-00000001)" = issued ]
    device_key WO-a-00000001
    unit_done WO-a WO-a-00000001
}

@test "a confirm from before a rework does not end the rework" {
    [ "$(unit_issue issue-1 WO-a WO-a-00000002)" = 200 ]
    confirm=$(unit_sign WO-a WO-a-00000002)
    [ "$(unit_post verify-1 WO-a WO-a-00000002 confirm "$confirm")" = 200 ]
    [ "$(unit_post qa-1 WO-a WO-a-00000002 rework)" = 200 ]
    [ "$(unit_post verify-1 WO-a WO-a-00000002 confirm "$confirm")" = 403 ]
    [ "$(body .error)" = challenge-wrong ]
    [ "$(unit_state WO-a WO-a-00000002)" = rework ]
    # Its own key, proven anew, does.
    [ "$(unit_confirm WO-a WO-a-00000002)" = 200 ]
}

@test "a forced close of units under rework takes two persons, and the one who asked must still be one who may" {
    for person in fay gus; do
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$person" -keyout "$dir/$person.key" -out "$dir/$person.csr" 2> /dev/null
        inkan operator add $person --roles factory --csr "$dir/$person.csr" --out "$dir/$person.pem"
    done
    here() { inkan --as "$dir/$1.pem" --key "$dir/$1.key" "${@:2}"; }
    order_open WO-f 'quantity: 2'
    unit_done WO-f WO-f-00000001
    [ "$(unit_post qa-1 WO-f WO-f-00000001 rework)" = 200 ]
    run here fay order close WO-f --force --yes
    echo "$output"
    [ "$status" -eq 3 ]
    [[ $output == *"order.close waits for a second person"* ]]
    id=$(inkan approval list --json | jq '.[0].id')
    run here fay approval approve "$id" --yes
    [[ $output == *"the second person is another one"* ]]
    # A role taken away between asking and approving.
    inkan operator change fay --roles operator
    run here gus approval approve "$id" --yes
    echo "$output"
    [ "$status" -eq 1 ]
    [[ $output == *"fay, who asked for it: order.close is for the role"* ]]
    [ "$(inkan order status WO-f --json | jq -r .state)" = open ]
    inkan operator change fay --roles factory
    here gus approval approve "$id" --yes
    [ "$(inkan order status WO-f --json | jq -r .state)" = closed ]
    [ "$(unit_state WO-f WO-f-00000001)" = scrapped ]
    [ "$(inkan audit export | jq -r 'select(.event == "order-closed" and (.object | test("WO-f"))) | "\(.actor) \(.approvals | length > 100)"')" = "fay true" ]
}

@test "a unit with a long record is still read: the newest events" {
    [ "$(unit_issue issue-1 WO-a WO-a-00000003)" = 200 ]
    for i in $(seq 45); do
        [ "$(unit_post issue-1 WO-a WO-a-00000003 event "{\"event\":\"note\",\"detail\":{\"n\":$i,\"x\":\"$(printf %02000d 0)\"}}")" = 200 ]
    done
    [ "$(as verify-1 "$(factory_url WO-a)/units/WO-a-00000003")" = 200 ]
    [ "$(body '.events[-1].detail.detail.n')" = 45 ]
}

@test "a station cannot add to a unit's record without end; the steps of the unit go on" {
    note() { as issue-1 --json '{"event":"note"}' "$(factory_url WO-a)/units/WO-a-00000003/event"; }
    for _ in $(seq 300); do
        last=$(note)
        [ "$last" = 200 ] || break
    done
    [ "$last" = 403 ]
    [ "$(body .error)" = record-full ]
    events() { sqlite3 "file:$dir/state/ledger/ledger.db?mode=ro" "SELECT count(*) FROM unit_event e JOIN unit u ON u.id = e.unit JOIN device d ON d.id = u.device WHERE device_id = 'WO-a-00000003'"; }
    [ "$(events)" = 256 ]
    [ "$(unit_confirm WO-a WO-a-00000003)" = 200 ]
    [ "$(events)" = 257 ]
}

@test "a station's token gets one number, however often it is asked for; new ones end with the order" {
    order_open WO-t "quantity: 3"
    reserve() { as issue-1 --json "{\"request\":\"$1\"}" "$(factory_url WO-t)/reserve"; }
    for token in a a b c a; do
        [ "$(reserve $token)" = 200 ]
    done
    for token in d e f; do
        [ "$(reserve $token)" = 403 ]
        [ "$(body .error)" = order-full ]
    done
    [ "$(sqlite3 "file:$dir/state/ledger/ledger.db?mode=ro" "SELECT count(*) FROM unit_request r JOIN work_order o ON o.id = r.work_order WHERE order_no = 'WO-t'")" = 3 ]
}

@test "a station gets so many certificates of its own at once" {
    station_add greedy-1 issue L1 --valid 6h
    renew() {
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=greedy-1/O=Example Factory" -keyout "$units/greedy.key" \
            -outform DER 2> /dev/null | openssl base64 -A > "$units/greedy.csr"
        as greedy-1 -H 'Content-Type: application/pkcs10' --data-binary "@$units/greedy.csr" "$(est_url WO-a)/simplereenroll"
    }
    for _ in $(seq 20); do
        [ "$(renew)" = 200 ]
    done
    cp "$units/greedy.csr" "$units/last.csr"
    [ "$(renew)" = 429 ]
    grep -q renewed-often "$dir/body"
    # A lost reply is repeated.
    [ "$(as greedy-1 -H 'Content-Type: application/pkcs10' --data-binary "@$units/last.csr" "$(est_url WO-a)/simplereenroll")" = 200 ]
}

@test "a refusal is told, counted and audited whatever was sent" {
    before=$(inkan audit export | jq -es 'map(select(.event == "unit-refused")) | length')
    name=$(printf 'x%.0s' 1; printf '\303\251%.0s' $(seq 60))
    [ "$(unit_post issue-1 WO-a WO-a-00000003 event "{\"event\":\"note\",\"$name\":1}")" = 400 ]
    [ "$(body .error)" = invalid ]
    [ "$(inkan audit export | jq -es 'map(select(.event == "unit-refused")) | length')" = $((before + 1)) ]
}

@test "the stored certificate is given again after the order's time, and nothing new" {
    cp "$units/WO-late-00000001.pem" "$units/first.pem"
    refused_late() { [ "$(unit_issue issue-1 WO-late WO-late-00000021)" = 403 ] && grep -q order-expired "$dir/body"; }
    wait_for 60 refused_late
    [ "$(unit_issue issue-1 WO-late WO-late-00000001)" = 200 ]
    cmp "$units/WO-late-00000001.pem" "$units/first.pem"
    device_key WO-late-00000001
    [ "$(unit_issue issue-1 WO-late WO-late-00000001)" = 403 ]
    grep -q order-expired "$dir/body"
    [ "$(unit_issue issue-1 WO-late WO-late-00000002)" = 403 ]
    grep -q order-expired "$dir/body"
}

# long_order NAME IDS: $dir/NAME.jws, which lists so many ids.
long_order() {
    seq -f "$1-%.0f" 1 "$2" | jq -cRS --arg order "$1" --arg from "$(date -u -d '-1 min' +%FT%TZ)" --arg to "$(date -u -d '+1 day' +%FT%TZ)" -n '[inputs] | {
        order: $order, domain: "example", product: "meter", quantity: 1000, profile: "idevid", key_mode: "device", device_ids: {list: .},
        stations: ["line:L1"], not_before: $from, not_after: $to, rekeys: 1, rework: 1, orphan_after_s: 3600}' > "$dir/$1.json"
    "$programs/inkan" order sign "$dir/$1.json" --key "$dir/order-signer.key" --out "$dir/$1.jws"
}

# longest_waits COMMAND...: what others wait at most while it runs
longest_waits() {
    "$source_dir/tests/lib/answer_times.py" "https://localhost:$port" "$dir/fleet-root.pem" "$dir/issue-1" WO-busy \
        "$programs/inkan --socket $dir/run/admin.sock" "$@"
}

# 100 ms, or twice what a neighbour on the machine makes everybody wait anyhow; of three orders one must not add to that.
@test "nobody waits while an order of a long list is opened" {
    local i
    order_open WO-busy "quantity: 100000"
    for i in 1 2 3; do
        long_order "WO-long-$i" 400000
        longest_waits sleep 1 > "$dir/without"
        longest_waits "$programs/inkan" --socket "$dir/run/admin.sock" order open "$dir/WO-long-$i.jws" > "$dir/with"
        cat "$dir/without" "$dir/with"
        no_wait=$(jq -s '([.[0].reserve, .[0].order, .[0].status] | max * 2) as $usual | ([100, $usual] | max) as $limit |
            .[1].n > 3 and ([.[1].reserve, .[1].order, .[1].status] | max) < $limit' "$dir/without" "$dir/with")
        [ "$no_wait" = false ] || break
    done
    [ "$no_wait" = true ]
    inkan order status "WO-long-$i" --json | jq -e '.state == "open"'
    [ "$(unit_issue issue-1 "WO-long-$i" "WO-long-$i-400000")" = 200 ]
}

@test "an order that a kill left half open says so, and goes on when its file is opened again" {
    local half
    state_is() { [ "$(inkan order status "$half" --json 2> /dev/null | jq -r .state)" = "$1" ]; }
    begun() { state_is opening || state_is open; }
    for half in WO-half-{1..9}; do # one may be open before the kill comes
        long_order "$half" 400000
        inkan order open "$dir/$half.jws" > /dev/null 2>&1 3>&- &
        wait_for 60 begun
        kill -9 "$(cat "$dir/run/core.pid")"
        wait || true
        wait_for 60 health_is_ready
        state_is open || break
    done
    inkan order status "$half" | grep -q 'needs.*its file: inkan order open'
    inkan order list | grep -q "$half.*its file: inkan order open"
    [ "$(unit_issue issue-1 "$half" "$half-1")" = 404 ]
    inkan order open "$dir/$half.jws" | grep -q 'state.*open'
    [ "$(sqlite3 "file:$dir/state/ledger/ledger.db?mode=ro" "SELECT count(*) FROM order_id i JOIN work_order o ON o.id = i.work_order WHERE order_no = '$half'")" = 400000 ]
    [ "$(sqlite3 "file:$dir/state/ledger/ledger.db?mode=ro" "SELECT hex(f.octets) FROM order_file f JOIN work_order o ON o.id = f.work_order WHERE order_no = '$half' ORDER BY part" |
        tr -d '\n' | xxd -r -p | sha256sum)" = "$(sha256sum < "$dir/$half.jws")" ]
    [ "$(unit_issue issue-1 "$half" "$half-1")" = 200 ]
    no grep -q needs <(inkan order status "$half")
}

@test "one file is opened by one call at a time" {
    local long
    for long in WO-twice-{1..9}; do # all but the first may come when it is open
        long_order "$long" 200000
        for i in 1 2 3; do
            inkan order open "$dir/$long.jws" > "$dir/open.$i" 2>&1 3>&- &
        done
        wait
        cat "$dir"/open.?
        [ "$(inkan audit export | jq -es --arg o "order:$long" 'map(select(.event == "order-opened" and .object == $o)) | length')" = 1 ]
        ! grep -q 'is being opened by another call' "$dir"/open.? || break
    done
    grep -q 'is being opened by another call' "$dir"/open.?
}

@test "a label of the configuration with an order's name takes its place, and everything else goes on" {
    order_open WO-l
    sed -i '/^labels:/a\  - {name: WO-l, domain: example, profile: ldevid, auth_cert: true, auth_password: false}' "$dir/inkan.yaml"
    kill -HUP "$(cat "$dir/run/inkand.pid")"
    wait_for 60 grep -q 'order WO-l: the configuration has an EST label of that name' "$dir/log/inkan.log"
    [ "$(unit_issue issue-1 WO-a WO-a-00000004)" = 200 ]
    no grep -q core-link-broken "$dir/log/inkan.log"
}

@test "more open orders than the fronts have room for are refused, and none of them is harmed" {
    stop_service
    sqlite3 "$dir/state/ledger/ledger.db" "INSERT INTO work_order SELECT NULL, 'M-' || value, domain, product, model, lot, line, profile, key_mode,
            quantity, by_list, 'M-' || value || '-', first, digits, stations, firmware, targets, not_before, not_after, rekeys_allowed, rework_allowed,
            defer_allowed, orphan_after_s, evidence, customer_key, note, file_hash, signer, kid, state, opened_at, closed_at, units_after
            FROM work_order, generate_series(1, 500) WHERE order_no = 'WO-a';
        INSERT INTO order_tally SELECT id, 0,0,0,0,0,0,0,0,0,0,0,0,0 FROM work_order WHERE order_no LIKE 'M-%';
        INSERT INTO order_report SELECT id, x'' FROM work_order WHERE order_no LIKE 'M-%'"
    start_service 3>&-
    wait_for 60 health_is_ready
    [ "$(unit_issue issue-1 M-500 M-500-00000001)" = 200 ]
    run order_open WO-one-more
    [ "$status" = 1 ]
    [[ $output == *"close those that are done"* ]]
}

@test "a station that is refused all the time does not fill the trail; the order counts every refusal" {
    start_refused=$(refused WO-a unit-not-reserved)
    began=$SECONDS
    curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/verify-1.pem" --key "$dir/verify-1.key" -o /dev/null \
        "$(factory_url WO-a)/units/x-[1-900]/challenge"
    [ "$(refused WO-a unit-not-reserved)" = $((start_refused + 900)) ]
    told=$(inkan audit export | jq -es 'map(select(.event == "unit-refused" and (.object | startswith("unit:WO-a/x-")))) | length')
    [ "$told" -ge 500 ]
    [ "$told" -le $((500 + 2 * (SECONDS - began + 10))) ] # two a second
    # An alarm that is new is always told.
    device_key WO-a-00000005 "$units/WO-a-00000003.key"
    [ "$(unit_issue issue-1 WO-a WO-a-00000005)" = 403 ]
    told_often() { inkan audit export | jq -es 'any(.event == "unit-refused-often")'; }
    wait_for 60 told_often
}

@test "a station's or an operator's end is not confirmed before every front goes by it" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ida -keyout "$dir/ida.key" -out "$dir/ida.csr" 2> /dev/null
    inkan operator add ida --roles factory --csr "$dir/ida.csr" --out "$dir/ida.pem"
    station_add gone-1 issue
    front=$(pid_of front-0)
    for end in "station revoke gone-1" "operator end ida"; do
        kill -STOP "$front"
        # shellcheck disable=SC2086
        inkan $end --yes > "$dir/ended" 2>&1 3>&- &
        ending=$!
        sleep 1
        kill -0 "$ending"
        kill -CONT "$front"
        wait "$ending"
    done
}
