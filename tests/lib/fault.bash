# SPDX-License-Identifier: Apache-2.0
# For the files that hurt a running service. Load it after instance.bash.

# keep_setting NAME VALUE: exported in every test of the file, so that programs started there have it too.
keep_setting() {
    export "$1=$2"
    echo "export $1='$2'" >> "$BATS_FILE_TMPDIR/instance.env"
}

# side_dir: a directory that the service's users can reach, made before the instance and removed with it.
side_dir() {
    side=$(mktemp -d "${INKAN_TEST_OUT:-/var/tmp}/side.XXXXXX")
    chmod 755 "$side"
    echo "$side" > "$BATS_FILE_TMPDIR/side"
}

fault_load() {
    instance_load
    side=$(cat "$BATS_FILE_TMPDIR/side")
}

side_dir_remove() {
    [ ! -e "$BATS_FILE_TMPDIR/side" ] || [ -n "${INKAN_KEEP:-}" ] || rm -rf "$(cat "$BATS_FILE_TMPDIR/side")"
}

# use_test_clock: the service to come reads its clock through $side/clock (seconds to add).
use_test_clock() {
    echo 0 > "$side/clock"
    export INKAN_TEST_CLOCK=$side/clock
}

set_clock() {
    echo "$1" > "$INKAN_TEST_CLOCK.new"
    chmod 644 "$INKAN_TEST_CLOCK.new"
    mv "$INKAN_TEST_CLOCK.new" "$INKAN_TEST_CLOCK"
}

# use_shim: the tokens of the instance to come are behind the counting and fault-injecting module (tests/shim). Each token
# has files of its own in $side: calls-TOKEN, signed-TOKEN, rules-TOKEN, wrong-pins-TOKEN.
use_shim() {
    cp "${INKAN_BUILD:-$(dirname "$INKAN_PROGRAMS")}/test/p11shim.so" "$side/p11shim.so"
    chmod 755 "$side/p11shim.so"
    for token in maker-root fleet-root issuing ocsp; do
        for kind in calls signed wrong-pins; do
            : > "$side/$kind-$token"
            chmod 666 "$side/$kind-$token"
        done
    done
    export INKAN_PKCS11_MODULE=$side/p11shim.so
    token_env="\"INKAN_SHIM_MODULE=$(INKAN_PKCS11_MODULE='' softhsm_module)\", \"INKAN_SHIM_RULES=$side/rules-%\", \"INKAN_SHIM_CALLS=$side/calls-%\", \"INKAN_SHIM_SIGNED=$side/signed-%\", \"INKAN_SHIM_PIN=$side/wrong-pins-%\""
}

# The % of a token's environment becomes its name; $config_edit is a sed script for the rest.
eval "plain_$(declare -f write_config)"
write_config() {
    plain_write_config || return 1
    awk '/^  - name: / { name = $3 } / env: / { gsub(/%/, name) } { print }' "$dir/inkan.yaml" | sed -e "${config_edit:-}" > "$dir/inkan.yaml.new" &&
        mv "$dir/inkan.yaml.new" "$dir/inkan.yaml"
}

# shim_rules TOKEN [RULE...]: from now on these; none: no faults.
shim_rules() {
    printf '%s\n' "${@:2}" > "$side/rules.new"
    chmod 644 "$side/rules.new"
    mv "$side/rules.new" "$side/rules-$1"
}

# calls TOKEN FUNCTION: how often the module was called
calls() {
    grep -cx "$2" "$side/calls-$1"
}

# use_io_fault: the instance to come runs with tests/shim/io_fault.c and does what io_rule says.
use_io_fault() {
    cp "${INKAN_BUILD:-$(dirname "$INKAN_PROGRAMS")}/test/io_fault.so" "$side/io_fault.so"
    chmod 755 "$side/io_fault.so"
}

eval "plain_$(declare -f start_service)"
start_service() {
    if [ ! -e "${side:-/nonexistent}/io_fault.so" ]; then
        plain_start_service
        return
    fi
    ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0 INKAN_TEST_IO=$side/io-rule LD_PRELOAD=$side/io_fault.so \
        plain_start_service
}

# io_rule [WORD...]: from now on this one; none: no faults.
io_rule() {
    rm -f "$side/io-rule"
    [ $# -eq 0 ] && return
    echo "$*" > "$side/io-rule.new"
    chmod 644 "$side/io-rule.new"
    mv "$side/io-rule.new" "$side/io-rule"
}

pid_of() {
    cat "$dir/run/$1.pid"
}

# group_secret PATTERN: $user and $secret
group_secret() {
    local made
    made=$(inkan secret add --group "$1" --quota 100000 --valid 300d --json)
    user=$(jq -r .user <<< "$made")
    secret=$(jq -r .secret <<< "$made")
    {
        echo "user='$user'"
        echo "secret='$secret'"
    } >> "$BATS_FILE_TMPDIR/instance.env"
}

# enroll NAME: prints the HTTP status; the certificate is $units/NAME.pem
enroll() {
    [ -e "$units/$1.csr" ] || new_csr "$1" "/CN=$1"
    est_enroll "$1" --max-time 20 -u "$user:$secret" "${@:2}"
}

# enroll_many PREFIX COUNT FILE [options]: prints what tests/fault/enroll_load prints
enroll_many() {
    "$programs/mkcsr" "$1" "$2" |
        "$source_dir/tests/fault/enroll_load" --port "$port" --ca "$dir/fleet-root.pem" --user "$user" --secret "$secret" --out "$3" "${@:4}"
}

# certs_of FILE: the certificates of a file made by enroll_many, as $units/NAME.pem
certs_of() {
    python3 - "$1" "$units" <<'PY'
import ssl, sys
for line in open(sys.argv[1]):
    name, der = line.split()
    with open(f"{sys.argv[2]}/{name}.pem", "w") as out:
        out.write(ssl.DER_cert_to_PEM_cert(bytes.fromhex(der)))
PY
}

ready() {
    curl -sS -o /dev/null --max-time 10 -w '%{http_code}' "http://127.0.0.1:$((port + 2))/ready"
}

not_ready() {
    [ "$(ready)" = 503 ]
}

# processes_gone: of a supervisor that was killed: what it had started has left too
processes_gone() {
    local file
    for file in "$dir"/run/*.pid; do
        [ ! -s "$file" ] || ! kill -0 "$(cat "$file")" 2> /dev/null || return 1
    done
}

now_ms() {
    date +%s%3N
}

log_lines() {
    wc -l < "$dir/log/inkan.log"
}

# log_after LINES: what was logged since log_lines said so
log_after() {
    tail -n "+$(($1 + 1))" "$dir/log/inkan.log"
}

# waits_for SECONDS COMMAND...: wait_for, but says what it waited for
waits_for() {
    wait_for "$@" && return 0
    echo "waited $1 s in vain for: ${*:2}" >&2
    tail -n 15 "$dir/log/inkan.log" >&2
    return 1
}

enrolls() {
    [ "$(enroll "$1")" = 200 ]
}

# ocsp_says CERT: as ocsp_status, whatever our clock says of the answer's times
ocsp_says() {
    openssl ocsp -issuer "$dir/fleet-ca.pem" -cert "$1" -url "http://localhost:$((port + 1))/ocsp" -CAfile "$dir/ca.pem" \
        -validity_period 100000000 2>&1 | sed -n "s#^$1: ##p; s/^Responder Error: //p"
}

answers() { # STATUS CERT
    [ "$(ocsp_says "$2")" = "$1" ]
}

# raise_crl_number FILE: by years; its signature is wrong from then on
raise_crl_number() {
    python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(f.read().index(bytes.fromhex("0603551d1404060204")) + 9)  # cRLNumber, an INTEGER of four octets
    f.write(b"\x7f")' "$1"
}

start_again() {
    start_service 3>&- 4>&-
}

# A core that starts has the ledger for itself for a moment.
ledger_query() {
    sqlite3 -readonly -cmd ".timeout 30000" "$dir/state/ledger/ledger.db" "$1"
}
