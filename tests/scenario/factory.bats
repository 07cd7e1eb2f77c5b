#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A factory line: work orders, stations, and every unit one identity, whatever is repeated. curl and openssl are station and device.
load ../lib/instance
load ../lib/factory

setup_file() {
    instance_up 'extra_labels=  - {name: stations, domain: example, profile: station, auth_cert: true, auth_password: false}
'
    station_add issue-1 issue
    station_add issue-2 issue
    station_add verify-1 verify
    station_add load-1 load
    station_add pack-1 pack
    station_add qa-1 qa
    station_add rework-1 rework
    station_add far-1 issue,verify,pack L9
    order_open WO-1
    # Two that have to wait: for units to be overdue, and for their end.
    order_open WO-h 'orphan_after_s: 10'
    order_open WO-late "not_after: \"$(date -u -d '+20 sec' +%FT%TZ)\""
    for unit in WO-late-00000001 WO-h-00000001 WO-h-00000002; do
        [ "$(unit_issue issue-1 "${unit%-*}" $unit)" = 200 ]
    done
    order_open WO-2 'quantity: 3, device_ids: {list: ["x-1", "x-2", "x-3", "x-4"]}, firmware: ["1.4.2"], rekeys: 1, rework: 1'
}
teardown_file() { instance_down; }
setup() { instance_load; }

# refuses ORDER REASON STATUS HTTP-STATUS: the answer had this status, names the reason, and the order counted it once more
refuses() {
    [ "$4" = "$3" ]
    grep -q "$2: " "$dir/body" || [ "$(body .error)" = "$2" ]
    [ "$(refused "$1" "$2")" -gt "${before:-0}" ]
}

@test "curl alone provisions a unit: issue, challenge, confirm, pack, ship" {
    [ "$(unit_issue issue-1 WO-1 WO-1-00000001 -H 'Inkan-Unit: badge=B-77;tool=curl/1;firmware=1.4.2')" = 200 ]
    openssl verify -CAfile "$dir/maker-root.pem" -untrusted "$dir/maker-ca.pem" "$units/WO-1-00000001.pem"
    openssl x509 -in "$units/WO-1-00000001.pem" -noout -subject | grep -q 'serialNumber = WO-1-00000001'
    [ "$(unit_post verify-1 WO-1 WO-1-00000001 event '{"event":"read-back","detail":{"ms":12}}')" = 200 ]
    [ "$(unit_confirm WO-1 WO-1-00000001)" = 200 ]
    [ "$(body .state)" = confirmed ]
    [ "$(body .serial)" = "$(cert_serial "$units/WO-1-00000001.pem")" ]
    [ "$(unit_post pack-1 WO-1 WO-1-00000001 pack '{"carton":"C-1"}')" = 200 ]
    [ "$(unit_post pack-1 WO-1 WO-1-00000001 ship)" = 200 ]
    [ "$(as load-1 "$(factory_url WO-1)/units/WO-1-00000001")" = 200 ]
    [ "$(body '[.events[].event] | join(" ")')" = "reserved issued read-back confirmed packed shipped" ]
    [ "$(body '.events[1] | .station + " " + .badge + " " + .tool')" = "issue-1 B-77 curl/1" ]
    [ "$(body .events[2].detail.detail.ms)" = 12 ]
    # Serial and key of the certificate are in the record, and what the order allows is told.
    [ "$(body '.events[1].detail.cert | .serial + " " + .spki_sha256')" = "$(cert_serial "$units/WO-1-00000001.pem") $(openssl x509 -in "$units/WO-1-00000001.pem" -noout -pubkey |
        openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1)" ]
    [ "$(inkan order status WO-1 --json | jq -c '[.device_ids, .stations, .evidence]')" = '["WO-1-00000001 to WO-1-00000020",["line:L1"],"none"]' ]
    [ "$(inkan device show WO-1-00000001 --json | jq -r '[.order, .line, .firmware, .anchor] | join(" ")')" = "WO-1 L1 1.4.2 example-maker" ]
}

@test "the same key asked for again gets the same bytes, from whichever station, before and after the confirm" {
    [ "$(unit_issue issue-1 WO-1 WO-1-00000002)" = 200 ]
    cp "$units/WO-1-00000002.pem" "$units/first.pem"
    [ "$(unit_issue issue-2 WO-1 WO-1-00000002)" = 200 ]
    cmp "$units/WO-1-00000002.pem" "$units/first.pem"
    [ "$(unit_confirm WO-1 WO-1-00000002)" = 200 ]
    [ "$(unit_issue issue-1 WO-1 WO-1-00000002)" = 200 ]
    cmp "$units/WO-1-00000002.pem" "$units/first.pem"
    [ "$(inkan cert list --device WO-1-00000002 --json | jq length)" = 1 ]
}

@test "what was done before is said again and changes nothing" {
    [ "$(unit_confirm WO-1 WO-1-00000002)" = 200 ]
    [ "$(body .repeat)" = true ]
    [ "$(unit_post pack-1 WO-1 WO-1-00000002 pack)" = 200 ]
    [ "$(body .repeat)" = null ]
    [ "$(unit_post pack-1 WO-1 WO-1-00000002 pack)" = 200 ]
    [ "$(body .repeat)" = true ]
    [ "$(as verify-1 "$(factory_url WO-1)/units/WO-1-00000002")" = 200 ]
    [ "$(body '[.events[].event] | join(" ")')" = "reserved issued confirmed packed" ]
}

@test "a new key before the confirm is a re-key within the allowance: the old certificate is superseded with it" {
    [ "$(unit_issue issue-1 WO-1 WO-1-00000003)" = 200 ]
    cp "$units/WO-1-00000003.pem" "$units/old.pem"
    device_key WO-1-00000003
    [ "$(unit_issue issue-1 WO-1 WO-1-00000003)" = 200 ]
    no cmp -s "$units/WO-1-00000003.pem" "$units/old.pem"
    [ "$(inkan cert show "$units/old.pem" --json | jq -r '.status + " " + .reason')" = "revoked superseded" ]
    [ "$(count WO-1 rekeyed)" = 1 ]
    # The challenge was of the old certificate: it is of no use for the new one.
    [ "$(unit_confirm WO-1 WO-1-00000003)" = 200 ]
    # The allowance of one is used.
    [ "$(unit_issue issue-1 WO-1 WO-1-00000004)" = 200 ]
    cp "$units/WO-1-00000004.pem" "$units/old.pem"
    device_key WO-1-00000004
    refuses WO-1 rekeys-used 403 "$(unit_issue issue-1 WO-1 WO-1-00000004)"
    [ "$(inkan cert show "$units/old.pem" --json | jq -r .status)" = good ]
}

@test "a new key after the confirm is refused: only a rework opens the unit" {
    device_key WO-1-00000002
    refuses WO-1 unit-confirmed 403 "$(unit_issue issue-1 WO-1 WO-1-00000002)"
}

@test "the key of another unit is refused with an alarm, and an entry in the trail" {
    device_key WO-1-00000005 "$units/WO-1-00000001.key"
    refuses WO-1 key-of-other-unit 403 "$(unit_issue issue-1 WO-1 WO-1-00000005)"
    inkan doctor --json > "$dir/doctor" || true
    jq -e '.[] | select(.text | contains("certified for another unit"))' "$dir/doctor"
    inkan audit export | jq -es 'map(select(.event == "unit-refused" and .object == "unit:WO-1/WO-1-00000005" and (.detail | fromjson).alarm == "key-of-other-unit")) | length == 1'
    [ "$(inkan order units WO-1 --json | jq '[.[] | select(.device_id == "WO-1-00000005")] | length')" = 0 ]
}

@test "devices that are not of the order, wrong stations and roles, unknown orders are refused and counted" {
    refuses WO-1 device-not-in-order 403 "$(unit_issue issue-1 WO-1 WO-1-00000021)"
    refuses WO-1 device-not-in-order 403 "$(unit_issue issue-1 WO-1 WO-1-0000006)"
    refuses WO-1 wrong-station 403 "$(unit_issue far-1 WO-1 WO-1-00000006)"
    refuses WO-1 wrong-role 403 "$(unit_issue verify-1 WO-1 WO-1-00000006)"
    refuses WO-1 wrong-role 403 "$(unit_post issue-1 WO-1 WO-1-00000001 pack)"
    refuses WO-1 wrong-role 403 "$(as issue-1 "$(factory_url WO-1)/units/WO-1-00000001/challenge")"
    refuses WO-1 unit-not-reserved 404 "$(as verify-1 "$(factory_url WO-1)/units/WO-1-00000006/challenge")"
    [ "$(as issue-1 "$(factory_url WO-9)")" = 404 ]
    [ "$(body .error)" = unknown-order ]
    [ "$(unit_issue issue-1 WO-9 WO-9-00000001)" = 404 ]
    # A device's certificate is no station's, whatever is in it.
    [ "$(curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/WO-1-00000001.pem" --key "$units/WO-1-00000001.key" -o "$dir/body" -w '%{http_code}' \
        "$(factory_url WO-1)")" = 403 ]
    [ "$(as issue-1 --json '{"device_id":"WO-1-00000006","colour":"red"}' "$(factory_url WO-1)/reserve")" = 400 ]
    [ "$(unit_issue issue-1 WO-1 WO-1-00000006 -H 'Inkan-Unit: badge=1;badge=2')" = 400 ]
}

@test "firmware outside the order, a device of another order, and more units than ordered are refused and counted" {
    refuses WO-2 unknown-firmware 403 "$(unit_issue issue-1 WO-2 x-1 -H 'Inkan-Unit: firmware=1.4.1')"
    [ "$(unit_issue issue-1 WO-2 x-1 -H 'Inkan-Unit: firmware=1.4.2')" = 200 ]
    [ "$(unit_confirm WO-2 x-1)" = 200 ]
    [ "$(unit_issue issue-1 WO-2 x-2)" = 200 ]
    refuses WO-2 unknown-firmware 403 "$(unit_confirm WO-2 x-2)"
    [ "$(unit_post verify-1 WO-2 x-2 confirm "$(unit_sign WO-2 x-2 | jq -c '. + {firmware: "1.4.2"}')")" = 200 ]
    [ "$(inkan device show x-2 --json | jq -r .firmware)" = 1.4.2 ]
    refuses WO-2 device-not-in-order 403 "$(unit_issue issue-1 WO-2 x-5)"
    inkan device add x-4 > /dev/null
    refuses WO-2 device-exists 403 "$(unit_issue issue-1 WO-2 x-4)"
    [ "$(as load-1 --json '{"device_id":"x-3"}' "$(factory_url WO-2)/reserve")" = 200 ]
    refuses WO-2 order-full 403 "$(unit_issue issue-1 WO-2 x-6)"
}

@test "an order before its time and one after it refuse" {
    order_open WO-early "not_before: \"$(date -u -d '+1 hour' +%FT%TZ)\""
    refuses WO-early order-not-yet 403 "$(unit_issue issue-1 WO-early WO-early-00000001)"
    late_is_over() { unit_issue issue-1 WO-late WO-late-00000021 > /dev/null; grep -q order-expired "$dir/body"; }
    wait_for 60 late_is_over
    refuses WO-late order-expired 403 "$(unit_issue issue-1 WO-late WO-late-00000002)"
    # What it has may be finished.
    [ "$(unit_confirm WO-late WO-late-00000001)" = 200 ]
}

@test "the next number of a range is allotted once for a station's token" {
    order_open WO-3 'quantity: 3'
    [ "$(as load-1 --json '{"request":"a"}' "$(factory_url WO-3)/reserve")" = 200 ]
    [ "$(body .device_id)" = WO-3-00000001 ]
    [ "$(as load-1 --json '{"request":"a"}' "$(factory_url WO-3)/reserve")" = 200 ]
    [ "$(body '.device_id + " " + (.repeat | tostring)')" = "WO-3-00000001 true" ]
    # Another station's token is another token; a number that was named before its turn is passed over.
    [ "$(unit_issue issue-1 WO-3 WO-3-00000002)" = 200 ]
    [ "$(as issue-1 --json '{"request":"a"}' "$(factory_url WO-3)/reserve")" = 200 ]
    [ "$(body .device_id)" = WO-3-00000003 ]
    refuses WO-3 order-full 403 "$(as load-1 --json '{"request":"b"}' "$(factory_url WO-3)/reserve")"
    [ "$(count WO-3 reserved)" = 3 ]
}

@test "a wrong, a stale or a foreign challenge and a wrong key do not confirm" {
    [ "$(unit_issue issue-1 WO-1 WO-1-00000007)" = 200 ]
    [ "$(unit_issue issue-1 WO-1 WO-1-00000008)" = 200 ]
    confirm=$(unit_sign WO-1 WO-1-00000007)
    refuses WO-1 challenge-wrong 403 "$(unit_post verify-1 WO-1 WO-1-00000008 confirm "$confirm")"
    refuses WO-1 challenge-wrong 403 "$(unit_post verify-1 WO-1 WO-1-00000007 confirm "$(jq -c '.challenge |= sub(".$"; "z")' <<< "$confirm")")"
    refuses WO-1 signature-wrong 403 "$(unit_post verify-1 WO-1 WO-1-00000007 confirm "$(unit_sign WO-1 WO-1-00000007 "$units/WO-1-00000008.key")")"
    # The time is under the MAC: an old challenge cannot be made young.
    later=$(jq -c '.challenge |= (split(" ") | .[4] = ((.[4] | tonumber) + 1 | tostring) | join(" "))' <<< "$confirm")
    refuses WO-1 challenge-wrong 403 "$(unit_post verify-1 WO-1 WO-1-00000007 confirm "$later")"
    [ "$(unit_state WO-1 WO-1-00000007)" = issued ]
    refuses WO-1 unit-not-confirmed 409 "$(unit_post pack-1 WO-1 WO-1-00000007 pack)"
    [ "$(unit_post verify-1 WO-1 WO-1-00000007 confirm "$confirm")" = 200 ]
}

@test "a unit is no device of the fleet before it is shipped" {
    [ "$(unit_issue issue-1 WO-1 WO-1-00000009)" = 200 ]
    new_csr fleet-9 /CN=WO-1-00000009
    [ "$(est_enroll fleet-9 --cert "$units/WO-1-00000009.pem" --key "$units/WO-1-00000009.key")" = 403 ]
    grep -q 'the device is provisioned, not shipped' "$dir/body"
    [ "$(unit_confirm WO-1 WO-1-00000009)" = 200 ]
    [ "$(est_enroll fleet-9 --cert "$units/WO-1-00000009.pem" --key "$units/WO-1-00000009.key")" = 403 ]
    inkan device ship WO-1-00000009
    [ "$(est_enroll fleet-9 --cert "$units/WO-1-00000009.pem" --key "$units/WO-1-00000009.key")" = 200 ]
}

@test "evidence is asked for where the order wants it, and kept" {
    order_open WO-e 'evidence: "required"'
    [ "$(unit_issue issue-1 WO-e WO-e-00000001)" = 200 ]
    refuses WO-e evidence-missing 403 "$(unit_confirm WO-e WO-e-00000001)"
    [ "$(unit_post verify-1 WO-e WO-e-00000001 confirm "$(unit_sign WO-e WO-e-00000001 | jq -c '. + {evidence: {chip: "se050", uid: "04ab"}}')")" = 200 ]
    [ "$(inkan unit show WO-e/WO-e-00000001 --json | jq -r '.events[-1].detail.evidence.uid')" = 04ab ]
}

@test "a secret is told once to the station and opened by the customer alone: RSA, P-256, P-384" {
    local name key order
    for name in rsa:2048 P-256 P-384; do
        order=WO-k-${name#*:} key=(rsa:2048)
        [ "$name" = rsa:2048 ] || key=(ec -pkeyopt "ec_paramgen_curve:$name")
        order_open "$order" "$(customer_key "owner-$name" "${key[@]}")"
        [ "$(inkan order status "$order" --json | jq -r .customer_key_sha256)" = "$(openssl x509 -in "$units/owner-$name.pem" -outform DER | sha256sum | cut -d' ' -f1)" ]
        unit_done "$order" "$order-00000001" # this one has no secret
        [ "$(unit_issue issue-1 "$order" "$order-00000002")" = 200 ]
        [ "$(unit_post issue-1 "$order" "$order-00000002" secret)" = 200 ]
        lost=$(body .secret)
        [ "$(unit_post issue-2 "$order" "$order-00000002" secret '{"badge":"B-77"}')" = 200 ]
        secret=$(body .secret)
        [ ${#secret} = 64 ]
        [ "$secret" != "$lost" ]
        [ "$(unit_confirm "$order" "$order-00000002")" = 200 ]
        refuses "$order" unit-confirmed 403 "$(unit_post issue-1 "$order" "$order-00000002" secret)"
        rm -rf "$dir/handed"
        inkan order export "$order" --format native --out "$dir/handed" > /dev/null
        jq -c '.payload | gsub("-"; "+") | gsub("_"; "/") | @base64d | fromjson' "$dir/handed/units.jsonl" > "$dir/lines"
        [ "$(jq -s 'map(has("secret_cms")) | tostring' "$dir/lines")" = '"[false,true]"' ]
        jq -r '.secret_cms // empty' "$dir/lines" | openssl base64 -d -A > "$dir/secret.cms"
        openssl cms -decrypt -inform DER -in "$dir/secret.cms" -inkey "$units/owner-$name.key" -recip "$units/owner-$name.pem" -out "$dir/opened"
        [ "$(jq -c . "$dir/opened")" = "{\"device_id\":\"$order-00000002\",\"order\":\"$order\",\"secret\":\"$secret\"}" ]
        no openssl cms -decrypt -inform DER -in "$dir/secret.cms" -inkey "$units/WO-1-00000001.key" -out "$dir/opened" 2> /dev/null
        no grep -rqiE "$secret|$lost" "$dir/state" "$dir/log" "$dir/marks" "$dir/handed"
    done
    [ "$(inkan unit show "$order/$order-00000002" --json | jq -r '[.events[].event] | join(" ")')" = "reserved issued secret secret confirmed" ]
    inkan device history "$order-00000002" > "$dir/history"
    grep -q 'secret  ' "$dir/history"
    no grep -q cms "$dir/history"
    # The trail has the digest of each, and the customer's is the newest.
    [ "$(inkan audit export | jq -r --arg unit "unit:$order/$order-00000002" 'select(.event == "unit-secret" and .object == $unit) | .detail' | tail -n 1)" = \
        "{\"cms_sha256\":\"$(sha256sum < "$dir/secret.cms" | cut -d' ' -f1)\"}" ]
}

@test "no secret without a customer's key, for another role, or for a unit that ended; a rework opens it" {
    refuses WO-1 no-customer-key 403 "$(unit_post issue-1 WO-1 WO-1-00000001 secret)"
    refuses WO-k-P-256 wrong-role 403 "$(unit_post verify-1 WO-k-P-256 WO-k-P-256-00000001 secret)"
    refuses WO-k-P-256 unit-not-reserved 404 "$(unit_post issue-1 WO-k-P-256 WO-k-P-256-00000003 secret)"
    [ "$(unit_post qa-1 WO-k-P-256 WO-k-P-256-00000001 rework)" = 200 ]
    refuses WO-k-P-256 wrong-role 403 "$(unit_post issue-1 WO-k-P-256 WO-k-P-256-00000001 secret)"
    [ "$(unit_post rework-1 WO-k-P-256 WO-k-P-256-00000001 secret)" = 200 ]
    [ "$(unit_post qa-1 WO-k-P-256 WO-k-P-256-00000002 scrap)" = 200 ]
    refuses WO-k-P-256 unit-ended 409 "$(unit_post issue-1 WO-k-P-256 WO-k-P-256-00000002 secret)"
    # A key that may sign only receives nothing.
    order_sign WO-k-no "$(customer_key signs ec -pkeyopt ec_paramgen_curve:P-256 -addext keyUsage=digitalSignature)" > "$dir/no.jws"
    run inkan order open "$dir/no.jws"
    [ "$status" -eq 1 ]
    [[ $output == *'"customer_key" must be one certificate'* ]]
}

@test "scrap before the confirm voids, after it scraps: revoked, and the device is stopped" {
    [ "$(unit_issue issue-1 WO-1 WO-1-00000010)" = 200 ]
    [ "$(unit_post qa-1 WO-1 WO-1-00000010 scrap '{"reason":"solder bridge"}')" = 200 ]
    [ "$(body .state)" = void ]
    [ "$(inkan cert show "$units/WO-1-00000010.pem" --json | jq -r '.status + " " + .reason')" = "revoked cessationOfOperation" ]
    refuses WO-1 unit-ended 403 "$(unit_issue issue-1 WO-1 WO-1-00000010)"
    unit_done WO-1 WO-1-00000011
    [ "$(unit_post qa-1 WO-1 WO-1-00000011 scrap)" = 200 ]
    [ "$(body .state)" = scrapped ]
    [ "$(inkan cert show "$units/WO-1-00000011.pem" --json | jq -r .status)" = revoked ]
    [ "$(inkan device show WO-1-00000011 --json | jq -r .state)" = scrapped ]
    refuses WO-1 unit-ended 409 "$(unit_post pack-1 WO-1 WO-1-00000011 pack)"
    # Of its record only what is said of its label and its end goes on.
    [ "$(unit_post qa-1 WO-1 WO-1-00000011 event '{"event":"label-void","reason":"scrapped"}')" = 200 ]
    refuses WO-1 unit-ended 409 "$(unit_post qa-1 WO-1 WO-1-00000011 event '{"event":"tested"}')"
    refuses WO-1 unit-shipped 409 "$(unit_post qa-1 WO-1 WO-1-00000001 scrap)"
    # A number that was only reserved is given back.
    [ "$(as load-1 --json '{"device_id":"WO-1-00000012"}' "$(factory_url WO-1)/reserve")" = 200 ]
    [ "$(unit_post qa-1 WO-1 WO-1-00000012 scrap)" = 200 ]
    [ "$(body .state)" = unused ]
}

@test "rework opens a confirmed unit once more: the old certificate is good until the new one is issued" {
    unit_done WO-1 WO-1-00000013
    cp "$units/WO-1-00000013.pem" "$units/old.pem"
    refuses WO-1 wrong-role 403 "$(unit_post issue-1 WO-1 WO-1-00000013 rework)"
    [ "$(unit_post qa-1 WO-1 WO-1-00000013 rework '{"reason":"new radio"}')" = 200 ]
    [ "$(inkan cert show "$units/old.pem" --json | jq -r .status)" = good ]
    device_key WO-1-00000013
    refuses WO-1 rework-open 403 "$(unit_issue issue-1 WO-1 WO-1-00000013)"
    [ "$(unit_issue rework-1 WO-1 WO-1-00000013)" = 200 ]
    [ "$(inkan cert show "$units/old.pem" --json | jq -r '.status + " " + .reason')" = "revoked superseded" ]
    [ "$(unit_state WO-1 WO-1-00000013)" = issued ]
    # It is not finished: the order does not close over it.
    run inkan order close WO-1 --yes
    [ "$status" = 1 ]
    [[ $output == *"under rework"* ]]
    [ "$(unit_confirm WO-1 WO-1-00000013)" = 200 ]
    [ "$(count WO-1 reworked)" = 1 ]
    refuses WO-1 rework-used 403 "$(unit_post qa-1 WO-1 WO-1-00000013 rework)"
}

@test "a unit that is not confirmed in time goes on hold; the right confirm releases it" {
    wait_for 60 sh -c "'$programs/inkan' --socket '$dir/run/admin.sock' order units WO-h --state held --json | grep -q 00000002"
    [ "$(inkan cert show "$units/WO-h-00000001.pem" --json | jq -r '.status + " " + .reason')" = "on_hold certificateHold" ]
    # Asked again with the same key it gets the same bytes; they are good again once they are proven.
    cp "$units/WO-h-00000001.pem" "$units/first.pem"
    [ "$(unit_issue issue-2 WO-h WO-h-00000001)" = 200 ]
    cmp "$units/WO-h-00000001.pem" "$units/first.pem"
    [ "$(unit_confirm WO-h WO-h-00000001)" = 200 ]
    [ "$(inkan cert show "$units/WO-h-00000001.pem" --json | jq -r .status)" = good ]
    [ "$(unit_state WO-h WO-h-00000002)" = held ]
}

@test "a station renews its certificate until its registration ends, and is nobody once it is revoked" {
    station_add short-1 issue L1 --valid 6h
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=short-1/O=Example Factory" -keyout "$units/short.key" \
        -outform DER 2> /dev/null | openssl base64 -A > "$units/short.csr"
    for label in WO-1 stations; do
        [ "$(as short-1 -H 'Content-Type: application/pkcs10' --data-binary "@$units/short.csr" "$(est_url $label)/simplereenroll")" = 200 ]
    done
    openssl base64 -d -A < "$dir/body" | openssl pkcs7 -inform DER -print_certs > "$units/short.pem"
    end=$(date -d "$(openssl x509 -in "$units/short.pem" -noout -enddate | cut -d= -f2)" +%s)
    [ "$end" = "$(inkan station list --json | jq '.[] | select(.name == "short-1").not_after')" ]
    cp "$units/short.pem" "$dir/short-1.pem"
    cp "$units/short.key" "$dir/short-1.key"
    [ "$(unit_issue short-1 WO-1 WO-1-00000014)" = 200 ]
    inkan station revoke short-1 --yes
    [ "$(inkan cert show "$dir/short-1.pem" --json | jq -r .status)" = revoked ]
    [ "$(unit_issue short-1 WO-1 WO-1-00000015)" = 403 ]
    grep -q station-revoked "$dir/body"
    run inkan station add short-1 --line L1 --role issue --csr "$dir/short-1.csr" --out "$dir/x.pem"
    [ "$status" = 1 ]
}

@test "the core is killed between the steps: nothing is lost, nothing is done twice" {
    for step in issue challenge confirm pack; do
        unit=WO-1-0000001$((6 + ${n:-0}))
        n=$((${n:-0} + 1))
        [ $step = issue ] || [ "$(unit_issue issue-1 WO-1 $unit)" = 200 ]
        [ $step = issue ] || cp "$units/$unit.pem" "$units/first.pem"
        case $step in
        confirm) confirm=$(unit_sign WO-1 $unit) ;;
        pack) [ "$(unit_confirm WO-1 $unit)" = 200 ] ;;
        esac
        kill -9 "$(cat "$dir/run/core.pid")"
        wait_for 60 health_is_ready
        [ "$(unit_issue issue-1 WO-1 $unit)" = 200 ]
        [ $step = issue ] || cmp "$units/$unit.pem" "$units/first.pem"
        # A challenge from before is good after: nothing of it was in memory.
        [ "$(unit_post verify-1 WO-1 $unit confirm "${confirm:-$(unit_sign WO-1 $unit)}")" = 200 ]
        [ "$(unit_post pack-1 WO-1 $unit pack)" = 200 ]
        confirm=
        [ "$(inkan cert list --device $unit --json | jq length)" = 1 ]
        [ "$(inkan unit show WO-1/$unit --json | jq -r '[.events[].event] | join(" ")')" = "reserved issued confirmed packed" ]
    done
}

@test "closing revokes what was never confirmed, and the three equations hold" {
    inkan order close WO-h --yes --json > "$dir/closed"
    [ "$(jq -r .state "$dir/closed")" = closed ]
    [ "$(jq -c '.counts | [.reserved, .issued, .unused, .confirmed, .void, .orphan]' "$dir/closed")" = "[2,2,0,1,0,1]" ]
    [ "$(inkan cert show "$units/WO-h-00000002.pem" --json | jq -r '.status + " " + .reason')" = "revoked cessationOfOperation" ]
    inkan order close WO-1 --yes --json > "$dir/closed"
    jq -e '.counts | .reserved == .issued + .unused and .issued == .confirmed + .void + .orphan and .confirmed == .shipped + .stock + .scrapped' "$dir/closed"
    [ "$(jq -c '.counts | [.void, .scrapped, .shipped, .unused, .rekeyed, .reworked]' "$dir/closed")" = "[1,1,1,1,1,1]" ]
    # Closed is closed.
    [ "$(unit_post pack-1 WO-1 WO-1-00000007 pack)" = 403 ]
    [ "$(body .error)" = order-closed ]
    [ "$(unit_issue issue-1 WO-1 WO-1-00000020)" = 404 ]
    run inkan order close WO-1 --yes
    [ "$status" = 1 ]
    run inkan order open "$dir/WO-1.jws"
    [ "$status" = 1 ]
    # It can still be read.
    [ "$(as pack-1 "$(factory_url WO-1)")" = 200 ]
    [ "$(body .state)" = closed ]
}

@test "a core that is killed while an order closes goes on; counts that do not fit are an alarm" {
    order_open WO-k 'quantity: 20'
    for i in $(seq -w 20); do
        [ "$(as load-1 --json "{\"device_id\":\"WO-k-000000$i\"}" "$(factory_url WO-k)/reserve")" = 200 ]
    done
    inkan backup --out "$dir/backup" > /dev/null
    stop_service
    sqlite3 "$dir/state/ledger/ledger.db" "UPDATE work_order SET state = 1 WHERE order_no = 'WO-k'; UPDATE order_tally SET issued = issued + 1
        WHERE work_order = (SELECT id FROM work_order WHERE order_no = 'WO-2')"
    start_service 3>&-
    wait_for 60 health_is_ready
    wait_for 60 sh -c "'$programs/inkan' --socket '$dir/run/admin.sock' order status WO-k --json | grep -q '\"closed\"'"
    [ "$(count WO-k unused)" = 20 ]
    run inkan order close WO-2 --yes
    [ "$status" = 1 ]
    [[ $output == *"counts that were kept differ"* ]]
    inkan audit export | jq -es 'map(select(.event == "alarm-raised" and (.detail | fromjson).kind == "order-counts-differ")) | length == 1'
    [ "$(inkan order status WO-2 --json | jq -r .state)" = closing ]
    stop_service
    sqlite3 "$dir/state/ledger/ledger.db" "UPDATE order_tally SET issued = issued - 1 WHERE work_order = (SELECT id FROM work_order WHERE order_no = 'WO-2')"
    echo 0 > "$dir/clock"
    INKAN_TEST_CLOCK=$dir/clock start_service 3>&-
    wait_for 60 health_is_ready
    wait_for 60 sh -c "'$programs/inkan' --socket '$dir/run/admin.sock' order status WO-2 --json | grep -q '\"closed\"'"
}

@test "a challenge is of no use after ten minutes" {
    [ "$(unit_issue issue-1 WO-e WO-e-00000002)" = 200 ]
    confirm=$(unit_sign WO-e WO-e-00000002 | jq -c '. + {evidence: {chip: "se050"}}')
    echo 700 > "$dir/clock"
    refuses WO-e challenge-stale 403 "$(unit_post verify-1 WO-e WO-e-00000002 confirm "$confirm")"
    [ "$(unit_post verify-1 WO-e WO-e-00000002 confirm "$(unit_sign WO-e WO-e-00000002 | jq -c '. + {evidence: {chip: "se050"}}')")" = 200 ]
}

@test "an order that nobody known signed, one that was changed, and a number taken are refused" {
    order_sign WO-5 > "$dir/WO-5.jws"
    jq -c '.payload |= sub("A"; "B")' "$dir/WO-5.jws" > "$dir/bad.jws"
    run inkan order open "$dir/bad.jws"
    [ "$status" = 1 ]
    inkan order open "$dir/WO-5.jws"
    inkan order open "$dir/WO-5.jws" # again: no change
    order_sign WO-5 'quantity: 19' > "$dir/other.jws"
    run inkan order open "$dir/other.jws"
    [ "$status" = 1 ]
    [[ $output == *"from another file"* ]]
}

@test "nobody rewrites an order, a unit or its record, not even with the ledger's file in hand" {
    rewrite() { python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=20).execute(sys.argv[2])' "$dir/state/ledger/ledger.db" "$1"; }
    for change in "DELETE FROM unit_event" "UPDATE unit_event SET badge = 'B-78'" "DELETE FROM unit" "UPDATE unit SET work_order = 1 WHERE work_order = 2" \
        "DELETE FROM work_order" "UPDATE work_order SET quantity = quantity + 1" "UPDATE work_order SET state = 0 WHERE state = 2"; do
        run rewrite "$change"
        [ "$status" -eq 1 ]
        [[ $output == *IntegrityError:* ]]
    done
}

@test "the trail verifies, and names every step" {
    inkan audit verify || [ $? = 3 ]
    for event in order-opened station-added unit-reserved cert-issued unit-confirmed unit-packed unit-shipped unit-voided unit-scrapped \
        unit-unused unit-rework unit-held unit-orphaned unit-refused order-closing order-closed station-revoked; do
        inkan audit export | grep -q "\"$event\"" || { echo "no $event"; false; }
    done
    inkan doctor || true
}
