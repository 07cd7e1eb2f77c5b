#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What those who watch the service get: numbers, alarms, readiness; the trail on its way out.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_test_clock
    # Somebody who is told: a webhook, syslog, a file that stands for another machine's.
    hook=$(free_port)
    mkdir -p "$side/hook" "$side/elsewhere"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=hook -addext "subjectAltName=DNS:localhost" -days 2 \
        -keyout "$side/hook.key" -out "$side/hook.pem" 2> /dev/null
    openssl rand -hex 32 > "$side/hook.secret"
    if [ "$(id -u)" -eq 0 ]; then
        chown inkan-notify "$side/hook.secret" "$side/elsewhere"
    fi
    chmod 400 "$side/hook.secret"
    chmod 755 "$side/hook" "$side/elsewhere"
    keep_setting hook "$hook"
    receiver_start
    syslog_start
    instance_up fronts=2 "notify=$(cat <<YAML
  - {name: pager, to: "https://localhost:$hook/in", send: [alarms], secret: $side/hook.secret, ca: $side/hook.pem, history: true}
  - {name: archive, to: "https://localhost:$hook/in", send: [audit, heads], secret: $side/hook.secret, ca: $side/hook.pem, history: true}
  - {name: collector, to: "udp:127.0.0.1:$((hook + 1))", send: [audit, alarms]}
  - {name: counted, to: "tcp:127.0.0.1:$((hook + 2))", send: [audit, alarms], history: true}
  - {name: local, to: "unix:$side/hook/log.sock", send: [audit], history: true}
  - {name: elsewhere, to: "file:$side/elsewhere/heads", send: [heads], history: true}
YAML
)" "config_edit=$(printf '/^audit:/ a\\\n  head_interval: 2s')"
    keep_setting hook "$hook"
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
}
teardown_file() {
    instance_load
    kill "$(cat "$(cat "$BATS_FILE_TMPDIR/side")/receiver.pid")" "$(cat "$(cat "$BATS_FILE_TMPDIR/side")/syslog.pid")" 2> /dev/null || true
    umount "$dir/marks" 2> /dev/null || true
    umount "$(cat "$BATS_FILE_TMPDIR/side")/marks" 2> /dev/null || true
    instance_down
    side_dir_remove
}
setup() {
    fault_load
    [ ! -e "$dir/tokens.away" ] || mv "$dir/tokens.away" "$dir/tokens"
}

receiver_start() {
    rm -f "$side/hook/up"
    python3 "$source_dir/tests/lib/webhook.py" "$side/hook" "$hook" "$side/hook.secret" "$side/hook.pem" "$side/hook.key" \
        > "$side/receiver.log" 2>&1 3>&- 4>&- &
    echo $! > "$side/receiver.pid"
    wait_for 60 test -e "$side/hook/up" || { cat "$side/receiver.log"; return 1; }
}
syslog_start() {
    rm -f "$side/hook/syslog.up"
    python3 "$source_dir/tests/lib/syslog.py" "$side/hook" $((hook + 1)) > "$side/syslog.log" 2>&1 3>&- 4>&- &
    echo $! > "$side/syslog.pid"
    wait_for 60 test -e "$side/hook/syslog.up" || { cat "$side/syslog.log"; return 1; }
}
# told WAY STREAM: the numbers of what syslog got that way, each once
told() { grep " $2 -\|inkan-$2:" "$side/hook/syslog.$1" | sed 's/^[^{]*//' | jq .seq | sort -nu; }
# all_told WAY STREAM LAST: everything from the first to that number
all_told() { [ "$(told "$1" "$2")" = "$(seq 1 "$3")" ]; }
newest_entry() { inkan audit export | jq -s 'last.seq'; }
# got FILTER: how many deliveries match the jq filter
got() { jq -s "[.[] | select($1)] | length" "$side/hook/got.jsonl" 2> /dev/null || echo 0; }
# got_becomes N FILTER: at least
got_becomes() {
    local end=$((SECONDS + 90))
    until [ "$(got "$2")" -ge "$1" ]; do
        [ "$SECONDS" -lt "$end" ] || { grep notify "$dir/log/inkan.log" | tail -5; return 1; }
        sleep 0.3
    done
}

no() { ! "$@"; }

# scrape: the numbers as they are now, in $BATS_TEST_TMPDIR/metrics: those of every process that tells them within its second
scrape() {
    curl -fsS -D "$BATS_TEST_TMPDIR/head" -o "$BATS_TEST_TMPDIR/metrics" "http://127.0.0.1:$((port + 2))/metrics"
}
all_tell() { scrape && [ "$(metric inkan_answers process=core) $(metric inkan_answers process=status)" = "1 1" ]; }
# scrape_all: those of all processes
scrape_all() { waits_for 60 all_tell; }
# metric NAME [LABEL=VALUE...]: from the last scrape
metric() { python3 "$source_dir/tests/lib/openmetrics.py" get "$BATS_TEST_TMPDIR/metrics" "$@"; }
# metric_becomes VALUE NAME [LABEL=VALUE...]
metric_becomes() {
    local end=$((SECONDS + 90)) want=$1
    shift
    while [ "$SECONDS" -lt "$end" ]; do
        all_tell && [ "$(metric "$@" 2> /dev/null)" = "$want" ] && return 0
        sleep 0.3
    done
    echo "$* is $(metric "$@"), not $want"
    return 1
}
# metric_is_there NAME [LABEL=VALUE...]: it is told, and above zero
metric_is_there() { all_tell && [ "$(metric "$@")" -ge 1 ]; }

@test "the numbers are OpenMetrics, by a strict reader, and of the right type" {
    scrape_all
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
    scrape_all
    issued=$(metric inkan_requests_total operation=simpleenroll result=done)
    refused=$(metric inkan_requests_total operation=simpleenroll result=refused)
    unit_birth hlt-1
    unit_device hlt-1 enroll
    new_csr nobody /CN=nobody
    [ "$(est_enroll nobody -u nobody:wrong)" = 401 ]
    metric_becomes $((issued + 1)) inkan_requests_total operation=simpleenroll result=done
    metric_becomes $((refused + 1)) inkan_requests_total operation=simpleenroll result=refused
    [ "$(metric inkan_sign_seconds_count token=issuing)" -gt 0 ]
    metric_becomes 1 inkan_devices state=in_service
    metric_becomes 1 inkan_device_certificates
    [ "$(metric inkan_renewals_due)" = 0 ]
    inkan cert revoke "$units/hlt-1/cert.pem" --reason keyCompromise --yes
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$units/hlt-1/cert.pem" -url "http://localhost:$((port + 1))/ocsp" \
        -CAfile "$dir/ca.pem" > "$BATS_TEST_TMPDIR/ocsp" 2>&1
    metric_becomes 1 inkan_revocations_total reason=keyCompromise
    [ "$(metric inkan_revocations_total reason=superseded)" = 0 ]
    waits_for 60 metric_is_there inkan_ocsp_answers_total how=signed
    waits_for 60 metric_is_there inkan_status_sign_seconds_count token=ocsp
    metric_becomes 0 inkan_device_certificates
    # both fronts' answers are there, whichever of them is asked
    waits_for 60 metric_is_there inkan_http_answers_total listener=est class=4xx
    metric inkan_front_connections process=front-0
    metric inkan_front_connections process=front-1
}

@test "certificate ends, lists, processes and the trail are told" {
    local now
    now=$(date +%s)
    scrape_all
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
    status_tells() { scrape && [ "$(metric inkan_answers process=status)" = 1 ]; }
    waits_for 60 status_tells || { kill -CONT "$core"; return 1; }
    alive=$(curl -sS -o /dev/null -w '%{http_code}' "http://127.0.0.1:$((port + 2))/health")
    kill -CONT "$core"
    [ "$alive" = 503 ]
    wait_for 60 health_is_ready
    [ "$(metric inkan_answers process=core)" = 0 ]
    no metric inkan_audit_entries
    python3 "$source_dir/tests/lib/openmetrics.py" check "$BATS_TEST_TMPDIR/metrics"
}

# alarm_of KIND: state and object of the newest one, with -a of ended ones too
alarm_of() { inkan --json alarm list --all | jq -r --arg k "$1" '[.[] | select(.kind == $k)] | last | .state + " " + .object'; }
# alarm_becomes STATE KIND
alarm_becomes() {
    local end=$((SECONDS + 90))
    while [ "$SECONDS" -lt "$end" ]; do
        case $(alarm_of "$2") in "$1 "*) return 0 ;; esac
        sleep 0.5
    done
    inkan alarm list --all
    return 1
}

@test "the token is taken away: not ready but alive, alarms that it is down and that heads are late; well again by itself" {
    waits_for 60 health_is_ready
    mv "$dir/tokens" "$dir/tokens.away"
    inkan device add hlt-gone --domain example --product demo > /dev/null # an entry that no head will name
    waits_for 60 not_ready
    metric_becomes 0 inkan_token_up token=issuing
    sleep 3 # the watch, which looks every other second, saw it down once
    set_clock 120
    alarm_becomes open token-down
    [ "$(alarm_of token-down)" = "open token:issuing" ]
    alarm_becomes open audit-head-late
    waits_for 60 not_ready
    is_alive() { [ "$(curl -sS -o /dev/null -w '%{http_code}' "http://127.0.0.1:$((port + 2))/health")" = 200 ]; }
    waits_for 60 is_alive
    mv "$dir/tokens.away" "$dir/tokens"
    alarm_becomes cleared token-down
    alarm_becomes cleared audit-head-late
    waits_for 60 health_is_ready
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
    waits_for 60 umount "$dir/marks" # not while a head is written there
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
    inkan audit export | jq -s -e --argjson id "$id" 'any(.[]; .event == "alarm-acked" and (.detail | fromjson).alarm == $id and .actor == "root")' > /dev/null
    run inkan alarm ack 999999
    [ "$status" -eq 1 ]
    run inkan alarm show nonsense
    [ "$status" -eq 1 ]
}

@test "alarms, acknowledgements and ends go to a webhook, signed, each with its own delivery id" {
    got_becomes 1 '.body.stream == "alarms" and .body.rows[0].event == "raised" and .body.rows[0].alarm.kind == "disk-low"'
    got_becomes 1 '.body.rows[0].event == "acked" and .body.rows[0].alarm.note == "another disk is on its way"'
    got_becomes 1 '.body.rows[0].event == "cleared" and .body.rows[0].alarm.kind == "suspend-review"'
    [ "$(got '.good | not')" = 0 ]
    [ "$(got '.fresh | not')" = 0 ]
    # in order, none left out
    jq -s -e '[.[] | select(.body.stream == "alarms") | .body.rows[0].seq] | . == [range(1; length + 1)]' "$side/hook/got.jsonl" > /dev/null
    no grep -r "$(cat "$side/hook.secret")" "$dir/log"
}

@test "nothing is lost while the receiver is down, inkan-notify is killed and the service restarts; the core does not wait" {
    local before last
    touch "$side/hook/down"
    unit_birth hlt-3
    unit_device hlt-3 enroll
    inkan device suspend hlt-3 --until 1s --yes
    alarm_becomes open suspend-review
    # however long and often: a receiver in trouble loses nothing
    waits_for 60 test -s "$side/hook/refused"
    set_clock 900
    often() { [ "$(grep -c "^pager" "$side/hook/refused")" -ge 4 ]; }
    waits_for 60 often
    # the core issues all the same
    unit_birth hlt-4
    unit_device hlt-4 enroll
    waits_for 60 metric_is_there inkan_notify_behind name=pager
    waits_for 60 metric_is_there inkan_notify_failures_total name=pager
    kill -KILL "$(cat "$dir/run/notify.pid")"
    inkan alarm ack "$(inkan --json alarm list | jq -r '.[] | select(.kind == "suspend-review") | .id')"
    stop_service
    start_service 3>&-
    rm "$side/hook/down"
    got_becomes 2 '.body.rows[0].event == "raised" and .body.rows[0].alarm.kind == "suspend-review"'
    got_becomes 2 '.body.rows[0].event == "cleared" and .body.rows[0].alarm.kind == "suspend-review"'
    jq -s -e '[.[] | select(.body.stream == "alarms") | .body.rows[0].seq] | unique | . == [range(1; length + 1)]' "$side/hook/got.jsonl" > /dev/null
    metric_becomes 0 inkan_notify_behind name=pager
    # the trail too, whole: what the receiver has is what the service exports
    last=$(inkan audit export --format jsonl | jq -s 'last.seq')
    [ "$(inkan audit export --from 3 --to 5 | jq -s -c '[.[].seq]')" = "[3,4,5]" ]
    run inkan audit export --format csv
    [ "$status" -eq 2 ]
    got_becomes 1 ".body.stream == \"audit\" and .body.rows[-1].seq >= $last"
    jq -c 'select(.body.stream == "audit") | .body.rows[]' "$side/hook/got.jsonl" | jq -s -c 'unique_by(.seq)[]' | head -n "$last" | jq -S -c . > "$BATS_TEST_TMPDIR/told"
    inkan audit export --to "$last" | jq -S -c . > "$BATS_TEST_TMPDIR/exported"
    diff -q "$BATS_TEST_TMPDIR/told" "$BATS_TEST_TMPDIR/exported"
}

@test "a row that a webhook always refuses is set aside, said, and holds up nothing but itself" {
    local last
    rm -f "$side/hook/refused"
    unit_birth hlt-6
    unit_device hlt-6 enroll
    inkan device suspend hlt-6 --until 1s --yes
    got_becomes 1 '.body.rows[0].event == "raised" and .body.rows[0].alarm.object == "device:example/hlt-6"'
    echo 'cannot be parsed there.*"event":"(alarm-)?acked"' > "$side/hook/poison"
    inkan alarm ack "$(inkan --json alarm list | jq -r '.[] | select(.object == "device:example/hlt-6") | .id')" --note "cannot be parsed there"
    inkan device release hlt-6 --yes
    inkan device suspend hlt-6 --until 1s --yes
    # the trail's page is taken apart first
    refused() { [ "$(grep -c '^pager-alarms' "$side/hook/refused")" -ge 1 ] && [ "$(grep -c '^archive-audit' "$side/hook/refused")" -ge 3 ]; }
    waits_for 60 refused
    set_clock 1800
    got_becomes 2 '.body.rows[0].event == "raised" and .body.rows[0].alarm.object == "device:example/hlt-6"'
    alarm_becomes open notify-set-aside
    metric_becomes 1 inkan_notify_set_aside_total name=pager stream=alarms
    metric_becomes 1 inkan_notify_set_aside_total name=archive stream=audit
    both_are_said() { inkan --json alarm list | jq -e '[.[] | select(.kind == "notify-set-aside") | .object] | sort == ["notify:archive", "notify:pager"]'; }
    waits_for 60 both_are_said
    [ "$(grep -c 'event=notify-set-aside' "$dir/log/inkan.log")" = 2 ]
    # one entry is missing there, and no other, also of its page
    last=$(newest_entry)
    got_becomes 1 ".body.stream == \"audit\" and .body.rows[-1].seq >= $last"
    jq -c 'select(.body.stream == "audit") | .body.rows[]' "$side/hook/got.jsonl" | jq -s -c 'unique_by(.seq)[]' | head -n $((last - 1)) | jq -S -c . > "$BATS_TEST_TMPDIR/told"
    inkan audit export --to "$last" | grep -v "cannot be parsed there" | jq -S -c . > "$BATS_TEST_TMPDIR/exported"
    diff -q "$BATS_TEST_TMPDIR/told" "$BATS_TEST_TMPDIR/exported"
    rm "$side/hook/poison"
}

@test "syslog by datagram, by TCP with lengths, by the local socket: whole lines, in order, also after its server was away" {
    local rfc5424='^<10[89]>1 [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z [^ ]+ inkan - (audit|alarms) - \{.*\}$' last
    unit_birth hlt-7
    waits_for 60 all_told tcp audit "$(newest_entry)"
    kill "$(cat "$side/syslog.pid")"
    waits_for 60 sh -c "! kill -0 $(cat "$side/syslog.pid")"
    inkan device add hlt-8 --domain example --product demo > /dev/null # one line: no other would find that it is away
    metric_away() { all_tell && [ "$(metric inkan_notify_failures_total name=counted)" -ge 1 ] && [ "$(metric inkan_notify_failures_total name=local)" -ge 1 ]; }
    waits_for 60 metric_away
    syslog_start
    last=$(newest_entry)
    waits_for 60 all_told tcp audit "$last"
    waits_for 60 all_told unix audit "$last"
    waits_for 60 grep -q hlt-7 "$side/hook/syslog.udp"
    no grep -vE "$rfc5424" "$side/hook/syslog.udp"
    no grep -vE "$rfc5424" "$side/hook/syslog.tcp"
    no grep -vE '^<109>inkan-audit: \{.*\}$' "$side/hook/syslog.unix"
    [ -n "$(told tcp alarms)" ]
    sed 's/^[^{]*//' "$side/hook/syslog.tcp" | jq -e .seq > /dev/null
}

@test "heads kept elsewhere, by file or by webhook, name the first bad entry of an altered trail" {
    local seq ledger=$BATS_TEST_TMPDIR/ledger.db
    seq=$(inkan audit export | jq -s 'last.seq')
    got_becomes 1 ".body.stream == \"heads\" and .body.rows[-1].seq >= $seq"
    head_is_elsewhere() { [ "$(tail -n 1 "$side/elsewhere/heads" | cut -d' ' -f1)" -ge "$seq" ]; }
    waits_for 60 head_is_elsewhere
    cp "$side/elsewhere/heads" "$BATS_TEST_TMPDIR/file-heads" # those to come name what the copy has not
    jq -r 'select(.body.stream == "heads") | .body.rows[].line' "$side/hook/got.jsonl" > "$BATS_TEST_TMPDIR/heads"
    inkan backup --out "$ledger"
    inkan audit verify --ledger "$ledger" --heads "$BATS_TEST_TMPDIR/file-heads"
    inkan audit verify --ledger "$ledger" --heads "$BATS_TEST_TMPDIR/heads"
    # with the audit's key kept elsewhere; another one proves nothing
    inkan --json key list | jq -r '.[] | select(.purpose == "audit") | .spki' | openssl base64 -d -A | openssl pkey -pubin -inform DER -out "$BATS_TEST_TMPDIR/audit-key.pem"
    inkan audit verify --ledger "$ledger" --heads "$BATS_TEST_TMPDIR/heads" --key "$BATS_TEST_TMPDIR/audit-key.pem"
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkey -pubout -out "$BATS_TEST_TMPDIR/other.pem"
    run inkan audit verify --ledger "$ledger" --heads "$BATS_TEST_TMPDIR/heads" --key "$BATS_TEST_TMPDIR/other.pem"
    [ "$status" -eq 3 ]
    [[ $output == *"none is covered by a head signed by the given key"* ]]
    # alter SQL WHAT SEQ: a copy with the trail changed so is refused, and that entry is named, with the heads of either place
    alter() {
        local heads
        cp "$ledger" "$BATS_TEST_TMPDIR/bad.db"
        python3 - "$BATS_TEST_TMPDIR/bad.db" "DROP TRIGGER audit_stays; DROP TRIGGER audit_is_final; DROP TRIGGER IF EXISTS audit_head_stays; $1" <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.executescript(sys.argv[2])
c.commit()
PY
        for heads in "$BATS_TEST_TMPDIR/file-heads" "$BATS_TEST_TMPDIR/heads"; do
            run inkan audit verify --ledger "$BATS_TEST_TMPDIR/bad.db" --heads "$heads" --json
            echo "$2: $status $output"
            [ "$status" -eq 1 ]
            [ "$(jq -r .bad_entry <<< "$output")" = "$3" ]
        done
    }
    alter "UPDATE audit SET actor = 'nobody' WHERE seq = 7" edit 7
    alter "DELETE FROM audit WHERE seq = 9" gap 9
    alter "UPDATE audit SET seq = -1 WHERE seq = 11; UPDATE audit SET seq = 11 WHERE seq = 12; UPDATE audit SET seq = 12 WHERE seq = -1" reorder 11
    alter "DELETE FROM audit_head WHERE seq > 20; DELETE FROM audit WHERE seq > 20" truncation 21
}

@test "inkan-notify is confined as the others are, and does not run unless it is told whom to tell" {
    [ "$(id -u)" -eq 0 ] || skip "needs root for users"
    local pid
    pid=$(cat "$dir/run/notify.pid")
    for task in /proc/"$pid"/task/*; do
        [ "$(sed -n 's/^Seccomp:\t//p' "$task/status")" = 2 ]
        [ "$(sed -n 's/^NoNewPrivs:\t//p' "$task/status")" = 1 ]
    done
    [ "$(sed -n 's/^Uid:\t//p' "/proc/$pid/status" | cut -f2)" = "$(id -u inkan-notify)" ]
    [ "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")" = 0000000000000000 ]
    [ "$(stat -c %a "$dir/state/notify")" = 700 ]
    sed '/^notify:/,$d' "$dir/inkan.yaml" > "$BATS_TEST_TMPDIR/without.yaml"
    "$programs/inkand" -t -c "$BATS_TEST_TMPDIR/without.yaml"
    sed 's#file:/[^"]*#file:relative#' "$dir/inkan.yaml" > "$BATS_TEST_TMPDIR/bad.yaml"
    run "$programs/inkand" -t -c "$BATS_TEST_TMPDIR/bad.yaml"
    [ "$status" -ne 0 ]
    [[ $output == *"notify[5].to"* ]]
}

@test "rules and dashboard are well formed and name no metric that is not there" {
    metric_becomes 0 inkan_renewals_due
    python3 "$source_dir/tests/lib/openmetrics.py" uses "$BATS_TEST_TMPDIR/metrics" "$source_dir/deploy/prometheus/inkan.rules.yml" \
        "$source_dir/deploy/prometheus/inkan.rules.test.yml" "$source_dir/deploy/grafana/inkan.json"
    sed 's/inkan_sealed/inkan_seeled/' "$source_dir/deploy/prometheus/inkan.rules.yml" > "$BATS_TEST_TMPDIR/bad.yml"
    no python3 "$source_dir/tests/lib/openmetrics.py" uses "$BATS_TEST_TMPDIR/metrics" "$BATS_TEST_TMPDIR/bad.yml"
    python3 - "$source_dir/deploy/prometheus/inkan.rules.yml" "$source_dir/deploy/prometheus/inkan.rules.test.yml" <<'PY'
import sys, yaml
rules = [r for g in yaml.safe_load(open(sys.argv[1]))["groups"] for r in g["rules"]]
assert len(rules) == len({r["alert"] for r in rules}) > 20
for r in rules:
    assert r["labels"]["severity"] in ("critical", "warning", "info"), r
    assert r["annotations"]["summary"] and r["annotations"]["runbook"], r
    assert r["expr"].count("(") == r["expr"].count(")"), r
well, broken = yaml.safe_load(open(sys.argv[2]))["tests"]
fired = [s["labels"] for s in broken["promql_expr_test"][0]["exp_samples"]]
assert fired == ['{alertname="%s"}' % r["alert"] for r in rules], "each rule is tried"
PY
    if command -v promtool; then
        promtool check rules "$source_dir/deploy/prometheus/inkan.rules.yml"
        promtool test rules "$source_dir/deploy/prometheus/inkan.rules.test.yml"
    fi
}

@test "every metric is in docs/metrics.md" {
    metric_becomes 0 inkan_renewals_due
    python3 "$source_dir/tests/lib/openmetrics.py" docs "$BATS_TEST_TMPDIR/metrics" "$source_dir/docs/metrics.md"
}
