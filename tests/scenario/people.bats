#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# People: who may do what, from the network and from the machine; what takes two of them; what a program that stands between them
# and the core can do, which is nothing.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    people=yes two_person_above=3 admin_user=nobody instance_up
    mkdir "$dir/people"
    for person in alice:operator,factory,ca-admin bob:operator,security,ca-admin aud:auditor; do
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=${person%%:*}" \
            -keyout "$dir/people/${person%%:*}.key" -out "$dir/people/${person%%:*}.csr" 2> /dev/null
        inkan operator add "${person%%:*}" --roles "${person#*:}" --csr "$dir/people/${person%%:*}.csr" --out "$dir/people/${person%%:*}.pem"
    done
    group_secret 'unit-*'
    for n in 1 2 3 4 5; do [ "$(enroll unit-$n)" = 200 ]; done
}
teardown_file() {
    instance_down
    side_dir_remove
}
setup() { fault_load; }

# by PERSON COMMAND...: over the network
by() {
    local who=$1
    shift
    "$programs/inkan" --url "https://localhost:$((port + 3))" --ca "$dir/fleet-root.pem" --as "$dir/people/$who.pem" --key "$dir/people/$who.key" "$@"
}

# here PERSON COMMAND...: signed, on the local socket
here() {
    local who=$1
    shift
    inkan --as "$dir/people/$who.pem" --key "$dir/people/$who.key" "$@"
}

# refused WORDS COMMAND...
refused() {
    local words=$1
    shift
    run "$@"
    echo "$output"
    [ "$status" -ne 0 ] && [[ $output == *"$words"* ]]
}

node() {
    curl -fsS --cacert "$dir/fleet-root.pem" --cert "$dir/people/alice.pem" --key "$dir/people/alice.key" "https://localhost:$((port + 3))/v1/node" | jq -r .done.node
}

signed() { # PERSON OP ARGS [options]
    local who=$1
    shift
    python3 "$source_dir/tests/lib/signed.py" sign --cert "$dir/people/$who.pem" --key "$dir/people/$who.key" --node "$(cat "$dir/node")" "$@"
}

audit_since() { # SEQ JQ-FILTER
    inkan audit export --from "$1" | jq -r "$2"
}

serial_of() {
    openssl x509 -in "$1" -noout -serial | cut -d= -f2 | tr A-F a-f
}

# ---- over the network ----

@test "an operator with a certificate lists and changes over the network, and the trail names and shows the signature" {
    wait_for 60 by alice status
    [ "$(by alice ca list --json | jq length)" = 5 ]
    [ "$(by aud device list --json | jq length)" = 5 ]
    serial=$(serial_of "$units/unit-1.pem")
    by alice cert hold --issuer fleet-ca --serial "$serial" --yes
    [ "$(inkan cert show --issuer fleet-ca --serial "$serial" --json | jq -r .status)" = on_hold ]
    by alice cert release --issuer fleet-ca --serial "$serial" --yes
    entry=$(inkan audit export | jq -c 'select(.event == "cert-held")')
    [ "$(jq -r '"\(.actor) \(.actor_kind)"' <<< "$entry")" = "alice operator" ]
    payload=$(jq -r .signature <<< "$entry" | cut -d. -f2 | tr '_-' '/+')
    [ "$(printf '%s==' "$payload" | base64 -d 2> /dev/null | jq -r .op)" = cert.hold ]
}

@test "a list of any length and a file pass, in both directions" {
    seq -f 'many-%04g' 1 4000 > "$dir/many.csv"
    by alice device import "$dir/many.csv"
    [ "$(by aud device list 'many-*' --json | jq length)" = 4000 ]
    by aud crl get --issuer fleet-ca --out "$dir/remote.crl"
    openssl crl -in "$dir/remote.crl" -inform "$(head -c 1 "$dir/remote.crl" | grep -q - && echo PEM || echo DER)" -noout
    wrong=$dir/no-order.json
    echo '{}' > "$wrong"
    refused "JWS" by alice order open "$wrong"
}

@test "who does not read makes neither inkan-admin nor the core keep the answer, and holds up nobody" {
    node > "$dir/node"
    sockets > "$dir/sockets"
    signed alice audit.export '{}' > "$dir/request"
    python3 "$source_dir/tests/lib/slow_reader.py" $((port + 3)) "$dir/fleet-root.pem" "$dir/people/alice.pem" "$dir/people/alice.key" "$(pid_of core)" \
        < "$dir/request" > "$dir/slow" 3>&- &
    reader=$!
    by bob status > /dev/null
    wait "$reader"
    cat "$dir/slow"
    # 256 KiB in inkan-admin and as much in the core, what the kernel keeps for both, and a page of rows in each.
    jq -e '.held > 100000 and .held < 1000000 and .whole > 2 * .held and .last == "{\"done\":{}}\n"' "$dir/slow"
    # One that never reads at all: half a minute later it is gone, as a test further down sees.
    signed alice audit.export '{}' | python3 "$source_dir/tests/lib/slow_reader.py" --never $((port + 3)) "$dir/fleet-root.pem" \
        "$dir/people/alice.pem" "$dir/people/alice.key" > "$dir/never" 3>&- &
    echo $! > "$dir/never.pid"
    wait_for 60 grep -q asked "$dir/never"
    [ "$(sockets)" -gt "$(cat "$dir/sockets")" ]
}
sockets() { find "/proc/$(cat "$dir/run/admin.pid")/fd" -lname 'socket:*' | wc -l; }

@test "roles count: an auditor reads everything and changes nothing, nobody does what the role does not" {
    by aud audit export > "$dir/by-aud.json"
    [ -s "$dir/by-aud.json" ]
    refused "cert.hold is for the roles operator,security; yours: auditor" by aud cert hold --issuer fleet-ca --serial 01 --yes
    refused "station.add is for the roles factory" by bob station add s1 --line l1 --role issue --csr "$dir/people/bob.csr"
    refused "audit.export is for the roles" by_role_operator audit export
    refused "on the service's own machine" by alice backup --out "$dir/b.db"
    # A refusal of somebody known is an entry.
    [ "$(inkan audit export | jq -r 'select(.event == "admin-refused" and .actor == "aud") | .object')" = cert.hold ]
}
by_role_operator() {
    [ -e "$dir/people/dora.pem" ] || {
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=dora -keyout "$dir/people/dora.key" -out "$dir/people/dora.csr" 2> /dev/null
        inkan operator add dora --roles operator --csr "$dir/people/dora.csr" --out "$dir/people/dora.pem"
    }
    by dora "$@"
}

@test "a request can be made with openssl and curl alone; each counts once" {
    node > "$dir/node"
    signed alice device.add '{"device_id": "by-hand"}' > "$dir/request"
    post() { curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/people/bob.pem" --key "$dir/people/bob.key" -H 'Content-Type: application/jose' \
        --data-binary "$(cat "$dir/request")" -w '\n%{http_code}' "https://localhost:$((port + 3))/v1/admin"; }
    run post
    echo "$output"
    [ "${lines[-1]}" = 200 ]
    [ "$(jq -r .done.device_id <<< "${lines[0]}")" = by-hand ]
    # Whose TLS connection carried it is no matter; whose signature it is, is.
    [ "$(inkan audit export | jq -r 'select(.object == "device:example/by-hand") | .actor')" = alice ]
    run post
    [ "${lines[-1]}" = 403 ]
    [[ ${lines[0]} == *"received before"* ]]
}

@test "without an operator's certificate nobody gets as far as asking" {
    url=https://localhost:$((port + 3))/v1/node
    no curl -sS --cacert "$dir/fleet-root.pem" "$url"
    no curl -sS --cacert "$dir/fleet-root.pem" --cert "$units/unit-2.pem" --key "$units/unit-2.key" "$url"
    no curl -sS --tls-max 1.2 --cacert "$dir/fleet-root.pem" --cert "$dir/people/bob.pem" --key "$dir/people/bob.key" "$url"
}

@test "only what belongs there is served" {
    get() { curl -sS -o "$dir/body" -w '%{http_code}' --cacert "$dir/fleet-root.pem" --cert "$dir/people/bob.pem" --key "$dir/people/bob.key" "$@"; }
    base=https://localhost:$((port + 3))
    [ "$(get "$base/")" = 404 ]
    [ "$(get "$base/v1/admin")" = 405 ]
    [ "$(get -X POST -d x "$base/v1/node")" = 405 ]
    [ "$(get -H 'Content-Type: text/plain' -d x "$base/v1/admin")" = 415 ]
    [ "$(get -H 'Content-Type: application/jose' -d x.y "$base/v1/admin")" = 400 ]
    head -c 70000 /dev/zero > "$dir/large"
    [ "$(get -H 'Content-Type: application/jose' --data-binary @"$dir/large" "$base/v1/admin")" = 413 ]
    [ "$(get -H 'Content-Type: application/json' -d '{"request":"x"}' "$base/v1/admin")" = 400 ]
    [ "$(get -0 "$base/v1/node")" = 400 ]
    # Five million members are not built to be refused.
    python3 -c 'print("{\"request\": [" + "0," * 5000000 + "0], \"file\": \"\"}")' > "$dir/large"
    [ "$(get -H 'Content-Type: application/json' --data-binary @"$dir/large" "$base/v1/admin")" = 400 ]
    # The address sanitizer keeps what was freed: its programs are measured less closely.
    most=100000
    ldd "$INKAN_PROGRAMS/inkan-admin" | grep -q libasan && most=300000
    [ "$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(cat "$dir/run/admin.pid")/status")" -lt "$most" ]
    # Words of the command line for who took the wrong way.
    refused "the address is that of listen.admin" inkan --url "https://localhost:$port" --ca "$dir/fleet-root.pem" --as "$dir/people/bob.pem" \
        --key "$dir/people/bob.key" status
    refused "none goes over the network" by bob audit verify
    # Two requests on one connection.
    curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/people/bob.pem" --key "$dir/people/bob.key" "$base/v1/node" "$base/v1/node" -w '%{num_connects}\n' | tail -n 1 | grep -q '0$'
}

@test "the description of the interface is what the core goes by, and the service answers as it says" {
    "$programs/inkan-core" --openapi > "$dir/api.yaml"
    diff "$dir/api.yaml" "$source_dir/docs/admin-api.yaml" || { echo "write it anew: inkan-core --openapi > docs/admin-api.yaml"; return 1; }
    serial=$(serial_of "$units/unit-2.pem")
    cat > "$dir/calls" <<CALLS
status {}
doctor {}
token.list {}
key.list {"token": "issuing"}
ca.list {}
ca.show {"name": "fleet-ca"}
profile.list {}
profile.show {"name": "ldevid"}
domain.list {}
domain.show {"name": "example"}
device.add {"device_id": "api-1", "product": "demo"}
device.import {"devices": [{"device_id": "api-2"}]}
device.list {"limit": 3}
device.show {"device_id": "unit-2"}
secret.add {"device_id": "api-1"}
secret.list {}
cert.list {"issuer": "fleet-ca", "limit": 2}
cert.show {"issuer": "fleet-ca", "serial": "$serial"}
cert.hold {"issuer": "fleet-ca", "serial": "$serial"}
cert.release {"issuer": "fleet-ca", "serial": "$serial"}
crl.list {}
crl.publish {"issuer": "fleet-ca"}
crl.get {"issuer": "fleet-ca"}
ocsp.list {}
gateway.list {}
record.signer {}
audit.export {"from": 1}
audit.heads {}
operator.list {}
operator.show {"name": "alice"}
approval.list {"all": true}
batch.list {"limit": 5}
request.list {}
order.list {}
station.list {}
box.list {}
CALLS
    python3 "$source_dir/tests/lib/admin_api.py" "$source_dir/docs/admin-api.yaml" "https://localhost:$((port + 3))" "$dir/fleet-root.pem" \
        "$dir/people/alice.pem" "$dir/people/alice.key" < "$dir/calls"
}

@test "a key that somebody has is in no signed request, so in no trail: not in a refusal either" {
    from=$(inkan status --json | jq .audit.seq)
    printf '000102030405060708090a0b0c0d0e0f\n' > "$dir/kek"
    chmod 600 "$dir/kek"
    refused "holds no secret" by bob kek add 6b --key-file "$dir/kek"
    refused "holds no secret" here bob kek add 6b --key-file "$dir/kek"
    refused "holds no secret" by aud kek add 6b --key-file "$dir/kek"
    [ -z "$(audit_since "$from" 'select(.object == "kek.add" or .object == "kek:6b") | .event')" ]
}

@test "a mass action is signed for one list, and is for the roles that may do it to one unit" {
    refused "device.compromise is for the roles security; yours: operator,factory,ca-admin" by alice fleet compromise --select 'device = unit-3' --yes
    node > "$dir/node"
    signed alice batch.create '{"action": "suspend", "select": "device = unit-3"}' > "$dir/request"
    [[ $(curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/people/alice.pem" --key "$dir/people/alice.key" -H 'Content-Type: application/jose' \
        --data-binary "$(cat "$dir/request")" "https://localhost:$((port + 3))/v1/admin") == *"count and digest are missing"* ]]
    # Nor is somebody else the second person: these units are only declared, so that nothing would come of it.
    run by bob fleet compromise --select 'device = many-*' --yes --no-wait
    id=$(by bob fleet list --open --json | jq '.[0].id')
    refused "device.compromise is for the roles security" by alice fleet approve "$id" --yes
    by bob fleet cancel "$id" --yes
    [ "$(by bob approval list --json | jq length)" = 0 ]
    [ "$(inkan device list --select 'state = compromised or state = suspended' --json | jq length)" = 0 ]
}

@test "what is no device's certificate takes the role security, a CA's takes two persons, and nobody releases their own" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=sec -keyout "$dir/people/sec.key" -out "$dir/people/sec.csr" 2> /dev/null
    inkan operator add sec --roles security --csr "$dir/people/sec.csr" --out "$dir/people/sec.pem"
    refused "is for the role security" by alice cert hold "$dir/people/bob.pem" --yes
    refused "is for the role security" by alice cert revoke "$dir/people/bob.pem" --yes
    by sec cert hold "$dir/people/bob.pem" --yes
    refused "on hold" by bob status
    refused "is for the role security" by alice cert release "$dir/people/bob.pem" --yes
    by sec cert release "$dir/people/bob.pem" --yes
    by bob status > /dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=sec -keyout "$dir/people/sec2.key" -out "$dir/people/sec2.csr" 2> /dev/null
    inkan operator change sec --csr "$dir/people/sec2.csr" --out "$dir/people/sec2.pem"
    by bob cert hold "$dir/people/sec.pem" --yes
    refused "is your own" by sec2 cert release "$dir/people/sec.pem" --yes
    by bob cert release "$dir/people/sec.pem" --yes
    # A CA: both of the role security, then it would be done.
    refused "is for the role security" by alice cert revoke "$dir/fleet-ca.pem" --yes
    run by sec cert revoke "$dir/fleet-ca.pem" --yes
    [ "$status" -eq 3 ]
    [[ $output == *"waits for a second person"* ]]
    id=$(by bob approval list --json | jq '.[0].id')
    refused "cert.revoke is for the roles security; yours: operator,factory,ca-admin" by alice approval approve "$id" --yes
    by bob approval refuse "$id"
    [ "$(inkan cert show "$dir/fleet-ca.pem" --json | jq -r .status)" = good ]
    # A role taken away between asking and approving: it does not run, and nothing is left that could.
    run by bob fleet compromise --select 'device = many-*' --yes --no-wait
    id=$(by bob fleet list --open --json | jq '.[0].id')
    inkan operator change bob --roles operator,ca-admin
    refused "device.compromise is for the role" by sec fleet approve "$id" --yes
    [[ $(by bob fleet show "$id" --json | jq -r '.state + ": " + .error') == "cancelled: denied: device.compromise is for the role"* ]]
    [ "$(by bob approval list --json)" = "[]" ]
    [ "$(inkan device list --select 'state = compromised' --json | jq length)" = 0 ]
    inkan operator change bob --roles operator,security,ca-admin
    inkan operator end sec --yes
}

# ---- two persons ----

@test "a key waits for a second person: never the first, never an auditor; then both are in the trail" {
    from=$(inkan status --json | jq .audit.seq)
    run by alice key generate --token issuing --purpose audit --name spare --algorithm p256
    [ "$status" -eq 3 ]
    [[ $output == *"waits for a second person: inkan approval approve"* ]]
    id=$(by bob approval list --json | jq '.[0].id')
    [ "$(inkan key list --json | jq '[.[] | select(.name == "audit/spare/1")] | length')" = 0 ]
    refused "the second person is another one" by alice approval approve "$id" --yes
    refused "approval.approve is for the roles" by aud approval approve "$id" --yes
    refused "yours: operator" by_role_operator approval approve "$id" --yes
    refused "root is no second person" inkan approval approve "$id" --yes
    # A second certificate of the first person is the first person.
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=alice -keyout "$dir/people/alice2.key" -out "$dir/people/alice2.csr" 2> /dev/null
    inkan operator change alice --csr "$dir/people/alice2.csr" --out "$dir/people/alice2.pem"
    refused "the second person is another one" by alice2 approval approve "$id" --yes
    by bob approval approve "$id" --yes
    inkan key list --json | jq -e '.[] | select(.name == "audit/spare/1")'
    entry=$(audit_since "$from" 'select(.event == "key-created") | "\(.actor) \(.signature | length > 300) \(.approvals | length > 300)"')
    [ "$entry" = "alice true true" ]
    refused "is done" by bob approval approve "$id" --yes
}

@test "what was asked for can be refused, and withdrawn by its author" {
    run by alice operator add eve --roles operator --csr "$dir/people/alice2.csr"
    id=$(by bob approval list --json | jq '.[0].id')
    by bob approval refuse "$id" --reason "nobody knows eve"
    refused "is refused" by bob approval approve "$id" --yes
    run by alice operator end bob --yes
    id=$(by alice approval list --json | jq '.[0].id')
    by alice approval refuse "$id"
    [ "$(by bob approval list --json | jq length)" = 0 ]
    refused "there is no operator eve" by bob operator show eve
}

@test "a mass action above the threshold waits for another person, one below does not" {
    by alice fleet suspend --select 'device = unit-4 or device = unit-5' --reason small --yes
    [ "$(by aud device list --select 'state = suspended' --json | jq length)" = 2 ]
    run by alice fleet suspend --select 'device = unit-*' --reason large --yes --no-wait
    id=$(by bob fleet list --open --json | jq '.[0].id')
    [ "$(by aud device list --select 'state = suspended' --json | jq length)" = 2 ]
    refused "the second person is another one" by alice fleet approve "$id" --yes
    # What the second person signs says what is done, and to whom; the core goes by nothing else.
    shown=$(by bob approval show "$(by bob approval list --json | jq '.[0].id')" --json)
    [ "$(jq -r '.args | "\(.id) \(.action) \(.select)"' <<< "$shown")" = "$id suspend device = unit-*" ]
    node > "$dir/node"
    signed bob batch.run "$(jq -c '.args + {action: "release"}' <<< "$shown")" > "$dir/request"
    [[ $(curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/people/bob.pem" --key "$dir/people/bob.key" -H 'Content-Type: application/jose' \
        --data-binary "$(cat "$dir/request")" "https://localhost:$((port + 3))/v1/admin") == *"does something else"* ]]
    by bob fleet approve "$id" --yes
    [ "$(by aud device list --select 'state = suspended' --json | jq length)" = 5 ]
    by bob fleet release --select 'device = unit-1 or device = unit-2' --yes
}

# ---- on the machine ----

@test "a local user is who the record says; what needs a signature needs it here too; root is outside" {
    [ "$(id -u)" -eq 0 ] || skip "needs root for users"
    local_user() { setpriv --reuid=nobody --clear-groups "$programs/inkan" --socket "$dir/run/admin.sock" "$@"; }
    refused "user nobody is no operator: root says who is, by inkan operator add NAME --roles ROLES --user nobody" local_user status
    refused "www-data is not named in users.admin" inkan operator add web --roles auditor --user www-data
    inkan operator add nina --roles operator,ca-admin --user nobody
    local_user device add by-nina
    [ "$(inkan audit export | jq -r 'select(.object == "device:example/by-nina") | "\(.actor) \(.actor_kind)"')" = "nina operator" ]
    refused "needs your signature" local_user operator end alice --yes
    refused "needs your signature" local_user secret add --device unit-1
    refused "needs your signature" local_user device import - <<< by-nina-2
    here alice device import - <<< by-nina-2
    here alice secret add --device by-nina > /dev/null
    # uid and certificate of one person are one person; root does alone what takes two, and the trail says so.
    inkan key generate --token issuing --purpose audit --name alone --algorithm p256
    [ "$(inkan audit export | jq -r 'select(.object == "key:audit/alone/1") | "\(.actor_kind) \(.detail | fromjson | .alone)"' | head -n 1)" = "root true" ]
    # A hold of their certificate is a hold of the person.
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=nina -keyout "$dir/people/nina.key" -out "$dir/people/nina.csr" 2> /dev/null
    inkan operator change nina --csr "$dir/people/nina.csr" --out "$dir/people/nina.pem"
    inkan cert hold "$dir/people/nina.pem" --yes
    refused "operator nina has a certificate on hold" local_user cert release "$dir/people/nina.pem" --yes
    inkan cert release "$dir/people/nina.pem" --yes
    local_user status > /dev/null
    # One user does not take all the room, nor make the core wait for a file.
    cp "$source_dir/tests/lib/local_user.py" "$source_dir/tests/lib/hostile_admin.py" "$dir/people"
    setpriv --reuid=nobody --clear-groups /usr/bin/python3 "$dir/people/local_user.py" "$dir/run/admin.sock" "$dir/people/nina.csr" > "$dir/local" 3>&- &
    crowd=$!
    wait_for 60 grep -q open "$dir/local"
    grep -q "not one of memory" "$dir/local"
    inkan status > /dev/null
    kill "$crowd"
    wait "$crowd" || true
    inkan operator end nina --yes
    refused "user nobody is no operator" local_user status
}

@test "the key may stay in a token of the operator's" {
    mkdir "$dir/people/tokens"
    printf 'directories.tokendir = %s\nobjectstore.backend = file\n' "$dir/people/tokens" > "$dir/people/softhsm2.conf"
    export SOFTHSM2_CONF=$dir/people/softhsm2.conf
    softhsm2-util --init-token --free --label bob --pin 4711 --so-pin 471100 > /dev/null
    openssl pkcs8 -topk8 -nocrypt -in "$dir/people/bob.key" -out "$dir/people/bob.p8"
    softhsm2-util --import "$dir/people/bob.p8" --token bob --label admin --id 01 --pin 4711 > /dev/null
    printf 4711 > "$dir/people/pin"
    chmod 600 "$dir/people/pin"
    inkan --as "$dir/people/bob.pem" --url "https://localhost:$((port + 3))" --ca "$dir/fleet-root.pem" \
        --key "pkcs11:token=bob;object=admin?module-path=$(softhsm_module)&pin-source=file:$dir/people/pin" operator show bob | grep -q security
}

@test "a key belongs to one operator; a name is never given again; nothing else is certified with that profile" {
    cp "$dir/people/alice.csr" "$dir/again.csr"
    refused "each person has one of their own" inkan operator add twin --roles operator --csr "$dir/again.csr"
    refused "has ended" inkan operator add nina --roles operator --csr "$dir/people/aud.csr"
    refused "is not a person's" inkan operator add root --roles operator --csr "$dir/people/aud.csr"
    refused "is for operators" inkan cert issue --profile operator --name x --csr "$dir/people/aud.csr"
}

@test "revoked, on hold, ended: what they sign counts no more, and neither does what they had asked for" {
    run by alice2 key generate --token issuing --purpose audit --name later --algorithm p256
    id=$(by bob approval list --json | jq '.[0].id')
    serial=$(serial_of "$dir/people/alice2.pem")
    inkan cert hold --issuer people-ca --serial "$serial" --yes
    refused "on hold" by alice2 status
    refused "alice, who asked for it: the operator's certificate is on hold" by bob approval approve "$id" --yes
    inkan cert revoke --issuer people-ca --serial "$serial" --reason keyCompromise --yes
    refused "revoked" by alice2 status
    by alice status > /dev/null
    by bob approval refuse "$id"
    by_role_operator status > /dev/null
    inkan operator end dora --yes
    refused "revoked" by_role_operator status
    # The door does not know it and opens; behind it there is nothing for them, and no request of theirs is one.
    curl -fsS --cacert "$dir/fleet-root.pem" --cert "$dir/people/dora.pem" --key "$dir/people/dora.key" "https://localhost:$((port + 3))/v1/node" | jq -e .done.node
    signed dora device.add '{"device_id": "by-dora"}' > "$dir/request"
    [ "$(curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/people/dora.pem" --key "$dir/people/dora.key" -H 'Content-Type: application/jose' \
        --data-binary "$(cat "$dir/request")" -o "$dir/body" -w '%{http_code}' "https://localhost:$((port + 3))/v1/admin")" = 403 ]
    grep -q revoked "$dir/body"
    no inkan device show by-dora
}

@test "a client that never reads is let go" {
    kill -0 "$(cat "$dir/never.pid")"
    let_go() { [ "$(sockets)" -le "$(cat "$dir/sockets")" ]; }
    wait_for 180 let_go
    kill "$(cat "$dir/never.pid")"
}

@test "another policy is an entry; a core that is killed answers again over the same door" {
    changes() { inkan audit export | jq -r 'select(.event == "policy-changed") | "\(.actor) \(.detail | fromjson | .digest != .before)"'; }
    changed() { [ "$(changes | wc -l)" = "$1" ]; }
    running_pid
    changed 0
    sed -i 's/two_person_above: 3/two_person_above: 4/' "$dir/inkan.yaml"
    kill -HUP "$service_pid"
    wait_for 60 changed 1
    sed -i 's/name: default, scopes: \[full\]/name: default, scopes: [full, repair]/' "$dir/inkan.yaml"
    kill -HUP "$service_pid"
    wait_for 60 changed 2
    [ "$(changes | sort -u)" = "core true" ]
    kill -9 "$(pid_of core)"
    wait_for 60 by bob status
    [ "$(by bob approval list --json | jq length)" = 0 ]
}

# ---- a program that means harm in the place of inkan-admin ----

hostile() { # ORDER...: each answer a line
    local before
    before=$(wc -l < "$dir/hostile.out" 2> /dev/null || echo 0)
    printf '%s\n' "$@" >> "$dir/hostile.in"
    wait_for 180 sh -c "[ \$(wc -l < '$dir/hostile.out') -ge $((before + $#)) ]"
    tail -n "+$((before + 1))" "$dir/hostile.out"
}
order() { jq -nc --arg s "$1" '{signed: $s}'; }
what_is() { inkan operator list --json; inkan approval list --all --json; inkan key list --json; inkan device list --json; inkan cert list --json; inkan secret list --json; }

@test "a program in the place of inkan-admin, with both operators' certificates and all they ever signed, executes nothing" {
    # What it has recorded: requests that were carried out, one that was not, an approval of something else.
    used=$(signed alice device.add '{"device_id": "recorded"}')
    curl -fsS --cacert "$dir/fleet-root.pem" --cert "$dir/people/alice.pem" --key "$dir/people/alice.key" -H 'Content-Type: application/jose' \
        --data-binary "$used" "https://localhost:$((port + 3))/v1/admin" > /dev/null
    run by alice key generate --token issuing --purpose audit --name wanted --algorithm p256
    run by alice key generate --token issuing --purpose audit --name unwanted --algorithm p256
    wanted=$(by bob approval list --json | jq '.[0].id')
    unwanted=$((wanted + 1))
    digest=$(by bob approval show "$wanted" --json | jq -r .digest)
    stop_service
    mkdir "$dir/programs"
    ln -s "$programs"/* "$dir/programs/"
    rm "$dir/programs/inkan-admin"
    install -m 755 "$source_dir/tests/lib/hostile_admin.py" "$dir/programs/inkan-admin"
    sed -i "s#^  programs: .*#  programs: $dir/programs#" "$dir/inkan.yaml"
    : > "$dir/hostile.in"
    install -m 666 /dev/null "$dir/hostile.out"
    start_service 3>&- 4>&-
    wait_for 60 health_is_ready
    before=$(what_is)
    hold="{\"issuer\": \"fleet-ca\", \"serial\": \"$(serial_of "$units/unit-3.pem")\"}"
    fresh=$(signed alice device.add '{"device_id": "fresh"}' --life 600)
    IFS=. read -r head body sig <<< "$fresh"
    IFS=. read -r _ other_body _ <<< "$(signed alice device.add '{"device_id": "other"}')"
    answers=$(hostile \
        "$(order "$used")" \
        "$(order "$head.$other_body.$sig")" \
        "$(order "$(signed alice device.add '{"device_id": "x"}' --payload '{"node": "00112233445566778899aabbccddeeff"}')")" \
        "$(order "$(signed alice device.add '{"device_id": "x"}' --iat $(($(date +%s) - 700)))")" \
        "$(order "$(signed alice device.add '{"device_id": "x"}' --iat $(($(date +%s) + 900)))")" \
        "$(order "$(signed alice device.add '{"device_id": "x"}' --life 3600)")" \
        "$(order "$(signed alice approval.approve "{\"id\": \"$wanted\", \"digest\": \"$digest\"}")")" \
        "$(order "$(signed bob approval.approve "{\"id\": \"$unwanted\", \"digest\": \"$digest\"}")")" \
        "$(order "$(signed alice2 cert.hold "$hold")")" \
        "$(order "$(signed dora cert.hold "$hold")")" \
        "$(order "$(python3 "$source_dir/tests/lib/signed.py" sign --cert "$units/unit-3.pem" --key "$units/unit-3.key" --node "$(cat "$dir/node")" cert.hold "$hold")")" \
        "$(order "$(python3 "$source_dir/tests/lib/signed.py" sign --cert "$dir/people/bob.pem" --key "$dir/people/alice.key" --node "$(cat "$dir/node")" cert.hold "$hold")")" \
        "$(order "$(signed alice cert.hold "$hold" --header '{"alg": "none"}')")" \
        "$(order "$(signed alice cert.hold "$hold" --header '{"alg": "HS256"}')")" \
        "$(order "$(signed alice cert.hold "$hold" --header '{"alg": "EdDSA"}')")" \
        "$(order "$(signed alice cert.hold "$hold" --header '{"typ": "inkan-record+jws"}')")" \
        "$(order "$(signed alice cert.hold "$hold" --header '{"x5t#S256": null}')")" \
        "$(order "$(signed alice cert.hold "$hold" --header '{"crit": "x"}')")" \
        "$(order "$(signed alice cert.hold "$hold" --payload '{"count": 5}')")" \
        "$(order "$(signed alice no.such.op '{}')")" \
        "$(order "$(signed alice backup '{}')")" \
        "$(order "$head.$body.")" "$(order "$head.$body")" "$(order "..")" \
        '{"plain": "key.destroy", "args": {"name": "audit/spare/1"}}' \
        '{"plain": "operator.list", "args": {}}' \
        '{"raw": [1793, "00"]}' '{"raw": [1795, "00"]}' '{"raw": [1920, ""]}' '{"raw": [1796, "ffffffff"]}' '{"give": "file"}' '{"give": "stream"}')
    echo "$answers"
    [ "$(grep -c . <<< "$answers")" = 32 ]
    # Nobody was told "done", and each for its own reason.
    no grep -q '"code": 0' <<< "$answers"
    n=0
    for words in "received before" "not one by this key" "another service" "expired" "ahead of" "1 to 600 s" "another one than who asked" \
        "is not what was approved" "is revoked" "revoked" "no operator" "not one by this key" "alg" "alg" "does not fit" "typ" "x5t" "crit" "count" \
        "no such operation" "own machine"; do
        n=$((n + 1))
        sed -n "${n}p" <<< "$answers" | grep -q -- "$words" || { echo "answer $n lacks: $words"; return 1; }
    done
    [ "$(what_is)" = "$before" ]
    # A file other than the one that was signed for; one that changes while it is read; one too many.
    echo '{"payload": "e30"}' > "$dir/file"
    with_file=$(signed alice order.open '{}' --file "$dir/file")
    answers=$(hostile "$(jq -nc --arg s "$with_file" '{signed: $s, file: "e30="}')" \
        "$(jq -nc --arg s "$(signed alice order.open '{}' --file "$dir/file")" '{signed: $s}')" \
        "$(jq -nc --arg s "$(signed alice device.add '{"device_id": "x"}')" '{signed: $s, file: "e30="}')")
    [ "$(grep -cE 'not the one the request was signed with|is missing|a file was added' <<< "$answers")" = 3 ]
    # The request itself, in 400 forms that nobody signed, and one at last as it was.
    mapfile -t forms < <(python3 "$source_dir/tests/lib/signed.py" mutate 400 7 <<< "$fresh" | jq -Rc '{signed: .}')
    answers=$(hostile "${forms[@]}")
    no grep -q '"code": 0' <<< "$answers"
    [ "$(what_is)" = "$before" ]
    [ "$(hostile "$(order "$fresh")" | jq .code)" = 0 ]
    inkan device show fresh > /dev/null
    # A broken link ends that program, not the service.
    hostile '{"link": [1, ""]}' > /dev/null
    inkan status > /dev/null
}

@test "the trail proves the signatures" {
    inkan backup --out "$dir/copy.db" > /dev/null
    run "$programs/inkan" audit verify --ledger "$dir/copy.db" --json
    echo "$output"
    [ "$(jq -r .ok <<< "$output")" = true ]
    [ "$(jq -r .signed <<< "$output")" -ge 20 ]
}

@test "a restored ledger does not know who ended since: operators only read until root has accepted it" {
    inkan operator end bob --yes
    inkan crl publish --issuer people-ca > /dev/null
    stop_service
    "$programs/inkan" restore "$dir/copy.db" -c "$dir/inkan.yaml"
    start_service 3>&-
    wait_for 60 here bob status
    refused "until root has accepted that" here bob device add before-it
    refused "is for root" here bob restore --accept
    inkan restore --accept
    refused "is revoked" here bob status
    here alice device add after-restore
}
