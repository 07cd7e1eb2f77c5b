#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What the service signs for others to keep: the record key and its certificate, work orders, close-out reports, hand-over files.
load ../lib/instance
load ../lib/factory

# One order with all that can become of a unit, closed.
setup_file() {
    instance_up
    station_add line-1 load,issue,pack,qa
    station_add verify-1 verify
    order_file WO-7 --quantity 20 --prefix WO-7- --digits 2 --model M2 --lot L-9 --target native,azure-dps,csv
    inkan order open "$dir/WO-7.jws"
    for n in 01 02 03 04 05 06 07 08 09 10 11 12; do
        [ "$(unit_issue line-1 WO-7 "WO-7-$n")" = 200 ]
        [ "$(unit_confirm WO-7 "WO-7-$n")" = 200 ]
    done
    for n in 01 02 03; do
        [ "$(unit_post line-1 WO-7 "WO-7-$n" pack)" = 200 ]
        [ "$(unit_post line-1 WO-7 "WO-7-$n" ship)" = 200 ]
    done
    [ "$(unit_post line-1 WO-7 WO-7-05 scrap '{"reason":"housing"}')" = 200 ]
    for n in 13 14; do
        [ "$(unit_issue line-1 WO-7 "WO-7-$n")" = 200 ]
    done
    [ "$(unit_post line-1 WO-7 WO-7-13 scrap '{"reason":"flash"}')" = 200 ]
    [ "$(as line-1 --json '{"device_id":"WO-7-15"}' "$(factory_url WO-7)/reserve")" = 200 ]
    [ "$(unit_issue line-1 WO-7 stray-1)" = 403 ]
    inkan --yes order close WO-7
    serial=$(inkan --json cert list --profile records | json 'j[0]["serial"]')
    inkan cert show --issuer maker-ca --serial "$serial" --pem > "$dir/records.pem"
    cat "$dir/records.pem" "$dir/maker-ca.pem" > "$dir/signer.pem"
    inkan order report WO-7 --out "$dir/report.jws"
    order_file WO-8 --quantity 100 --prefix U- --first 901 --note "Größe 2"
    openssl genpkey -algorithm ED25519 -out "$dir/other.key"
    chmod 600 "$dir/other.key"
}
teardown_file() { instance_down; }

# order_file NAME OPTIONS...: $dir/NAME.jws, made and signed with the tool
order_file() {
    local name=$1
    shift
    inkan order create --order "$name" --domain example --product demo --profile idevid --station line:L1 "$@" --out "$dir/$name.json"
    inkan order sign "$dir/$name.json" --key "$dir/order-signer.key" --out "$dir/$name.jws"
}

setup() {
    instance_load
}

json() { # the value of an expression over the JSON on standard input, called j
    python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"
}

@test "init makes the record key in its token and a certificate of the profile's CA" {
    inkan --json key list | json '[k["purpose"] for k in j if k["name"] == "record/maker-ca/1"]' | grep -qF "['record']"
    inkan --json cert list --profile records | json 'len(j)' | grep -qx 1
    inkan doctor | grep -q 'records'
    openssl verify -CAfile "$dir/maker-root.pem" -untrusted "$dir/maker-ca.pem" "$dir/records.pem"
    openssl x509 -in "$dir/records.pem" -noout -ext keyUsage | grep -qx '    Digital Signature'
}

@test "init again makes no second one" {
    inkan init --config "$dir/inkan.yaml"
    inkan --json cert list --profile records | json 'len(j)' | grep -qx 1
}

@test "nobody gets a certificate of the record profile for a key outside the tokens" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout "$dir/x.key" -out "$dir/x.csr" 2> /dev/null
    run inkan cert issue --profile records --csr "$dir/x.csr"
    [ "$status" -eq 1 ]
    [[ $output == *"keys in our tokens"* ]]
}

@test "the record key is not destroyed while it is in use" {
    run inkan --yes key destroy record/maker-ca/1
    [ "$status" -eq 1 ]
    [[ $output == *"it is the record key"* ]]
}

judge() { # FILE: is the record good, and what does it say
    inkan --json order verify "$1" --signer "$dir/signer.pem" --ca "$dir/maker-root.pem"
}

@test "a work order is made, signed and checked without the service" {
    inkan --json order verify "$dir/WO-8.jws" --signer "$dir/order-signer.pem" | json 'j["device_ids"]["range"]' |
        grep -qF "{'digits': 4, 'first': 901, 'prefix': 'U-'}"
    run inkan order verify "$dir/WO-8.jws"
    [ "$status" -eq 3 ]
    [[ $output == *"nobody checked the signature"* ]]
    openssl pkey -in "$dir/other.key" -pubout -out "$dir/other.pem"
    run inkan order verify "$dir/WO-8.jws" --signer "$dir/other.pem"
    [ "$status" -eq 1 ]
    inkan order sign "$dir/WO-8.json" --key "$dir/other.key" --out "$dir/stranger.jws"
    inkan order verify "$dir/stranger.jws" --signer "$dir/other.pem" > /dev/null
    run inkan order open "$dir/stranger.jws"
    [ "$status" -eq 1 ]
    [[ $output == *"none of order_signers"* ]]
}

@test "an order that breaks a rule is not written, not signed and not opened" {
    run order_file WO-9 --quantity 0 --prefix U-
    [ "$status" -ne 0 ]
    [[ $output == *'"quantity" must be a number from 1 to 1000000'* ]]
    python3 -c "import json; j = json.load(open('$dir/WO-8.json')); j['colour'] = 'red'; json.dump(j, open('$dir/bad.json', 'w'))"
    run inkan order create --from "$dir/bad.json"
    [[ $output == *'unknown member "colour"'* ]]
    run inkan order sign "$dir/bad.json" --key "$dir/order-signer.key"
    [ "$status" -eq 1 ]
    cp "$dir/other.key" "$dir/open.key"
    chmod 644 "$dir/open.key"
    run inkan order sign "$dir/WO-8.json" --key "$dir/open.key"
    [ "$status" -eq 1 ]
    [[ $output == *"open.key"* ]]
}

@test "an encrypted signing key is opened by what is typed on the terminal" {
    openssl pkey -in "$dir/order-signer.key" -aes256 -passout pass:hunter22 -out "$dir/locked.key"
    chmod 600 "$dir/locked.key"
    python3 - "$programs/inkan" "$dir" <<'PY'
import os, pty, sys
inkan, d = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(inkan, [inkan, "order", "sign", d + "/WO-8.json", "--key", d + "/locked.key", "--out", d + "/locked.jws"])
seen = b""
while b"pass phrase" not in seen:
    seen += os.read(fd, 1024)
os.write(fd, b"hunter22\n")
try:
    while os.read(fd, 1024):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
    inkan order verify "$dir/locked.jws" --signer "$dir/order-signer.pem" > /dev/null
}

@test "the close-out report verifies offline, and its equations hold" {
    stop_service
    judge "$dir/report.jws" > "$dir/report.json"
    start_service 3>&-
    python3 - "$dir" <<'PY'
import hashlib, json, sys
d = sys.argv[1]
r = json.load(open(d + "/report.json"))
c = r["counts"]
assert c == {"reserved": 15, "unused": 1, "issued": 14, "confirmed": 12, "void": 1, "orphan": 1, "shipped": 3, "stock": 8,
             "scrapped": 1, "rekeyed": 0, "reworked": 0}, c
assert [(e["left"], e["right"]) for e in r["equations"]] == [(15, 15), (14, 14), (12, 12)]
assert r["royalty"] == 12 and r["refused"] == {"device-not-in-order": 1}, r
assert r["order_file_sha256"] == hashlib.sha256(open(d + "/WO-7.jws", "rb").read()).hexdigest()
assert r["opened_at"] <= r["first_at"] <= r["last_at"] <= r["closed_at"]
PY
    # The head it names is the entry that closed the order.
    seq=$(json 'j["audit"]["seq"]' < "$dir/report.json")
    inkan audit export --from "$seq" --to "$seq" | json 'j["event"] + " " + j["hash"]' |
        grep -qx "order-closed $(json 'j["audit"]["hash"]' < "$dir/report.json")"
    # Asked for again: the same.
    inkan order report WO-7 | cmp - <(cat "$dir/report.jws"; echo)
}

@test "a report that was changed, or is of another signer or root, is refused" {
    python3 - "$dir" <<'PY'
import base64, json, sys
d = sys.argv[1]
j = json.load(open(d + "/report.jws"))
p = base64.urlsafe_b64decode(j["payload"] + "==").replace(b'"royalty":12', b'"royalty":11')
j["payload"] = base64.urlsafe_b64encode(p).rstrip(b"=").decode()
json.dump(j, open(d + "/changed.jws", "w"), separators=(",", ":"))
PY
    run judge "$dir/changed.jws"
    [ "$status" -eq 1 ]
    [[ $output == *"not one by this key"* ]]
    run inkan order verify "$dir/report.jws" --signer "$dir/signer.pem" --ca "$dir/fleet-root.pem"
    [ "$status" -eq 1 ]
    run inkan order verify "$dir/report.jws" --signer "$units/WO-7-01.pem" --ca "$dir/maker-root.pem"
    [ "$status" -eq 1 ]
    run inkan order verify "$dir/report.jws" --signer "$dir/records.pem" --ca "$dir/maker-root.pem"
    [ "$status" -eq 1 ]
    [[ $output == *"unable to get"* ]]
}

@test "a unit's own key signs no report, though the CA of the record key certified it" {
    /usr/bin/python3 - "$dir/report.jws" "$units/WO-7-01" "$dir/forged.jws" <<'PY'
import base64, hashlib, json, subprocess, sys
from asn1crypto import algos, pem, x509
report, unit, out = sys.argv[1:]
b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()
der = pem.unarmor(open(unit + ".pem", "rb").read())[2]
head = {"alg": "ES256", "kid": x509.Certificate.load(der).public_key.sha1.hex(), "typ": "inkan-close-out",
        "x5t#S256": b64(hashlib.sha256(der).digest())}
j = json.load(open(report))
j["protected"] = b64(json.dumps(head, separators=(",", ":")).encode())
signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", unit + ".key"], check=True, capture_output=True,
                        input=(j["protected"] + "." + j["payload"]).encode()).stdout
j["signature"] = b64(b"".join(v.to_bytes(32, "big") for v in algos.DSASignature.load(signed).native.values()))
json.dump(j, open(out, "w"))
PY
    cat "$units/WO-7-01.pem" "$dir/maker-ca.pem" > "$dir/forger.pem"
    run inkan order verify "$dir/forged.jws" --signer "$dir/forger.pem" --ca "$dir/maker-root.pem"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ $output == *"is not one for records"* ]]
}

# hand_over FORMAT: exported, and read by a program that knows nothing of this project
hand_over() {
    inkan order export WO-7 --format "$1" --out "$dir/out-$1"
    for n in 01 02 03 04 06 07 08 09 10 11 12; do
        echo "WO-7-$n"
    done | python3 "$source_dir/tests/lib/handover.py" "$1" "$dir/out-$1" "$units" "$dir/records.pem" "$dir/maker-root.pem" "$dir/maker-ca.pem"
}

@test "every hand-over file is read by an independent reader and tells of every good unit" {
    for format in native microchip aws-bulk aws-jitr azure-dps-json azure-dps-csv csv; do
        hand_over $format
    done
    inkan order export WO-7 --out "$dir/targets"
    diff -r "$dir/targets/csv" "$dir/out-csv"
    [ "$(cd "$dir/targets" && echo */*)" = "azure-dps/enrollments.csv azure-dps/enrollments.jsonl csv/units.csv native/index.jws native/units.jsonl" ]
    # The reader notices what is wrong.
    sed -i 2d "$dir/out-csv/units.csv"
    no python3 "$source_dir/tests/lib/handover.py" csv "$dir/out-csv" "$units" "$dir/records.pem" "$dir/maker-root.pem" "$dir/maker-ca.pem" < /dev/null
}

verify_list() {
    inkan order verify-list "$1" --signer "$dir/signer.pem" --ca "$dir/maker-root.pem"
}

@test "the native list is proven whole, and the first line that is missing, added or changed is named" {
    list=$dir/list
    inkan order export WO-7 --format native --out "$list"
    verify_list "$list" > /dev/null
    inkan order export WO-7 --format native --out "$dir/again"
    spoil() { # TEXT COMMAND...: after that change the list is refused with that text
        local says=$1
        shift
        rm -rf "$dir/spoilt"
        cp -r "$list" "$dir/spoilt"
        "$@" "$dir/spoilt/units.jsonl"
        run verify_list "$dir/spoilt"
        [ "$status" -eq 1 ]
        [[ $output == *"$says"* ]] || { echo "$output"; return 1; }
    }
    spoil "line 4 is missing" sed -i 4d
    spoil "line 1 is missing" sed -i 1d
    spoil "line 11 is missing: the index counts 11 lines" sed -i '$d'
    spoil "line 6: it is an extra one" sed -i 5p
    spoil "line 7: " sed -i '7s/"payload":"eyJ/"payload":"eyK/'
    spoil "line 3: " sed -i '3s/"signature":"....../"signature":"AAAAAA/'
    spoil "line 2: it is of another export" sed -i -e "2r $dir/again/units.jsonl" -e 2d
    spoil "line 11: the file ends in the middle" truncate -s -1
    rm -rf "$dir/spoilt"
    cp -r "$list" "$dir/spoilt"
    cp "$dir/again/index.jws" "$dir/spoilt"
    run verify_list "$dir/spoilt"
    [[ $output == *"line 1: it is of another export"* ]]
}

@test "nothing is written under a file's name when the export fails" {
    run inkan order export WO-404 --format csv --out "$dir/none"
    [ "$status" -eq 1 ]
    [ ! -e "$dir/none/units.csv" ]
    run inkan order export WO-7 --format docx --out "$dir/none"
    [ "$status" -eq 2 ]
}

@test "an order closes while the token is away; its report is signed when it is back" {
    order_file WO-10 --quantity 1 --prefix V- --digits 1
    inkan order open "$dir/WO-10.jws" > /dev/null
    [ "$(unit_issue line-1 WO-10 V-1)" = 200 ]
    [ "$(unit_confirm WO-10 V-1)" = 200 ]
    mv "$dir/tokens" "$dir/tokens.away"
    # It may have noticed by itself already.
    kill "$(inkan --json status | json '[p["pid"] for p in j["processes"] if p["name"] == "signer-issuing"][0]')" 2> /dev/null || true
    away() { inkan --json token list | json '[t["state"] for t in j if t["name"] == "issuing"][0]' | grep -vq READY; }
    wait_for 60 away
    inkan --yes order close WO-10
    run inkan order report WO-10
    [ "$status" -eq 1 ]
    [[ $output == *'token "issuing"'* ]]
    mv "$dir/tokens.away" "$dir/tokens"
    wait_for 60 inkan order report WO-10 --out "$dir/late.jws"
    judge "$dir/late.jws" | json 'j["counts"]["confirmed"]' | grep -qx 1
    grep -q 'event=report-not-signed' "$dir/log/inkan.log"
}
