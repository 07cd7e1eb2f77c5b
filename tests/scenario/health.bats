#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What those who watch the service get: numbers, alarms, readiness; the trail on its way out.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_test_clock
    instance_up fronts=2
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
}
teardown_file() {
    instance_load
    umount "$dir/marks" 2> /dev/null || true
    umount "$(cat "$BATS_FILE_TMPDIR/side")/marks" 2> /dev/null || true
    instance_down
    side_dir_remove
}
setup() { fault_load; }

no() { ! "$@"; }

# scrape: the numbers as they are now, in $BATS_TEST_TMPDIR/metrics
scrape() {
    curl -fsS -D "$BATS_TEST_TMPDIR/head" -o "$BATS_TEST_TMPDIR/metrics" "http://127.0.0.1:$((port + 2))/metrics"
}
# metric NAME [LABEL=VALUE...]: from the last scrape
metric() { python3 "$source_dir/tests/lib/openmetrics.py" get "$BATS_TEST_TMPDIR/metrics" "$@"; }
# metric_becomes VALUE NAME [LABEL=VALUE...]
metric_becomes() {
    local end=$((SECONDS + 15)) want=$1
    shift
    while [ "$SECONDS" -lt "$end" ]; do
        scrape && [ "$(metric "$@" 2> /dev/null)" = "$want" ] && return 0
        sleep 0.3
    done
    echo "$* is $(metric "$@"), not $want"
    return 1
}

@test "the numbers are OpenMetrics, by a strict reader, and of the right type" {
    scrape
    grep -qi '^Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8' "$BATS_TEST_TMPDIR/head"
    python3 "$source_dir/tests/lib/openmetrics.py" check "$BATS_TEST_TMPDIR/metrics"
    # the reader does refuse what is broken
    sed '/# EOF/d' "$BATS_TEST_TMPDIR/metrics" > "$BATS_TEST_TMPDIR/cut"
    no python3 "$source_dir/tests/lib/openmetrics.py" check "$BATS_TEST_TMPDIR/cut"
    sed 's/^inkan_sealed .*/&\n&/' "$BATS_TEST_TMPDIR/metrics" > "$BATS_TEST_TMPDIR/twice"
    no python3 "$source_dir/tests/lib/openmetrics.py" check "$BATS_TEST_TMPDIR/twice"
    sed 's/_requests_total{/_requests{/' "$BATS_TEST_TMPDIR/metrics" > "$BATS_TEST_TMPDIR/suffix"
    no python3 "$source_dir/tests/lib/openmetrics.py" check "$BATS_TEST_TMPDIR/suffix"
}

@test "what happens is counted: issuance, refusals, revocation by reason, signatures, OCSP, devices by state" {
    local issued refused
    scrape
    issued=$(metric inkan_requests_total operation=simpleenroll result=done)
    refused=$(metric inkan_requests_total operation=simpleenroll result=refused)
    [ "$(metric inkan_answers process=core)" = 1 ]
    [ "$(metric inkan_answers process=status)" = 1 ]
    unit_birth hlt-1
    unit_device hlt-1 enroll
    new_csr nobody /CN=nobody
    [ "$(est_enroll nobody -u nobody:wrong)" = 401 ]
    metric_becomes $((issued + 1)) inkan_requests_total operation=simpleenroll result=done
    [ "$(metric inkan_requests_total operation=simpleenroll result=refused)" = $((refused + 1)) ]
    [ "$(metric inkan_sign_seconds_count token=issuing)" -gt 0 ]
    metric_becomes 1 inkan_devices state=in_service
    [ "$(metric inkan_device_certificates)" = 1 ]
    [ "$(metric inkan_renewals_due)" = 0 ]
    inkan cert revoke "$units/hlt-1/cert.pem" --reason keyCompromise --yes
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$units/hlt-1/cert.pem" -url "http://localhost:$((port + 1))/ocsp" \
        -CAfile "$dir/ca.pem" > "$BATS_TEST_TMPDIR/ocsp" 2>&1
    metric_becomes 1 inkan_revocations_total reason=keyCompromise
    [ "$(metric inkan_revocations_total reason=superseded)" = 0 ]
    [ "$(metric inkan_ocsp_answers_total how=signed)" -ge 1 ]
    [ "$(metric inkan_status_sign_seconds_count token=ocsp)" -ge 1 ]
    metric_becomes 0 inkan_device_certificates
    # both fronts' answers are there, whichever of them is asked
    [ "$(metric inkan_http_answers_total listener=est class=4xx)" -ge 1 ]
    metric inkan_front_connections process=front-0
    metric inkan_front_connections process=front-1
}

@test "certificate ends, lists, processes and the trail are told" {
    local now
    now=$(date +%s)
    scrape
    [ "$(metric inkan_certificate_end_seconds kind=ca name=fleet-ca)" -gt "$now" ]
    [ "$(metric inkan_certificate_end_seconds kind=ocsp name=fleet-ca)" -gt "$now" ]
    [ "$(metric inkan_certificate_end_seconds kind=server name=front-1)" -gt "$now" ]
    [ "$(metric inkan_certificate_end_seconds kind=record)" -gt "$now" ]
    [ "$(metric inkan_crl_next_update_seconds issuer=fleet-ca shard=0)" -gt "$now" ]
    [ "$(metric inkan_process_up process=core)" = 1 ]
    [ "$(metric inkan_process_up process=signer-issuing)" = 1 ]
    metric inkan_key_created_seconds
    [ "$(metric inkan_audit_entries)" -gt 0 ]
    [ "$(metric inkan_approvals_waiting what=request)" = 0 ]
}

@test "a process that does not answer is told of, and its numbers are missing" {
    local core
    core=$(inkan --json status | python3 -c 'import json,sys; print(*[p["pid"] for p in json.load(sys.stdin)["processes"] if p["name"] == "core"])')
    kill -STOP "$core"
    scrape || { kill -CONT "$core"; return 1; }
    kill -CONT "$core"
    [ "$(metric inkan_answers process=core)" = 0 ]
    [ "$(metric inkan_answers process=status)" = 1 ]
    no metric inkan_audit_entries
    python3 "$source_dir/tests/lib/openmetrics.py" check "$BATS_TEST_TMPDIR/metrics"
}

# alarm_of KIND: state and object of the newest one, with -a of ended ones too
alarm_of() { inkan --json alarm list --all | jq -r --arg k "$1" '[.[] | select(.kind == $k)] | last | .state + " " + .object'; }
# alarm_becomes STATE KIND
alarm_becomes() {
    local end=$((SECONDS + 20))
    while [ "$SECONDS" -lt "$end" ]; do
        case $(alarm_of "$2") in "$1 "*) return 0 ;; esac
        sleep 0.5
    done
    inkan alarm list --all
    return 1
}

@test "a disk that fills is an alarm, which stays until there is room, also when somebody has looked" {
    local id
    mkdir -p "$side/marks"
    mount --bind "$dir/marks" "$side/marks"
    mount -t tmpfs -o size=1m,mode=700,uid="$(id -u inkan-core)" tmpfs "$dir/marks"
    cp -a "$side/marks/." "$dir/marks/"
    head -c 1000000 /dev/zero > "$dir/marks/fill" || true
    alarm_becomes open disk-low
    [ "$(alarm_of disk-low)" = "open marks" ]
    id=$(inkan --json alarm list | jq -r '.[] | select(.kind == "disk-low") | .id')
    inkan alarm ack "$id" --note "another disk is on its way"
    [ "$(inkan --json alarm show "$id" | jq -r '.state + " " + .acked_by + ": " + .note')" = "acked root: another disk is on its way" ]
    inkan alarm ack "$id"
    metric_becomes 1 inkan_alarms_open kind=disk-low
    rm "$dir/marks/fill"
    alarm_becomes cleared disk-low
    umount "$dir/marks"
    umount "$side/marks"
}

@test "an alarm that nothing ends is ended by whoever acknowledges it, in the trail" {
    local id
    unit_birth hlt-2
    unit_device hlt-2 enroll
    inkan device suspend hlt-2 --until 1s --yes 2> "$BATS_TEST_TMPDIR/err" || { cat "$BATS_TEST_TMPDIR/err"; return 1; }
    alarm_becomes open suspend-review
    id=$(inkan --json alarm list | jq -r '.[] | select(.kind == "suspend-review") | .id')
    inkan alarm ack "$id" --note "seen"
    alarm_becomes cleared suspend-review
    inkan audit export | jq -e --argjson id "$id" 'select(.event == "alarm-acked" and (.detail | if type == "string" then fromjson else . end).alarm == $id)' > /dev/null
    run inkan alarm ack 999999
    [ "$status" -eq 1 ]
    run inkan alarm show nonsense
    [ "$status" -eq 1 ]
}

@test "every metric is in docs/metrics.md" {
    metric_becomes 0 inkan_renewals_due
    python3 "$source_dir/tests/lib/openmetrics.py" docs "$BATS_TEST_TMPDIR/metrics" "$source_dir/docs/metrics.md"
}
