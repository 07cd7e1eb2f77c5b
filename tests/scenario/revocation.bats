#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Revocation as the world sees it: at once through every front, in the list within seconds, never undone, in every race.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    use_shim
    use_test_clock
    instance_up fronts=2 "token_env=$token_env" "config_edit=/profile: fleet-ca\$/,/crl_validity/ s/crl_validity: 7d/crl_validity: 2h/"
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    group_secret 'rev-*'
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

crl_url() {
    echo "http://localhost:$((port + 1))/crl/fleet-ca.crl"
}

# listed CERT: the published list's reason for it; nothing when it is not listed
listed() {
    curl -fsS "$(crl_url)" | openssl crl -inform DER -noout -text |
        grep -iA 6 "Serial Number: *0*$(cert_serial "$1" | tr 'a-f' 'A-F')\$" | awk '/Serial Number/ && n++ { exit } /Reason Code/ { getline; gsub(/^ +/, ""); print; found = 1 } END { if (n && !found) print "no reason" }'
}

is_listed() { [ -n "$(listed "$1")" ]; }
is_not_listed() { [ -z "$(listed "$1")" ]; }

crl_number() {
    curl -fsS "$(crl_url)" | openssl crl -inform DER -noout -crlnumber | sed 's/.*=//; s/^0x//'
}

@test "50 times: the answer after a revocation has returned is revoked, through both fronts, by GET, POST and nonce" {
    enroll_many rev-a- 50 "$side/a" --connections 4 > "$side/a.load"
    [ "$(jq .issued "$side/a.load")" = 50 ]
    certs_of "$side/a"
    "$source_dir/tests/fault/revoke_at_once" --port $((port + 1)) --pids "$(pid_of front-0),$(pid_of front-1)" \
        --issuer "$dir/fleet-ca.pem" --inkan "$programs/inkan --socket $dir/run/admin.sock" "$units"/rev-a-*.pem
}

@test "the list has a revocation within two seconds, with its reason" {
    [ "$(enroll rev-b)" = 200 ]
    is_not_listed "$units/rev-b.pem"
    inkan cert revoke "$units/rev-b.pem" --reason cessationOfOperation --yes
    wait_for 60 is_listed "$units/rev-b.pem"
    [ "$(listed "$units/rev-b.pem")" = "Cessation Of Operation" ]
    # By the service's own times, in whole seconds: how long we took to look is not its matter.
    [ "$(ledger_query "SELECT MIN(c.published_at) - r.time FROM revoked r JOIN crl c ON c.issuer = r.issuer AND c.shard = 0 AND c.seq >= r.seq
        WHERE lower(hex(r.serial)) LIKE '%$(cert_serial "$units/rev-b.pem")'")" -le 3 ]
}

@test "hold and release: revoked with certificateHold, then good again and gone from the list" {
    [ "$(enroll rev-c)" = 200 ]
    answers good "$units/rev-c.pem"
    inkan cert hold "$units/rev-c.pem" --yes
    answers revoked "$units/rev-c.pem"
    [ "$(inkan cert show "$units/rev-c.pem" --json | jq -r '.status + " " + .reason')" = "on_hold certificateHold" ]
    wait_for 60 is_listed "$units/rev-c.pem"
    [ "$(listed "$units/rev-c.pem")" = "Certificate Hold" ]
    # Held again: no change.
    [ "$(inkan cert hold "$units/rev-c.pem" --yes --json | jq .changed)" = false ]
    inkan cert release "$units/rev-c.pem" --yes
    answers good "$units/rev-c.pem"
    wait_for 60 is_not_listed "$units/rev-c.pem"
    [ "$(inkan cert release "$units/rev-c.pem" --yes --json | jq .changed)" = false ]
}

@test "a held certificate cannot renew; released it can" {
    [ "$(enroll rev-d)" = 200 ]
    subject=$(openssl x509 -in "$units/rev-d.pem" -noout -subject -nameopt compat | sed 's/^subject=//')
    new_csr rev-d2 "$subject"
    inkan cert hold "$units/rev-d.pem" --yes
    [ "$(EST_OPERATION=simplereenroll est_enroll rev-d2 --cert "$units/rev-d.pem" --key "$units/rev-d.key")" = 403 ]
    inkan cert release "$units/rev-d.pem" --yes
    [ "$(EST_OPERATION=simplereenroll est_enroll rev-d2 --cert "$units/rev-d.pem" --key "$units/rev-d.key")" = 200 ]
}

@test "revoked is for good: again is success without a change, a release is refused, a hold too" {
    [ "$(enroll rev-e)" = 200 ]
    inkan cert hold "$units/rev-e.pem" --yes
    [ "$(inkan cert revoke "$units/rev-e.pem" --reason superseded --yes --json | jq .changed)" = true ]
    [ "$(inkan cert revoke "$units/rev-e.pem" --reason superseded --yes --json | jq .changed)" = false ]
    run inkan cert release "$units/rev-e.pem" --yes
    [ "$status" -eq 1 ]
    [[ "$output" == *"only a hold can be released"* ]]
    run inkan cert hold "$units/rev-e.pem" --yes
    [ "$status" -eq 1 ]
    answers revoked "$units/rev-e.pem"
    [ "$(inkan cert show "$units/rev-e.pem" --json | jq -r '.status + " " + .reason')" = "revoked superseded" ]
    # certificateHold and removeFromCRL are no reasons for a revocation, and neither is a word of our own.
    [ "$(enroll rev-e2)" = 200 ]
    for reason in certificateHold removeFromCRL lost; do
        run inkan cert revoke "$units/rev-e2.pem" --reason "$reason" --yes
        [ "$status" -eq 1 ]
    done
    answers good "$units/rev-e2.pem"
}

@test "every reason of RFC 5280 stands in the list as it was given" {
    local pair name n=0
    for pair in "keyCompromise:Key Compromise" "cACompromise:CA Compromise" "affiliationChanged:Affiliation Changed" \
        "superseded:Superseded" "cessationOfOperation:Cessation Of Operation" "privilegeWithdrawn:Privilege Withdrawn" \
        "aACompromise:AA Compromise" "unspecified:no reason"; do
        n=$((n + 1))
        [ "$(enroll "rev-f$n")" = 200 ]
        inkan cert revoke "$units/rev-f$n.pem" --reason "${pair%%:*}" --yes
    done
    wait_for 60 is_listed "$units/rev-f8.pem"
    n=0
    for pair in "Key Compromise" "CA Compromise" "Affiliation Changed" "Superseded" "Cessation Of Operation" \
        "Privilege Withdrawn" "AA Compromise" "no reason"; do
        n=$((n + 1))
        [ "$(listed "$units/rev-f$n.pem")" = "$pair" ]
    done
}

# Races. The token is slow, so that the change falls between the decision and the signature.
# race "COMMAND..." "ENROLL..." [HOW-MANY]: runs the second, and while its signatures are under way the first; $raced is the HTTP status
race() {
    shim_rules issuing "C_Sign latency_ms=1500"
    ( eval "$2" > "$side/raced" ) 3>&- &
    local racing=$!
    waits_for 60 being_signed "${3:-1}"
    eval "$1"
    wait "$racing"
    shim_rules issuing
    raced=$(cat "$side/raced")
    echo "raced: $raced"
}

being_signed() { [ "$(ledger_query "SELECT COUNT(*) FROM intent WHERE state = 0")" = "$1" ]; }

good_certs() {
    inkan cert list --device "$1" --json | jq '[.[] | select(.status == "good")] | length'
}

device_secret() {
    inkan device add "$1" > /dev/null
    made=$(inkan secret add --device "$1" --json)
    user=$(jq -r .user <<< "$made") secret=$(jq -r .secret <<< "$made")
}

@test "a device that holds nothing is stopped at once, whatever was issued before" {
    device_secret rev-other
    [ "$(enroll rev-other)" = 200 ]
    inkan device add rev-nothing > /dev/null
    timeout 30 "$programs/inkan" --socket "$dir/run/admin.sock" device stop rev-nothing --yes
}

@test "race: of two certificates signed together, only the one whose device was stopped meanwhile comes to nothing" {
    device_secret rev-pair-a
    user_a=$user secret_a=$secret
    device_secret rev-pair-b
    issued=$(grep -c 'event=cert-issued' "$dir/log/inkan.log")
    race 'inkan device stop rev-pair-b --yes > /dev/null' \
        'user=$user_a secret=$secret_a enroll rev-pair-a > "$side/pair-a" & enroll rev-pair-b; wait' 2
    [ "$(cat "$side/pair-a")" = 200 ]
    [ "$raced" != 200 ]
    [ "$(good_certs rev-pair-a)" = 1 ]
    [ "$(good_certs rev-pair-b)" = 0 ]
    [ "$(grep -c 'event=cert-issued' "$dir/log/inkan.log")" = $((issued + 1)) ]
    run inkan audit verify
    [ "$status" = 3 ] # sound, but without heads from elsewhere
}

@test "race: a device stopped while its certificate is being signed gets none that is good" {
    device_secret rev-g1
    race "inkan device stop rev-g1 --yes" "enroll rev-g1"
    [ "$raced" = 403 ]
    [ "$(good_certs rev-g1)" = 0 ]
    [ "$(enroll rev-g1)" = 403 ]
    # Without the stop the same slow enrollment is good.
    device_secret rev-g2
    race true "enroll rev-g2"
    [ "$raced" = 200 ]
    [ "$(good_certs rev-g2)" = 1 ]
    answers good "$units/rev-g2.pem"
}

renew() { # OLD NEW: with the certificate of OLD
    EST_OPERATION=simplereenroll est_enroll "$2" --max-time 20 --cert "$units/$1.pem" --key "$units/$1.key"
}

@test "race: a certificate revoked or held while it is being renewed is not renewed" {
    local change name n=0
    for change in "cert revoke" "cert hold" "device stop"; do
        n=$((n + 1))
        name=rev-h$n
        [ "$(enroll "$name")" = 200 ]
        new_csr "$name-new" "$(openssl x509 -in "$units/$name.pem" -noout -subject -nameopt compat | sed 's/^subject=//')"
        object=$units/$name.pem
        [ "$change" != "device stop" ] || object=$name
        race "inkan $change $object --yes" "renew $name $name-new"
        [ "$raced" = 403 ]
        [ "$(good_certs "$name")" = 0 ]
    done
    # Let alone, the same slow renewal is good, and the old one stays good until the new one is used.
    [ "$(enroll rev-h9)" = 200 ]
    new_csr rev-h9-new "$(openssl x509 -in "$units/rev-h9.pem" -noout -subject -nameopt compat | sed 's/^subject=//')"
    race true "renew rev-h9 rev-h9-new"
    [ "$raced" = 200 ]
    [ "$(good_certs rev-h9)" = 2 ]
}

@test "race: a group secret ended while a first enrollment is being signed" {
    made=$(inkan secret add --group 'revr-*' --quota 10 --valid 1d --json)
    user=$(jq -r .user <<< "$made") secret=$(jq -r .secret <<< "$made")
    race "inkan secret revoke $user --yes" "enroll revr-1"
    # Either way is consistent, but the next one is refused.
    [ "$raced" = 200 ] || [ "$raced" = 401 ] || [ "$raced" = 403 ]
    [ "$(enroll revr-2)" = 401 ]
}

@test "a list is signed again at half life without any revocation, and not before" {
    local first second
    inkan crl publish --issuer fleet-ca
    first=$(crl_number)
    set_clock 3000
    sleep 3
    [ "$(crl_number)" = "$first" ]
    set_clock 4200
    second_is_there() { [ "$(crl_number)" != "$first" ]; }
    waits_for 60 second_is_there
    second=$(crl_number)
    [ "$(printf '%d' "0x$second")" -gt "$(printf '%d' "0x$first")" ]
    curl -fsS "$(crl_url)" | openssl crl -inform DER -noout -CAfile "$dir/ca.pem" 2>&1 | grep -q 'verify OK'
}

# refuses_to_publish WHY: the command says why, the file stays as it is, an alarm is open
refuses_to_publish() {
    before=$(sha256sum < "$dir/state/crl/fleet-ca.crl")
    run inkan crl publish --issuer fleet-ca
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"$1"* ]]
    [ "$(sha256sum < "$dir/state/crl/fleet-ca.crl")" = "$before" ]
    is_alarmed
}
is_alarmed() { inkan doctor --json | jq -e '.[] | select(.check == "alarm crl-refused crl:fleet-ca/0")' > /dev/null; }
publishes() { inkan crl publish --issuer fleet-ca; }

@test "no list follows one with a higher number or of another issuer; the alarm is open until it is right again" {
    waits_for 60 publishes
    file=$dir/state/crl/fleet-ca.crl
    cp -p "$file" "$side/right.crl"
    raise_crl_number "$file"
    refuses_to_publish "CRLNumber is not above the old one's"
    cp -p "$side/right.crl" "$file"
    waits_for 60 publishes
    no is_alarmed
    cp -p "$file" "$side/right.crl"
    cp -p "$dir/state/crl/maker-ca.crl" "$file"
    refuses_to_publish "another issuer"
    cp -p "$side/right.crl" "$file"
    waits_for 60 publishes
    no is_alarmed
    # Cut short or gone: the ledger has a copy of what was published, and the next list is compared with that.
    : > "$file"
    waits_for 60 publishes
    rm "$file"
    waits_for 60 publishes
    [ "$(listed "$units/rev-b.pem")" = "Cessation Of Operation" ]
}

@test "a ledger that lost a revocation publishes no list that forgets it" {
    [ "$(enroll rev-k1 -k)" = 200 ]
    [ "$(enroll rev-k2 -k)" = 200 ]
    inkan cert revoke "$units/rev-k1.pem" --reason keyCompromise --yes
    waits_for 60 is_listed "$units/rev-k1.pem"
    stop_service
    serial=$(cert_serial "$units/rev-k1.pem")
    trigger=$(sqlite3 "$dir/state/ledger/ledger.db" "SELECT sql FROM sqlite_schema WHERE name = 'revoked_is_final'")
    # As somebody with root might: the row goes, the trigger that would have kept it is put back.
    sqlite3 "$dir/state/ledger/ledger.db" "DROP TRIGGER revoked_is_final; DELETE FROM revoked WHERE hex(serial) = upper('$serial') OR hex(serial) = upper('00$serial'); $trigger;"
    [ "$(id -u)" -ne 0 ] || chown inkan-core: "$dir"/state/ledger/*
    before=$(log_lines)
    start_again
    waits_for 60 health_is_ready
    inkan cert revoke "$units/rev-k2.pem" --reason keyCompromise --yes
    refused() { log_after "$before" | grep 'event=crl-refused' | grep -q "$serial"; }
    waits_for 60 refused
    run inkan crl publish --issuer fleet-ca
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"$serial"* ]]
    inkan crl publish --issuer maker-ca
    # Neither an empty one.
    stop_service
    trigger=$(sqlite3 "$dir/state/ledger/ledger.db" "SELECT sql FROM sqlite_schema WHERE name = 'revoked_is_final'")
    sqlite3 "$dir/state/ledger/ledger.db" "DROP TRIGGER revoked_is_final; DELETE FROM revoked; $trigger;"
    [ "$(id -u)" -ne 0 ] || chown inkan-core: "$dir"/state/ledger/*
    start_again
    waits_for 60 health_is_ready
    refuses_to_publish "is lost without a release or an expiry"
    # The list before stays, and it names the certificate.
    [ "$(listed "$units/rev-k1.pem")" = "Key Compromise" ]
    is_not_listed "$units/rev-k2.pem"
    run inkan audit verify
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"NOT intact"* ]]
}
