#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The records of a line box on their way to the centre: a line that is cut, a poisoned record, revocation in both directions,
# differences.
load ../lib/instance
load ../lib/linebox
load ../lib/fault

setup_file() {
    side_dir
    instance_up maker_path_len=1 "extra_profiles=$box_profile" || return 1
    box_domains=elsewhere box_up || { tail -n 40 "$box/log/inkan.log"; return 1; }
    box_certify && box_link && wan_start && wait_for 20 as_box health_is_ready && box_budget 1000 30d
}

teardown_file() {
    instance_load
    wan_down || true
    box_down
    instance_down
    side_dir_remove
}

setup() {
    fault_load
}

of_box() { # FILTER: of what the centre knows of the box
    inkan box show line-a --json | jq -r "$1"
}

@test "sync: what the box issued is at the centre, once, and looks as it was signed" {
    for i in 1 2 3 4 5; do unit_box_birth "s-$i"; done
    box_sync --once
    [ "$(of_box '"\(.devices) \(.set_aside) \(.difference)"')" = "5 0 " ]
    inkan cert show "$units/s-3.idevid.pem" --json > "$box/shown.json"
    [ "$(jq -r '"\(.status) \(.issuer) \(.device_id)"' "$box/shown.json")" = "good line-a s-3" ]
    before=$(inkan cert list --json | jq length)
    box_sync --once
    box_sync --once
    [ "$(inkan cert list --json | jq length)" -eq "$before" ]
}

@test "sync: only the box's own link may send, and only for itself" {
    run curl -sS --cacert "$dir/fleet-root.pem" -o "$dir/body" -w '%{http_code}' -H 'Content-Type: application/json' -d '{}' "https://localhost:$port/v1/box/line-a/records"
    [ "$output" = 403 ]
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=line-a" -keyout "$box/st.key" -out "$box/st.csr" 2> /dev/null
    inkan cert issue --profile station --name line-a --csr "$box/st.csr" --chain --out "$box/st.pem"
    post() { # CERT KEY NAME BODY
        curl -sS --cacert "$dir/fleet-root.pem" --cert "$1" --key "$2" -o "$dir/body" -w '%{http_code}' -H 'Content-Type: application/json' -d "$4" \
            "https://localhost:$port/v1/box/$3/records"
    }
    empty='{"epoch":"x","last":{},"records":[]}'
    [ "$(post "$box/st.pem" "$box/st.key" line-a "$empty")" = 403 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-b "$empty")" = 403 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-a '{"epoch":"x"}')" = 400 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-a 'nonsense')" = 400 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-a "$empty")" = 200 ]
    [ "$(jq -r .had.cert "$dir/body")" = 0 ]
}

@test "sync: a line cut in the middle: the box goes on, nothing is lost or doubled, the books agree" {
    box_sync_start --interval 0.2 --rate 50
    for i in $(seq 1 8); do unit_box_birth "w-$i"; done
    wan_down
    for i in $(seq 9 20); do unit_box_birth "w-$i"; done
    [ "$(of_box .devices)" -lt 25 ]
    sleep 2
    grep -q "cannot go on now" "$box/sync.log"
    wan_up
    wait_for 30 bash -c "[ \"\$('$programs/inkan' --socket '$dir/run/admin.sock' box show line-a --json | jq '.devices')\" -eq 25 ]"
    wait_for 10 grep -q "goes on" "$box/sync.log"
    kill -9 "$sync_pid" # in whatever it was doing
    wait "$sync_pid" || true
    box_sync --once
    [ "$(of_box '"\(.devices) \(.set_aside) \(.difference)"')" = "25 0 " ]
    for i in $(seq 1 20); do
        [ "$(inkan cert list --device "w-$i" --json | jq length)" -eq 1 ]
    done
}

@test "sync: a record that cannot be taken is set aside with its reason, and the rest flows" {
    box_inkan device add poison --domain elsewhere > /dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=poison/serialNumber=poison" -keyout "$units/poison.key" -out "$units/poison.csr" 2> /dev/null
    box_inkan cert issue --profile idevid --device poison --domain elsewhere --csr "$units/poison.csr" --out "$units/poison.pem"
    unit_box_birth after-poison
    run box_sync --once
    [ "$status" -eq 0 ]
    [[ $output == *"set a record aside"* ]]
    [ "$(inkan box records line-a --json | jq -r '.[0] | "\(.stream) \(.reason)"')" = 'cert domain "elsewhere" is not one of the centre'"'"'s' ]
    [ "$(inkan cert show "$units/after-poison.idevid.pem" --json | jq -r .status)" = good ]
    run inkan cert show "$units/poison.pem"
    [ "$status" -eq 1 ]
    # The books say so: one device more at the box than here.
    [[ $(of_box .difference) == *"devices: 27 at the box, 26 here"* ]]
    # Again: the same record is not set aside twice.
    box_sync --once
    [ "$(of_box .set_aside)" -eq 1 ]
}

@test "sync: a unit revoked at the centre is revoked at the box, and the other way" {
    inkan cert revoke "$units/w-1.idevid.pem" --reason keyCompromise --yes
    inkan cert hold "$units/w-2.idevid.pem" --yes
    box_inkan cert revoke "$units/w-3.idevid.pem" --reason cessationOfOperation --yes
    box_sync --once
    [ "$(box_inkan cert show "$units/w-1.idevid.pem" --json | jq -r '"\(.status) \(.reason)"')" = "revoked keyCompromise" ]
    [ "$(box_inkan cert show "$units/w-2.idevid.pem" --json | jq -r .status)" = on_hold ]
    box_sync --once
    [ "$(inkan cert show "$units/w-3.idevid.pem" --json | jq -r '"\(.status) \(.reason)"')" = "revoked cessationOfOperation" ]
    # The box's list names them.
    box_inkan crl publish --issuer line-a > /dev/null
    [ "$(box_inkan crl get --issuer line-a | openssl crl -inform DER -noout -text | grep -c 'Serial Number')" -eq 3 ]
    # A hold of the centre's own ends at the centre alone.
    box_inkan cert release "$units/w-2.idevid.pem" --yes
    box_sync --once
    box_sync --once
    [ "$(inkan cert show "$units/w-2.idevid.pem" --json | jq -r .status)" = on_hold ]
    inkan cert release "$units/w-2.idevid.pem" --yes
    box_sync --once
    [ "$(inkan cert show "$units/w-2.idevid.pem" --json | jq -r .status)" = good ]
}

@test "sync: a unit of the box enrols at the fleet once its record is there, and not after the box's CA is revoked" {
    unit_device s-1 enroll
    inkan cert hold "$box/line-a.pem" --yes
    run unit_device s-2 enroll
    [ "$status" -ne 0 ]
    inkan cert release "$box/line-a.pem" --yes
    unit_device s-2 enroll
}

@test "sync: a box whose ledger was set back sends under a new epoch; what is known is known, what differs is told" {
    box_inkan backup --out "$box/old.backup" > /dev/null
    unit_box_birth lost-1
    unit_box_birth lost-2
    box_sync --once
    devices=$(of_box .devices)
    as_box stop_service
    "$programs/inkan" restore "$box/old.backup" --config "$box/inkan.yaml"
    as_box start_service 3>&- 4>&-
    box_inkan restore --accept > /dev/null
    wait_for 30 as_box health_is_ready
    unit_box_birth new-1
    box_sync --once
    [ "$(of_box .devices)" -eq $((devices + 1)) ]
    [[ $(of_box .difference) == *"devices: "* ]]
    [ "$(inkan cert show "$units/lost-1.idevid.pem" --json | jq -r .status)" = good ]
}
