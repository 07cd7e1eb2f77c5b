#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Requests of an attacker with a valid secret, on a real service.
load service

setup_file() {
    instance_up
    fault_side=$BATS_FILE_TMPDIR
    mkdir "$fault_side/keys"
}
teardown_file() { instance_down; }
setup() { instance_load; }

@test "W6: every request of the attack list is refused for its own reason, or brings nothing of what it asked for" {
    inkan device add victim --domain example --anchor example-maker --product demo > /dev/null
    made=$(inkan secret add --device victim --json)
    new_csr victim "/CN=victim"
    [ "$(est_enroll victim -u "$(jq -r .user <<< "$made"):$(jq -r .secret <<< "$made")")" = 200 ]
    made=$(inkan secret add --group 'atk-*' --quota 1000 --valid 1d --json)
    before=$(sqlite3 -readonly "$dir/state/ledger/ledger.db" 'SELECT COUNT(*) FROM cert')
    run /usr/bin/python3 "$BATS_TEST_DIRNAME/csr_attacks.py" --port "$port" --cacert "$dir/fleet-root.pem" --user "$(jq -r .user <<< "$made")" \
        --secret "$(jq -r .secret <<< "$made")" --log "$dir/log/inkan.log" --issuer "$dir/fleet-ca.pem" --victim-key "$units/victim.key" \
        --dir "$BATS_FILE_TMPDIR/keys"
    echo "$output"
    [ "$status" -eq 0 ]
    # As many certificates as rows that say so: nothing was issued on the side.
    issued=$(grep -c ': \(200\|ignored\)$' <<< "$output")
    [ "$(sqlite3 -readonly "$dir/state/ledger/ledger.db" 'SELECT COUNT(*) FROM cert')" = $((before + issued)) ]
}

@test "W6: what a known party was refused is in the audit trail with its reason" {
    sqlite3 -readonly "$dir/state/ledger/ledger.db" "SELECT DISTINCT json_extract(detail, '\$.why') FROM audit WHERE event = 'enroll-refused'" > "$dir/reasons"
    cat "$dir/reasons"
    for reason in 'two devices' "not this device's" 'change of the subject' 'challengePassword' 'names no device'; do
        grep -q "$reason" "$dir/reasons" || { echo "no entry says: $reason"; false; }
    done
}
