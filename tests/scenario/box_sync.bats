#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The records of a line box on their way to the centre: a poisoned record, a forged one, revocation in both directions,
# differences.
load ../lib/instance
load ../lib/linebox
load ../lib/fault

setup_file() {
    side_dir
    instance_up maker_path_len=1 "extra_profiles=$box_profile" "extra_domains=  - name: others" \
        "extra_anchors=  - {name: other-maker, ca: fleet-ca, domains: [others]}" || return 1
    box_domains=elsewhere box_up || { tail -n 40 "$box/log/inkan.log"; return 1; }
    box_certify && box_link && wait_for 60 as_box health_is_ready && box_budget 20 30d
}

teardown_file() {
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
    for i in 1 2 3 4 5 6 7 8; do unit_box_birth "s-$i"; done
    box_sync --once
    [ "$(of_box '"\(.devices) \(.set_aside) \(.difference)"')" = "8 0 " ]
    inkan cert show "$units/s-3.idevid.pem" --json > "$box/shown.json"
    [ "$(jq -r '"\(.status) \(.issuer) \(.device_id)"' "$box/shown.json")" = "good line-a s-3" ]
    # The centre answers OCSP for its own CAs alone: nothing about the box's, not even what it knows.
    run openssl ocsp -issuer "$box/line-a.pem" -cert "$units/s-3.idevid.pem" -url "http://localhost:$((port + 1))/ocsp" -CAfile "$dir/maker-root.pem"
    [[ $output == *unauthorized* ]]
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
    empty="{\"epoch\":\"$(of_box .epoch)\",\"last\":{},\"records\":[]}"
    [ "$(post "$box/st.pem" "$box/st.key" line-a "$empty")" = 403 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-b "$empty")" = 403 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-a '{"epoch":"x"}')" = 400 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-a 'nonsense')" = 400 ]
    [ "$(post "$box/link.pem" "$box/link.key" line-a "$empty")" = 200 ]
    [ "$(jq -r .had.cert "$dir/body")" = "$(of_box .had.cert)" ]
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
    [[ $(of_box .difference) == *"devices: 10 at the box, 9 here"* ]]
    # Again: the same record is not set aside twice.
    box_sync --once
    [ "$(of_box .set_aside)" -eq 1 ]
}

@test "sync: a unit revoked at the centre is revoked at the box, and the other way" {
    inkan cert revoke "$units/s-6.idevid.pem" --reason keyCompromise --yes
    inkan cert hold "$units/s-7.idevid.pem" --yes
    box_inkan cert revoke "$units/s-8.idevid.pem" --reason cessationOfOperation --yes
    box_sync --once
    [ "$(box_inkan cert show "$units/s-6.idevid.pem" --json | jq -r '"\(.status) \(.reason)"')" = "revoked keyCompromise" ]
    [ "$(box_inkan cert show "$units/s-7.idevid.pem" --json | jq -r .status)" = on_hold ]
    box_sync --once
    [ "$(inkan cert show "$units/s-8.idevid.pem" --json | jq -r '"\(.status) \(.reason)"')" = "revoked cessationOfOperation" ]
    # The box's list names them.
    box_inkan crl publish --issuer line-a > /dev/null
    [ "$(box_inkan crl get --issuer line-a | openssl crl -inform DER -noout -text | grep -c 'Serial Number')" -eq 3 ]
    # A hold of the centre's own ends at the centre alone.
    run box_inkan cert release "$units/s-7.idevid.pem" --yes
    [ "$status" -eq 1 ]
    [[ $output == *"held by the centre"* ]]
    [ "$(box_inkan cert show "$units/s-7.idevid.pem" --json | jq -r .status)" = on_hold ]
    box_sync --once
    [ "$(inkan cert show "$units/s-7.idevid.pem" --json | jq -r .status)" = on_hold ]
    inkan cert release "$units/s-7.idevid.pem" --yes
    box_sync --once
    [ "$(box_inkan cert show "$units/s-7.idevid.pem" --json | jq -r .status)" = good ]
    [ "$(inkan cert show "$units/s-7.idevid.pem" --json | jq -r .status)" = good ]
}

@test "sync: a hold of the box's own ends at the box alone" {
    box_inkan cert hold "$units/s-5.idevid.pem" --yes
    box_sync --once
    [ "$(inkan cert show "$units/s-5.idevid.pem" --json | jq -r .status)" = on_hold ]
    run inkan cert release "$units/s-5.idevid.pem" --yes
    [ "$status" -eq 1 ]
    [[ $output == *"held by its line box"* ]]
    # Both hold it: each ends its own, and it is good when neither does.
    inkan cert hold "$units/s-5.idevid.pem" --yes
    box_sync --once
    [ "$(box_inkan cert show "$units/s-5.idevid.pem" --json | jq -r .status)" = on_hold ]
    [ "$(box_inkan cert release "$units/s-5.idevid.pem" --yes --json | jq -r '.status')" = on_hold ]
    box_sync --once
    [ "$(inkan cert release "$units/s-5.idevid.pem" --yes --json | jq -r '.status')" = good ]
    box_sync --once
    [ "$(box_inkan cert show "$units/s-5.idevid.pem" --json | jq -r .status)" = good ]
}

@test "sync: what the box certifies of a unit that was stopped at the centre comes in revoked, and the box hears it" {
    inkan device stop s-4 --domain example --yes
    mv "$units/s-4.idevid.pem" "$units/s-4.first.pem"
    unit_box_birth s-4
    [ "$(box_inkan cert show "$units/s-4.idevid.pem" --json | jq -r .status)" = good ]
    box_sync --once
    box_sync --once
    for pem in s-4.first s-4.idevid; do
        for at in inkan box_inkan; do
            [ "$($at cert show "$units/$pem.pem" --json | jq -r '"\(.status) \(.reason)"')" = "revoked cessationOfOperation" ]
        done
    done
    [ "$(inkan device show s-4 --domain example --json | jq -r .state)" = scrapped ]
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
    wait_for 60 as_box health_is_ready
    unit_box_birth new-1
    box_sync --once
    [ "$(of_box .devices)" -eq $((devices + 1)) ]
    [[ $(of_box .difference) == *"devices: "* ]]
    [ "$(inkan cert show "$units/lost-1.idevid.pem" --json | jq -r .status)" = good ]
}

@test "sync: a box whose ledger and marks were both set back reuses rows, and the centre hears of those too" {
    mkdir "$box/snapshot"
    as_box stop_service
    cp -a "$box/state" "$box/marks" "$box/snapshot/"
    as_box start_service 3>&- 4>&-
    wait_for 60 as_box health_is_ready
    unit_box_birth first-1
    unit_box_birth first-2
    box_sync --once
    as_box stop_service
    rm -rf "$box/state" "$box/marks"
    mv "$box/snapshot/state" "$box/snapshot/marks" "$box/"
    as_box start_service 3>&- 4>&-
    wait_for 60 as_box health_is_ready
    unit_box_birth second-1
    unit_box_birth second-2
    run box_sync --once
    [ "$status" -eq 0 ]
    [[ $output == *"another past of this ledger"* ]]
    grep -q "event=box-forked" "$box/log/inkan.log"
    for unit in first-1 first-2 second-1 second-2; do
        [ "$(inkan cert show "$units/$unit.idevid.pem" --json | jq -r .status)" = good ]
    done
    [[ $(of_box .difference) == *"devices: "* ]]
    # Once: it stays with its new epoch.
    epoch=$(of_box .epoch)
    unit_box_birth second-3
    box_sync --once
    [ "$(of_box .epoch)" = "$epoch" ]
}

@test "sync: a centre that was restored counts its changes anew, and the box hears them" {
    inkan backup --out "$dir/old.backup" > /dev/null
    for i in 1 2 3; do
        inkan cert hold "$units/s-2.idevid.pem" --yes
        inkan cert release "$units/s-2.idevid.pem" --yes
    done
    box_sync --once
    stop_service
    "$programs/inkan" restore "$dir/old.backup" --config "$dir/inkan.yaml"
    start_service 3>&- 4>&-
    inkan restore --accept > /dev/null
    wait_for 60 health_is_ready
    inkan cert revoke "$units/s-3.idevid.pem" --reason keyCompromise --yes
    box_sync --once
    [ "$(box_inkan cert show "$units/s-3.idevid.pem" --json | jq -r .status)" = revoked ]
}

@test "sync: a device that is known from somewhere else raises an alarm; more devices than were granted are told" {
    unit_birth twice-1
    openssl ecparam -name prime256v1 -genkey -noout -out "$box/thief.key"
    openssl ec -in "$box/thief.key" -pubout -out "$box/centre-records.pem" 2> /dev/null
    sign_budget "$box/thief.key" '{"box":"line-a","issued_at":1000,"number":1000,"order":"*","units":1000,"until":4000000000}' > "$box/thief.json"
    box_inkan budget install "$box/thief.json"
    mkdir -p "$units/centre" && mv "$units"/twice-1.* "$units/centre/"
    unit_box_birth twice-1
    for i in $(seq 1 12); do unit_box_birth "over-$i"; done
    box_sync --once
    grep -q "event=box-alarm alarm=device-at-two-places box=line-a device_id=twice-1" "$dir/log/inkan.log"
    [[ $(of_box .difference) == *"over budget: "*" devices, 20 units were granted"* ]]
}

@test "sync: the line is cut in the middle of a work order" {
    "$source_dir/tests/fault/wan" 0.05 --programs "$programs"
}

# box_order ORDER UNITS: an order that the box works off and closes
box_order() {
    PYTHONPATH=$source_dir/tests/lib python3 - "$1" "$2" "$box" "$box_port" "$programs" <<'PY'
import subprocess, sys, line
order, units, box, port, programs = sys.argv[1:]
def inkan(*args):
    domain = ["--domain", "example"] if args[0] == "station" else []
    subprocess.run([f"{programs}/inkan", "--socket", f"{box}/run/admin.sock", *args, *domain], check=True, stdout=subprocess.DEVNULL)
line.open_order(inkan, box, order, int(units), ["line:L1"])
station = line.add_station(inkan, box, f"st-{order}", "load,issue,verify")
subprocess.run([f"{programs}/inkan-station", "--url", f"https://localhost:{port}", "--ca", f"{box}/root.pem", *station,
                "--order", order, "--journal", f"{box}/{order}.journal", "--allot", "--count", units, "--quiet",
                "--device-session", "--device-command", f"{programs}/inkan-simdevice --dir {box}/held --no-sync --session"], check=True, timeout=600)
inkan("order", "close", order, "--yes")
PY
    wait_for 60 test -n "$(box_inkan order report "$1" 2> /dev/null)"
}

@test "sync: the close-out report of an order of the box is at the centre, and verifies there and offline" {
    cp "$dir/maker-root.pem" "$box/root.pem"
    box_order WO-box 2
    box_sync --once
    [ "$(of_box '.reports | map(.order) | join(",")')" = WO-box ]
    inkan box report line-a --order WO-box --out "$box/at-centre.report" --chain "$box/chain.pem"
    box_inkan order report WO-box --out "$box/at-box.report"
    cmp "$box/at-centre.report" "$box/at-box.report"
    inkan order verify "$box/at-centre.report" --signer "$box/chain.pem" --ca "$dir/maker-root.pem"
    # Again, and from the start: it is there once, and nothing was set aside for it.
    box_sync --once
    [ "$(of_box '.reports | length')" -eq 1 ]
    no grep -q '"report"' <(inkan box records line-a --json)
    run inkan box report line-a --order WO-other
    [ "$status" -eq 1 ]
}

@test "sync: a report that the box's record key did not sign, or of other words, is set aside" {
    box_inkan order report WO-box --out "$box/genuine.report"
    signer=$(box_inkan record signer --json | jq -r .cert)
    bend "$box/genuine.report" "$box/bent.report"
    device=$(openssl x509 -in "$units/s-4.idevid.pem" -outform DER | base64 -w0)
    python3 - "$(of_box .epoch)" "$(of_box .had.report)" "$signer" "$device" "$box" <<'PY' > "$box/reports.json"
import json, sys
epoch, had, signer, device, box = sys.argv[1:]
text = {name: open(f"{box}/{name}.report").read().strip() for name in ("genuine", "bent")}
cases = [("WO-x", text["bent"], signer), ("WO-x", text["genuine"], signer), ("WO-x", text["genuine"], device), ("WO-x", "{}", signer),
         ("WO-box", text["bent"], signer), ("WO-box", text["genuine"], signer)]
print(json.dumps({"epoch": epoch, "last": {}, "records": [{"stream": "report", "seq": int(had) + 1 + i, "order": order, "report": report, "signer": by}
                                                         for i, (order, report, by) in enumerate(cases)]}, separators=(",", ":")))
PY
    status=$(curl -sS --cacert "$dir/fleet-root.pem" --cert "$box/link.pem" --key "$box/link.key" -o "$dir/body" -w '%{http_code}' -H 'Content-Type: application/json' \
        -d "@$box/reports.json" "https://localhost:$port/v1/box/line-a/records")
    [ "$status" = 200 ]
    cat "$dir/body"
    [ "$(jq '.set_aside | length' "$dir/body")" -eq 5 ]
    jq -r '.set_aside[1].reason' "$dir/body" | grep 'it is the report of order "WO-box"'
    jq -r '.set_aside[4].reason' "$dir/body" | grep "another close-out report of order WO-box is here"
    [ "$(of_box '.reports | length')" -eq 1 ]
}

# Last: its rows stand in the way of the box's own.
@test "sync: a certificate that is not the box's, or not as the box may sign it, is set aside" {
    epoch=$(of_box .epoch)
    next=$(($(of_box .had.cert) + 1))
    openssl ecparam -name prime256v1 -genkey -noout -out "$box/f.key"
    # The name in the very octets of the box's CA.
    printf '[req]\nstring_mask = nombstr\ndistinguished_name = dn\n[dn]\n' > "$box/f.cnf"
    openssl req -new -x509 -config "$box/f.cnf" -key "$box/f.key" -subj "/CN=Example Line CA A/O=Example Maker" -days 3650 -out "$box/f.pem"
    openssl req -new -key "$box/f.key" -subj "/CN=forged-1/serialNumber=forged-1" -out "$box/f.csr"
    openssl x509 -req -in "$box/f.csr" -CA "$box/f.pem" -CAkey "$box/f.key" -days 30 -extfile <(echo keyUsage=digitalSignature) -outform DER -out "$box/f.der" 2> /dev/null
    forged=$(base64 -w0 "$box/f.der")
    genuine=$(openssl x509 -in "$units/s-4.idevid.pem" -outform DER | base64 -w0)
    fleet=$(openssl x509 -in "$dir/fleet-ca.pem" -outform DER | base64 -w0)
    record() { # SEQ DER DEVICE [DOMAIN]
        printf '{"stream":"cert","seq":%d,"der":"%s","kind":"idevid","profile":"idevid","domain":"%s","device_id":"%s"}' "$1" "$2" "${4:-example}" "$3"
    }
    body="{\"epoch\":\"$epoch\",\"last\":{},\"records\":[$(record "$next" "$forged" forged-1),$(record $((next + 1)) "$genuine" s-5),$(record $((next + 2)) "$fleet" fleet),$(record $((next + 3)) nonsense x),$(record $((next + 4)) "$genuine" s-4 others)]}"
    status=$(curl -sS --cacert "$dir/fleet-root.pem" --cert "$box/link.pem" --key "$box/link.key" -o "$dir/body" -w '%{http_code}' -H 'Content-Type: application/json' \
        -d "$body" "https://localhost:$port/v1/box/line-a/records")
    [ "$status" = 200 ]
    [ "$(jq '.set_aside | length' "$dir/body")" -eq 5 ]
    jq -r '.set_aside[0].reason' "$dir/body" | grep "signature is not that of the box's CA"
    jq -r '.set_aside[1].reason' "$dir/body" | grep 'does not name device "s-5"'
    jq -r '.set_aside[2].reason' "$dir/body" | grep "not issued by the CA of this box"
    jq -r '.set_aside[4].reason' "$dir/body" | grep 'domain "others" believes other CAs'
    [ "$(jq .had.cert "$dir/body")" -eq $((next + 4)) ]
    run inkan device show forged-1
    [ "$status" -eq 1 ]
}

@test "sync: a page of nothing but bad records is taken and told in part, a longer one is refused" {
    bad_page() { # RECORDS
        python3 - "$1" "$(of_box .epoch)" "$(of_box .had.cert)" << 'PY' > "$box/bad.json"
import json, sys
n, epoch, had = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print(json.dumps({"epoch": epoch, "last": {}, "records": [{"stream": "cert", "seq": had + 1 + i} for i in range(n)]}, separators=(",", ":")))
PY
        curl -sS --cacert "$dir/fleet-root.pem" --cert "$box/link.pem" --key "$box/link.key" -o "$dir/body" -w '%{http_code}' \
            -H 'Content-Type: application/json' -d "@$box/bad.json" "https://localhost:$port/v1/box/line-a/records"
    }
    [ "$(bad_page 700)" = 400 ]
    before=$(of_box .set_aside)
    [ "$(bad_page 600)" = 200 ]
    [ "$(of_box .set_aside)" -eq $((before + 600)) ]
    [ "$(jq '.set_aside | length' "$dir/body")" -eq 40 ]
}

@test "sync: an answer that is none is refused, with a reason" {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout "$box/other.key" -out "$box/other.pem" 2> /dev/null
    timeout 60 python3 - "$box" << 'PY' > "$box/other.port" 2> /dev/null 3>&- &
import http.server, ssl, sys
box = sys.argv[1]

class Centre(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = open(f"{box}/answer", "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

server = http.server.HTTPServer(("127.0.0.1", 0), Centre)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{box}/other.pem", f"{box}/other.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
PY
    centre=$!
    wait_for 60 test -s "$box/other.port"
    while IFS='|' read -r answer why; do
        printf '%s' "$answer" > "$box/answer"
        run box_sync --once --url "https://localhost:$(cat "$box/other.port")" --anchor "$box/other.pem"
        echo "$answer: $output"
        [ "$status" = 1 ]
        [[ $output == *"cannot go on now: $why" ]]
    done << 'ANSWERS'
|the centre's answer cannot be read
[]|the centre's answer cannot be read
{"had":7}|the centre's answer cannot be read
{"had":{}}|the centre's answer lacks something
{"changes":[],"had":{},"heard":7}|the centre's answer lacks something
{"centre":7,"changes":[],"had":{},"heard":{}}|box.heard: centre: not a text
ANSWERS
    kill "$centre"
}
