#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Administration: what the CLI does to a running service, who may use it, reload, roots, shards, stations.
load ../lib/instance

setup_file() { instance_up crl_shards=4; }
teardown_file() { instance_down; }
setup() { instance_load; }

# head_is_signed [SEQ]: one above that. The first is signed a moment after its key was made.
head_is_signed() { [ "$(inkan status --json | jq .audit.head_seq)" -gt "${1:-0}" ]; }

@test "the example configuration is correct" {
    sed "s#/etc/inkan/anchors/chip-maker-root.pem#$dir/maker-root.pem#" "$source_dir/deploy/inkan.example.yaml" > "$dir/example.yaml"
    "$programs/inkand" -t -c "$dir/example.yaml"
    # An anchor that the core cannot read, or that is none, is a mistake.
    echo nothing > "$dir/no-anchor.pem"
    sed "s#/etc/inkan/anchors/chip-maker-root.pem#$dir/no-anchor.pem#" "$source_dir/deploy/inkan.example.yaml" > "$dir/example.yaml"
    run "$programs/inkand" -t -c "$dir/example.yaml"
    [ "$status" -eq 1 ]
    [[ $output == *chip-maker* ]]
    # So is one below which no device would ever be let in.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=careless -out "$dir/no-anchor.pem" -config <(
        printf '[req]\ndistinguished_name = dn\nx509_extensions = v3\n[dn]\n[v3]\nbasicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n') 2> /dev/null
    chmod 644 "$dir/no-anchor.pem"
    run "$programs/inkand" -t -c "$dir/example.yaml"
    [ "$status" -eq 1 ]
    [[ $output == *chip-maker*no-anchor.pem*"key usage extension"* ]]
    if [ "$(id -u)" -eq 0 ]; then
        install -m 600 "$dir/maker-root.pem" "$dir/no-anchor.pem"
        run "$programs/inkand" -t -c "$dir/example.yaml"
        [ "$status" -eq 1 ]
    fi
}

@test "every mistake of a configuration is reported with its line, and what is printed reads back" {
    sed 's/fronts: 1/fronts: many/; s/kind: ldevid/kind: ldevd/; s/^log_file:/logfile:/' "$dir/inkan.yaml" > "$dir/bad.yaml"
    run "$programs/inkand" -t -c "$dir/bad.yaml"
    [ "$status" -eq 1 ]
    for what in fronts logfile ldevd; do
        grep -qE "bad.yaml:[0-9]+:[0-9]+:.*$what" <<< "$output"
    done
    "$programs/inkand" -t --print -c "$dir/inkan.yaml" > "$dir/printed.yaml"
    "$programs/inkand" -t -c "$dir/printed.yaml"
}

@test "the socket: another user is refused, root is not" {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    run setpriv --reuid=nobody --clear-groups "$programs/inkan" --socket "$dir/run/admin.sock" status
    [ "$status" -eq 1 ]
    run setpriv --reuid=inkan-front --clear-groups "$programs/inkan" --socket "$dir/run/admin.sock" status
    [ "$status" -eq 1 ]
    # Who calls is known from the kernel: a socket that everybody can open changes nothing.
    local mode_dir mode_socket
    mode_dir=$(stat -c %a "$dir/run")
    mode_socket=$(stat -c %a "$dir/run/admin.sock")
    chmod 755 "$dir/run"
    chmod 666 "$dir/run/admin.sock"
    run setpriv --reuid=nobody --clear-groups "$programs/inkan" --socket "$dir/run/admin.sock" status
    chmod "$mode_socket" "$dir/run/admin.sock"
    chmod "$mode_dir" "$dir/run"
    [ "$status" -eq 1 ]
    grep -q 'may not administer this service' <<< "$output"
    wait_for 60 head_is_signed
    inkan status | tee "$dir/status"
    grep -qE 'head_time 20[0-9-]+T' "$dir/status" # people read it: no seconds since 1970
}

@test "rows as a table and as JSON; an unknown name says so" {
    inkan ca list | grep -q '^NAME'
    [ "$(inkan ca list --json | jq length)" = 4 ]
    run inkan ca show nothing
    [ "$status" -eq 1 ]
    [[ $output == *nothing* ]]
    run inkan cert list --status nonsense
    [ "$status" -eq 1 ]
}

@test "device import: new ones added, known ones counted, a bad line named" {
    printf 'device_id,product,lot\nimp-1,demo,L1\nimp-2,demo,L1\n' > "$dir/units.csv"
    [ "$(inkan device import "$dir/units.csv" --json | jq .added)" = 2 ]
    [ "$(inkan device import "$dir/units.csv" --json | jq .existing)" = 2 ]
    printf 'imp-3\nimp-4\n' | inkan device import - --json | jq -e '.added == 2'
    seq -f 'bulk-%g' 1 1200 > "$dir/bulk"
    [ "$(inkan device import "$dir/bulk" --json | jq .added)" = 1200 ]
    [ "$(inkan device list --json 'bulk-*' | jq length)" = 1200 ]
    [ "$(inkan device list 'bulk-*' | wc -l)" = 1201 ]
    printf 'device_id,colour\nx,red\n' > "$dir/bad.csv"
    run inkan device import "$dir/bad.csv"
    [ "$status" -eq 1 ]
    [[ $output == *colour* ]]
}

@test "a certificate names its shard; full list and shard both say revoked, the other shards do not" {
    unit_birth shard-1
    unit_device shard-1 enroll
    url=$(openssl x509 -in "$units/shard-1/cert.pem" -noout -ext crlDistributionPoints | sed -n 's/.*URI://p')
    [[ $url == *"/crl/fleet-ca-"[1-4].crl ]]
    serial=$(cert_serial "$units/shard-1/cert.pem")
    curl -fsS "$url" | openssl crl -inform DER -out "$dir/shard.pem"
    curl -fsS "http://localhost:$((port + 1))/crl/fleet-root.crl" | openssl crl -inform DER >> "$dir/shard.pem"
    openssl verify -crl_check -extended_crl -CAfile "$dir/ca.pem" -CRLfile "$dir/shard.pem" "$units/shard-1/cert.pem"
    inkan cert revoke "$units/shard-1/cert.pem" --reason superseded --yes
    wait_for 60 sh -c "curl -fsS $url | openssl crl -inform DER -noout -text | tr A-F a-f | grep -q $serial"
    wait_for 60 sh -c "curl -fsS http://localhost:$((port + 1))/crl/fleet-ca.crl | openssl crl -inform DER -noout -text | tr A-F a-f | grep -q $serial"
    curl -fsS "$url" | openssl crl -inform DER > "$dir/shard.pem"
    run openssl verify -crl_check -extended_crl -CAfile "$dir/ca.pem" -CRLfile "$dir/shard.pem" "$units/shard-1/cert.pem"
    [[ $output == *"certificate revoked"* ]]
    others=0
    for n in 1 2 3 4; do
        ! curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca-$n.crl" | openssl crl -inform DER -noout -text | tr A-F a-f | grep -q "$serial" || others=$((others + 1))
    done
    [ "$others" = 1 ]
}

@test "root-sign: the offline root's token is used for one command; its CRL gets a higher number" {
    before=$(inkan crl list --json | jq '.[] | select(.issuer == "fleet-root") | .number')
    [ ! -e "$dir/run/signer-fleet-root.pid" ]
    sleep 1
    inkan ca root-sign fleet-root
    [ "$(inkan crl list --json | jq '.[] | select(.issuer == "fleet-root") | .number')" -gt "$before" ]
    wait_for 60 test ! -e "$dir/run/signer-fleet-root.pid"
    run inkan ca root-sign fleet-ca
    [ "$status" -eq 1 ]
}

@test "a key can be generated and destroyed; one in use cannot" {
    inkan key generate --token issuing --purpose audit --name second --algorithm p256
    [ "$(inkan key list --json | jq '[.[] | select(.name == "audit/second/1")] | length')" = 1 ]
    # The newest audit key signs from now on; the one before can go.
    run inkan key destroy audit/second/1 --yes
    [ "$status" -eq 1 ]
    inkan key destroy audit/main/1 --yes
    [ "$(inkan key list --json | jq '[.[] | select(.name == "audit/main/1" and .on_token)] | length')" = 0 ]
    run inkan key destroy ca/fleet-ca/1 --yes
    [ "$status" -eq 1 ]
    wait_for 60 health_is_ready
    unit_birth after-key
    unit_device after-key enroll
}

@test "a station certificate, a server certificate; a CSR's own wishes are not copied" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=whatever/O=Evil" -addext subjectAltName=DNS:evil.example \
        -keyout "$dir/st.key" -out "$dir/st.csr" 2> /dev/null
    inkan cert issue --profile station --name line-1 --csr "$dir/st.csr" --out "$dir/st.pem" || inkan cert issue --profile station --device line-1 --csr "$dir/st.csr" --out "$dir/st.pem"
    openssl x509 -in "$dir/st.pem" -noout -subject -nameopt RFC2253 | grep -q 'CN=line-1'
    openssl x509 -in "$dir/st.pem" -noout -text | no grep -qi evil
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$dir/st.pem"
}

@test "reload: a new label is served, a change that needs a restart is refused by name" {
    [ "$(curl -s -o /dev/null -w '%{http_code}' --cacert "$dir/fleet-root.pem" "$(est_url second)/cacerts")" = 404 ]
    sed -i '/^labels:/a\  - {name: second, domain: example, profile: ldevid, auth_cert: true, auth_password: false}' "$dir/inkan.yaml"
    kill -HUP "$(cat "$dir/run/inkand.pid")"
    wait_for 60 curl -fsS --cacert "$dir/fleet-root.pem" "$(est_url second)/cacerts"
    cp "$dir/inkan.yaml" "$dir/keep.yaml"
    sed -i 's/^fronts: 1/fronts: 2/' "$dir/inkan.yaml"
    kill -HUP "$(cat "$dir/run/inkand.pid")"
    wait_for 60 grep -q 'event=reload-refused.*fronts' "$dir/log/inkan.log"
    echo 'nonsense: 1' >> "$dir/inkan.yaml"
    kill -HUP "$(cat "$dir/run/inkand.pid")"
    wait_for 60 grep -q 'nonsense' "$dir/log/inkan.log"
    cp "$dir/keep.yaml" "$dir/inkan.yaml"
    wait_for 60 health_is_ready
}

@test "audit: verified with heads kept elsewhere; a changed backup is found" {
    wait_for 60 head_is_signed
    inkan audit heads > "$dir/heads"
    seq=$(inkan backup --out "$dir/copy.db" --json | jq .audit_seq)
    run inkan audit verify
    [ "$status" -eq 3 ]
    [[ $output == *"later removal cannot be excluded"* ]]
    inkan audit verify --heads "$dir/heads"
    inkan audit verify --ledger "$dir/copy.db" --heads "$dir/heads"
    # Heads made after the copy: it ends too early.
    wait_for 90 head_is_signed "$seq"
    inkan audit heads > "$dir/later"
    run inkan audit verify --ledger "$dir/copy.db" --heads "$dir/later"
    [ "$status" -eq 1 ]
    [[ $output == *missing* ]]
    # The ledger itself refuses such a change; somebody with the file does not ask it.
    run sqlite3 "$dir/copy.db" "UPDATE audit SET actor = 'nobody' WHERE seq = 5"
    [ "$status" -ne 0 ]
    for trigger in $(sqlite3 "$dir/copy.db" "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit'"); do
        sqlite3 "$dir/copy.db" "DROP TRIGGER $trigger"
    done
    sqlite3 "$dir/copy.db" "UPDATE audit SET actor = 'nobody' WHERE seq = 5"
    run inkan audit verify --ledger "$dir/copy.db" --heads "$dir/heads"
    [ "$status" -eq 1 ]
    [[ $output == *"entry 5"* ]]
    [ "$(inkan audit export | jq -s 'length')" -gt 20 ]
}

@test "doctor finds nothing broken, status names every process and says how the core is now, not how it started" {
    inkan doctor
    inkan doctor --json | jq -e 'map(select(.state == "fail")) | length == 0'
    for process in core status front-0 signer-issuing signer-ocsp; do
        inkan status --json | jq -e --arg p "$process" '.processes[] | select(.name == $p)'
    done
    # This service was started without a CA and got its CAs since.
    inkan status --json | jq -e '.ready and (.processes[] | select(.name == "core") | .state == "READY")'
}

@test "no secret in log, ledger, process list or core files" {
    inkan device add hush-1 > /dev/null
    secret=$(inkan secret add --device hush-1 --json | jq -r .secret)
    user=$(inkan secret list --json | jq -r '.[] | select(.device_id == "hush-1") | .user')
    new_csr hush-1 /CN=hush-1
    [ "$(est_enroll hush-1 -u "$user:$secret")" = 200 ]
    [ "$(est_enroll hush-1 -u "$user:x$secret")" = 401 ]
    no grep -rqaF "$secret" "$dir/log" "$dir/state" "$dir/marks"
    for pin in "$dir"/pin/*; do
        no grep -rqaF "$(cat "$pin")" "$dir/log" "$dir/state" "$dir/marks"
    done
    for pid in $(cat "$dir"/run/*.pid); do
        tr '\0' '\n' < "/proc/$pid/environ" | no grep -qF "$(cat "$dir/pin/issuing")"
        [ "$(awk '/^Max core file size/ {print $5}' "/proc/$pid/limits")" = 0 ]
    done
}

# ---- a service that means harm ----

# says ANSWERS COMMAND...: the command line against tests/lib/hostile_core.py
says() {
    local answers=$1 server code=0
    shift
    printf '%s' "$answers" > "$dir/answers"
    rm -f "$dir/hostile.sock"
    python3 "$source_dir/tests/lib/hostile_core.py" "$dir/hostile.sock" "$dir/answers" 3>&- &
    server=$!
    wait_for 60 test -S "$dir/hostile.sock"
    "$programs/inkan" --socket "$dir/hostile.sock" "$@" > "$dir/said" 2>&1 || code=$?
    kill "$server"
    wait "$server" || true
    cat -v "$dir/said"
    return $code
}

# harmless WORDS: what was said has them, and nothing that a terminal obeys: escape, carriage return, C1, octets that are no UTF-8, bidi
harmless() {
    grep -qF -- "$1" "$dir/said"
    LC_ALL=C no grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]' "$dir/said"
    iconv -f UTF-8 -t UTF-8 "$dir/said" > /dev/null
}

@test "what a device or a service says cannot act on the terminal of whoever reads it" {
    bad='ok\u001b[2J\rM\u00fcller\u009b31m\u202e\u007f\n'
    for LC_ALL in C.UTF-8 C; do
        export LC_ALL
        case $LC_ALL in C) shown='ok\x1b[2J\x0dM\xc3\xbcller\xc2\x9b31m\xe2\x80\xae\x7f\x0a' ;; *) shown='ok\x1b[2J\x0dMüller\xc2\x9b31m\xe2\x80\xae\x7f\x0a' ;; esac
        says "{\"ca.list\": {\"rows\": [{\"name\": \"$bad\"}]}}" ca list
        harmless "$shown"
        says "{\"operator.show\": {\"done\": {\"name\": \"$bad\", \"$bad\": [\"$bad\"], \"certs\": [{\"$bad\": \"$bad\"}]}}}" operator show x
        harmless "$shown"
        says "{\"approval.show\": {\"done\": {\"id\": 1, \"by\": \"$bad\", \"op\": \"$bad\", \"args\": {\"$bad\": 1}}}}" approval show 1
        harmless "$shown"
        no says "{\"domain.show\": {\"progress\": \"$bad\", \"error\": \"$bad\\udc9b\\udcff\"}}" domain show x
        harmless "$shown"
        says "{\"batch.preview\": {\"done\": {\"count\": 1, \"digest\": \"$bad\", \"models\": [{\"model\": \"$bad\", \"units\": 1}],
            \"states\": [{\"state\": \"$bad\", \"would\": \"$bad\", \"why\": \"$bad\"}]}}}" fleet suspend --select 'device = *' --dry-run
        harmless "$shown"
        # For programs: the same text, in ASCII.
        says "{\"ca.list\": {\"rows\": [{\"name\": \"$bad\"}]}}" ca list --json > /dev/null
        [ "$(jq -c '.[0].name' "$dir/said")" = "$(jq -nc "\"$bad\"")" ]
        LC_ALL=C no grep -qP '[^\x0a\x20-\x7f]' "$dir/said"
    done
}

@test "an answer that lacks what it should have ends no program" {
    for command in 'order status x' 'order close x --yes' 'fleet watch 1' 'approval show 1' 'ca show x' 'status'; do
        run says '{"order.status": {}, "order.close": {}, "batch.show": {}, "approval.show": {}, "ca.show": {}, "status": {}}' $command
        echo "$command: $output"
        [ "$status" -lt 4 ]
    done
}

@test "a mass action whose answer never came says how to find out, and that asking again does no harm" {
    no says '{"batch.preview": {"done": {"count": 1}}, "batch.create": "gone"}' fleet suspend --select 'device = x' --yes
    grep -q 'inkan fleet list. The same command again does no harm' "$dir/said"
}
