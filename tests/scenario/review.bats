#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Rules of the core at their edges: more than one page of everything, a revoked CA, a jumped clock, lists after a restore.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_test_clock
    instance_up crl_shards=2
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    group_secret 'edge-*'
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

# for_device ID COUNT: that many operational certificates, by the operator, each with a key of its own
for_device() {
    local name csr
    "$programs/mkcsr" "$1-key-" "$2" | while read -r name csr; do
        openssl base64 -d -A <<< "$csr" > "$units/$name.der"
        inkan cert issue --profile ldevid --domain example --device "$1" --csr "$units/$name.der" --out "$units/$name.pem" > /dev/null 2>&1
    done
}

good_of() { # DEVICE
    ledger_query "SELECT count(*) FROM cert WHERE status = 0 AND device = (SELECT id FROM device WHERE device_id = '$1')"
}

shard_lists() { # CERT: how many of the CA's lists hold it
    local n=0 name
    for name in fleet-ca fleet-ca-1 fleet-ca-2; do
        curl -fsS "http://localhost:$((port + 1))/crl/$name.crl" | openssl crl -inform DER -noout -text |
            grep -qi "Serial Number: *0*$(cert_serial "$1")\$" && n=$((n + 1))
    done
    echo "$n"
}

in_two_lists() { [ "$(shard_lists "$1")" = 2 ]; }

@test "a list longer than every buffer reaches a reader who is slow" {
    (echo device_id; seq -f 'bulk-%06.0f' 1 12000) > "$side/ids.csv"
    inkan device import "$side/ids.csv" --domain example > /dev/null
    [ "$(inkan device list --json | (sleep 3; grep -o 'bulk-' | wc -l))" = 12000 ]
}

@test "a device with hundreds of certificates: stop revokes every one" {
    inkan device add edge-many --domain example --product demo > /dev/null
    for_device edge-many 300
    [ "$(good_of edge-many)" = 300 ]
    inkan device stop edge-many --domain example --yes
    [ "$(good_of edge-many)" = 0 ]
    answers revoked "$units/edge-many-key-300.pem"
}

@test "a CA whose certificate is on hold certifies nobody, and does again when released" {
    inkan cert hold "$dir/fleet-ca.pem" --yes
    [ "$(enroll edge-held)" = 503 ]
    inkan cert release "$dir/fleet-ca.pem" --yes
    [ "$(enroll edge-held)" = 200 ]
}

@test "the same key again for a device is refused once it was reported as compromised, whoever asks" {
    inkan device add edge-key --domain example --product demo > /dev/null
    for_device edge-key 1
    inkan cert revoke "$units/edge-key-key-1.pem" --reason keyCompromise --yes
    run inkan cert issue --profile ldevid --domain example --device edge-key --csr "$units/edge-key-key-1.der" --out "$units/again.pem"
    [ "$status" -eq 1 ]
    [[ "$output" == *compromised* ]]
}

@test "revoked while the clock is far ahead: the list follows when the clock is right again" {
    [ "$(enroll edge-clock)" = 200 ]
    set_clock $((400 * 86400))
    is_sealed() { [ "$(inkan status --json | jq .sealed)" = true ]; }
    wait_for 60 is_sealed
    inkan cert revoke "$units/edge-clock.pem" --yes || true
    set_clock 0
    inkan clock accept --yes
    wait_for 60 in_two_lists "$units/edge-clock.pem"
    [ "$(ledger_query "SELECT count(*) FROM status_log WHERE time > $(date +%s) + 60")" = 0 ]
}

@test "after a restore the shards still carry what only they know, and go on" {
    inkan backup --out "$side/backup"
    [ "$(enroll edge-lost)" = 200 ]
    [ -s "$units/edge-lost.pem" ] || { cat "$dir/headers" "$dir/body" && false; }
    inkan cert revoke "$units/edge-lost.pem" --yes
    wait_for 60 in_two_lists "$units/edge-lost.pem"
    stop_service
    inkan restore "$side/backup" -c "$dir/inkan.yaml"
    start_again
    inkan restore --accept --json
    wait_for 60 health_is_ready
    wait_for 60 answers revoked "$units/edge-lost.pem"
    local before
    before=$(log_lines)
    wait_for 60 inkan crl publish --issuer fleet-ca
    wait_for 60 in_two_lists "$units/edge-lost.pem"
    run log_after "$before"
    [[ "$output" != *crl-refused* ]]
}

@test "an older certificate is no way around the newer one that is suspended or revoked" {
    renew() { # NAME OLD
        new_csr "$1" "$(openssl x509 -in "$units/$2.pem" -noout -subject -nameopt compat | sed 's/^subject=//')"
        EST_OPERATION=simplereenroll est_enroll "$1" --cert "$units/$2.pem" --key "$units/$2.key"
    }
    [ "$(enroll edge-line-1)" = 200 ]
    openssl x509 -in "$units/edge-line-1.pem" -out "$units/line1.pem" && cp "$units/edge-line-1.key" "$units/line1.key"
    [ "$(renew line2 line1)" = 200 ]
    inkan cert hold "$units/line2.pem" --yes
    [ "$(renew line3 line1)" = 403 ]
    inkan cert release "$units/line2.pem" --yes
    [ "$(renew line4 line1)" = 200 ]
    inkan cert revoke "$units/line4.pem" --yes
    [ "$(renew line5 line1)" = 403 ]
    [ "$(renew line6 line2)" = 403 ]
}
