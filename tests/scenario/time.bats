#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What ends while nobody renews it, and dates whose form changes. Jumps of the clock: clock.bats.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_shim
    use_test_clock
    instance_up "token_env=$token_env"
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    group_secret 'tim-*'
    [ "$(enroll tim-known)" = 200 ]
}
teardown_file() {
    fault_load
    rm -f "$side"/rules-*
    instance_down
    side_dir_remove
}
setup() { fault_load; }

day=86400

# restart_at SECONDS: the service was off until then
restart_at() {
    stop_service
    set_clock "$1"
    start_again
}

# open_alarm KIND OBJECT
open_alarm() { inkan doctor --json | jq -e --arg check "alarm $1 $2" '.[] | select(.check == $check)' > /dev/null; }

# A list that says it is newer than every list to come: the gate lets none through.
block_lists() {
    cp -p "$dir/state/crl/fleet-ca.crl" "$side/fleet-ca.crl"
    raise_crl_number "$dir/state/crl/fleet-ca.crl"
}
unblock_lists() { cp -p "$side/fleet-ca.crl" "$dir/state/crl/fleet-ca.crl"; }

list_is_why() { [[ "$(inkan status --json | jq -r .why)" == *"CRL is close to its nextUpdate"* ]]; }

@test "a list that cannot be renewed: an alarm at half of its life, not ready at nine tenths, well again by itself" {
    block_lists
    # 7 days: nothing is wrong before the half.
    restart_at $((3 * day))
    waits_for 60 health_is_ready
    no open_alarm crl-late crl:fleet-ca/0
    restart_at $((4 * day))
    waits_for 60 open_alarm crl-late crl:fleet-ca/0
    log_after 0 | grep 'event=crl-late' | grep -q 'ca=fleet-ca'
    waits_for 60 health_is_ready
    # Issuance and status do not depend on it.
    [ "$(enroll tim-late -k)" = 200 ]
    answers good "$units/tim-late.pem"
    restart_at $((6 * day + day / 2))
    waits_for 60 list_is_why
    waits_for 60 not_ready
    unblock_lists
    waits_for 60 health_is_ready
    waits_for 60 no open_alarm crl-late crl:fleet-ca/0
    next=$(date -d "$(curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" | openssl crl -inform DER -noout -nextupdate | cut -d= -f2)" +%s)
    [ "$next" -gt $(($(date +%s) + 13 * day)) ]
}

# The responder's own certificate, out of an answer made now.
responder_ends() {
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$units/tim-known.pem" -url "http://localhost:$((port + 1))/ocsp" -noverify \
        -respout "$side/answer.der" > /dev/null 2>&1
    openssl ocsp -respin "$side/answer.der" -noverify -resp_text 2> /dev/null |
        sed -n '/^-----BEGIN/,/^-----END/p' | openssl x509 -noout -enddate | cut -d= -f2
}
ends_after() { [ "$(date -d "$(responder_ends)" +%s)" -gt $(($(date +%s) + $1)) ]; }

@test "a responder certificate that cannot be renewed serves to its last day, is never used after it, and is renewed when the CA can sign" {
    # 30 days, renewed at two thirds: at day 26 it would be new.
    shim_rules issuing "C_Sign rv=0x70"
    restart_at $((26 * day))
    waits_for 60 answers good "$units/tim-known.pem"
    inkan device add tim-written --domain example --product demo > /dev/null # the ledger has seen this day
    no ends_after $((31 * day))
    inkan doctor --json | jq -e '.[] | select(.check | test("fleet-ca")) | select(.state != "ok")' > /dev/null
    waits_for 60 open_alarm certificate-end ocsp:fleet-ca
    restart_at $((34 * day))
    waits_for 60 answers "trylater (3)" "$units/tim-known.pem"
    sleep 3
    answers "trylater (3)" "$units/tim-known.pem"
    shim_rules issuing
    waits_for 120 answers good "$units/tim-known.pem"
    ends_after $((60 * day))
    alarm_ended() { no open_alarm certificate-end ocsp:fleet-ca; }
    waits_for 60 alarm_ended
}
