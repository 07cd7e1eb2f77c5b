#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A line at a real service: the commands of docs/factory.md as they stand there, inkan-station and its renewal. With everything killed
# in between: tests/fault/line.
load ../lib/instance.bash

setup_file() {
    instance_up
    instance_load
    # $dir is root's: stations and orders live there.
    station_make issue-1 issue,verify,pack
    station_make load-1 load,issue,verify
    order_open WO-C 20
    order_open WO-S 3000
}
teardown_file() { instance_down; }
setup() { instance_load; }

station_make() { # NAME ROLES [OPTION...]
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/$1.key" -out "$dir/$1.csr" -subj "/CN=$1" 2> /dev/null
    inkan station add "$1" --domain example --line L1 --role "$2" --csr "$dir/$1.csr" --out "$dir/$1.pem" "${@:3}"
}
order_open() { # ORDER QUANTITY [MEMBERS of the order, JSON]
    PYTHONPATH=$source_dir/tests/lib python3 - "$1" "$2" "${3:-{\}}" "$dir" "$programs" <<'PY'
import json, subprocess, sys, line
order, quantity, more, directory, programs = sys.argv[1:]
def inkan(*args):
    subprocess.run([f"{programs}/inkan", "--socket", f"{directory}/run/admin.sock", *args], check=True, stdout=subprocess.DEVNULL)
line.open_order(inkan, directory, order, int(quantity), ["line:L1"], **{"rekeys": 5, **json.loads(more)})
PY
}
station() { # NAME ORDER [OPTION...]
    timeout 600 "$programs/inkan-station" --url "https://localhost:$port" --ca "$dir/fleet-root.pem" --cert "$dir/$1.pem" --key "$dir/$1.key" --order "$2" \
        --journal "$dir/$1-$2.journal" --device-session --device-command "$programs/inkan-simdevice --dir $dir/held --no-sync --session" "${@:3}"
}
state_of() { # ORDER ID
    inkan unit show "$1/$2" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])'
}

@test "the commands of docs/factory.md provision a unit, and repeating them changes nothing" {
    cd "$dir"
    sed -n '/^## A unit with curl/,/^## /p' "$source_dir/docs/factory.md" | sed -n '/^```sh$/,/^```$/p' | sed '/^```/d' > "$BATS_TEST_TMPDIR/unit.sh"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/unit.sh")" -gt 20 ]
    cp fleet-root.pem "$BATS_TEST_TMPDIR/ca.pem"
    cp issue-1.pem issue-1.key "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"
    url=https://localhost:$port order=WO-C unit=WO-C-00000001 bash -euo pipefail "$BATS_TEST_TMPDIR/unit.sh" > out
    [ "$(state_of WO-C WO-C-00000001)" = shipped ]
    openssl verify -CAfile "$dir/maker-root.pem" -untrusted "$dir/maker-ca.pem" WO-C-00000001.pem
    grep -q '"event":"read-back"' out
    # The request again, as it was: the same bytes.
    openssl base64 -in WO-C-00000001.csr | curl -sS --fail-with-body --cacert ca.pem --cert issue-1.pem --key issue-1.key \
        -H 'Content-Type: application/pkcs10' --data-binary @- "https://localhost:$port/.well-known/est/WO-C/simpleenroll" -o again.p7
    cmp WO-C-00000001.p7 again.p7
}

@test "inkan-station: numbers of a list, numbers that the order gives, and what a role does not allow" {
    seq -f 'WO-S-%08g' 1 10 | station issue-1 WO-S --fixtures 2
    station load-1 WO-S --allot --count 5
    [ "$(inkan order units WO-S --state confirmed --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')" -eq 15 ]
    run station issue-1 WO-S --steps reserve --allot --count 1 --journal "$dir/other.journal"
    [ "$status" -eq 0 ] # issue may reserve
    run bash -c "$(declare -f station); dir=$dir; port=$port; programs=$programs; echo WO-S-00000001 | station issue-1 WO-S --key-mode server --journal $dir/keys.journal"
    [ "$status" -eq 4 ]
    [[ $output == *"reason=key-mode"* ]]
    run bash -c "$(declare -f station); dir=$dir; port=$port; programs=$programs; echo WO-X-00000001 | station issue-1 WO-X"
    [ "$status" -eq 4 ]
    [[ $output == *"reason=unknown-order"* ]]
    station_make pack-1 pack
    run bash -c "$(declare -f station); dir=$dir; port=$port; programs=$programs; echo WO-S-00000001 | station pack-1 WO-S"
    [ "$status" -eq 4 ]
    [[ $output == *"reason=wrong-role"* ]]
    inkan station revoke pack-1 --yes
    run bash -c "$(declare -f station); dir=$dir; port=$port; programs=$programs; echo WO-S-00000002 | station pack-1 WO-S --steps pack"
    [ "$status" -eq 4 ]
    [[ $output == *"reason=station-revoked"* ]]
}

@test "inkan-station: secrets that the customer opens, and evidence where the order wants it" {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=owner -days 2 -keyout "$dir/owner.key" -out "$dir/owner.pem" 2> /dev/null
    order_open WO-E 20 "{\"evidence\":\"required\",\"customer_key\":\"$(openssl x509 -in "$dir/owner.pem" -outform DER | openssl base64 -A)\"}"
    run bash -c "$(declare -f station); dir=$dir; port=$port; programs=$programs; echo WO-E-00000009 | station issue-1 WO-E"
    [ "$status" -eq 1 ]
    [[ $output == *"reason=evidence-missing"* ]]
    seq -f 'WO-E-%08g' 1 6 | station issue-1 WO-E --fixtures 3 --secrets --evidence
    [ "$(inkan unit show WO-E/WO-E-00000006 --json | jq -c '.events[-1].detail.evidence')" = '{"level":"software","made_by":"inkan-simdevice"}' ]
    inkan order export WO-E --format native --out "$dir/handed" > /dev/null
    # As docs/factory.md says.
    sed -n '/^## Secrets of units/,/^## /p' "$source_dir/docs/factory.md" | sed -n '/^```sh$/,/^```$/p' | sed '/^```/d' > "$BATS_TEST_TMPDIR/open.sh"
    (cd "$dir/handed" && cp ../owner.key customer.key && cp ../owner.pem customer.pem && bash -euo pipefail "$BATS_TEST_TMPDIR/open.sh") > "$BATS_TEST_TMPDIR/opened"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/opened")" -eq 6 ]
    jq -r '.device_id + " " + .secret' "$BATS_TEST_TMPDIR/opened" | while read -r id secret; do [ "$(cat "$dir/held/$id/secret")" = "$secret" ]; done
    [ "$(jq -s '[.[].secret] | unique | length' "$BATS_TEST_TMPDIR/opened")" -eq 6 ]
}

@test "numbers that stations named before are passed over when the order gives one, however many" {
    seq -f 'WO-S-%08g' 30 1130 | station load-1 WO-S --steps reserve --fixtures 8 --quiet --journal "$dir/named.journal"
    station load-1 WO-S --allot --count 30 --fixtures 4 --quiet --steps reserve --journal "$dir/allotted.journal"
    [ "$(grep -c '^name ' "$dir/allotted.journal")" -eq 30 ]
}

@test "a station renews its certificate while the line runs" {
    station_make short-1 issue,verify --valid 90s
    before=$(openssl x509 -in "$dir/short-1.pem" -noout -serial)
    from=$(date -d "$(openssl x509 -in "$dir/short-1.pem" -noout -startdate | cut -d= -f2)" +%s)
    [ $((from + 60)) -lt "$(date +%s)" ] || skip "its life begins now"
    echo WO-S-00002000 | station short-1 WO-S --renew
    [ "$(openssl x509 -in "$dir/short-1.pem" -noout -serial)" != "$before" ]
    [ "$(state_of WO-S WO-S-00002000)" = confirmed ]
}
