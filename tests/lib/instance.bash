# SPDX-License-Identifier: Apache-2.0
# One real service for a bats file: SoftHSM tokens, two hierarchies, fronts, in a directory of its own.
#
#   setup_file()    { instance_up; }      instance_up also takes settings as NAME=VALUE (fronts=2, crl_shards=4, extra_config=...)
#   teardown_file() { instance_down; }
#
# Gives: $dir $port $programs, functions inkan, unit_birth, unit_device, and everything of deploy/instance.sh.
# INKAN_PROGRAMS (made by deploy/test) says where the programs are.

source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
# shellcheck source=/dev/null
. "$source_dir/deploy/instance.sh"

free_port() {
    python3 "$source_dir/tests/lib/ports.py"
}

# Variables that every test of the file needs again: bats runs each test in a process of its own.
instance_load() {
    # shellcheck source=/dev/null
    . "$BATS_FILE_TMPDIR/instance.env"
}

instance_up() {
    programs=${INKAN_PROGRAMS:?INKAN_PROGRAMS names the directory of the programs (deploy/test sets it)}
    dir=$(mktemp -d "${INKAN_TEST_OUT:-/var/tmp}/instance.XXXXXX")
    chmod 755 "$dir"
    port=$(free_port)
    local setting
    for setting in "$@"; do
        declare -g "${setting%%=*}=${setting#*=}"
    done
    {
        declare -p dir port programs
        echo "units=$dir/units"
    } | sed 's/^declare -[-a-z]* //' > "$BATS_FILE_TMPDIR/instance.env"
    units=$dir/units
    mkdir -p "$units"
    make_instance_dirs && write_config || return 1
    "$programs/inkand" -t -c "$dir/inkan.yaml" || return 1
    start_service 3>&- 4>&- || { tail -n 40 "$dir/log/inkan.log"; return 1; }
    init_service 3>&- || { tail -n 40 "$dir/log/inkan.log"; return 1; }
    inkan ca show fleet-root --pem > "$dir/fleet-root.pem"
    inkan ca show fleet-ca --pem > "$dir/fleet-ca.pem"
    inkan ca show maker-root --pem > "$dir/maker-root.pem"
    inkan ca show maker-ca --pem > "$dir/maker-ca.pem"
    cat "$dir/fleet-ca.pem" "$dir/fleet-root.pem" > "$dir/ca.pem"
}

instance_down() {
    [ -e "$BATS_FILE_TMPDIR/instance.env" ] || return 0
    instance_load
    stop_service
    [ -n "${INKAN_KEEP:-}" ] || rm -rf "$dir"
}

inkan() {
    "$programs/inkan" --socket "$dir/run/admin.sock" "$@"
}

est_url() {
    echo "https://localhost:$port/.well-known/est${1:+/$1}"
}

# unit_birth ID: declares it and gives it a birth identity: $units/ID.idevid.{key,pem}
unit_birth() {
    inkan device add "$1" --domain example --anchor example-maker --product demo > /dev/null &&
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1/serialNumber=$1" \
            -keyout "$units/$1.idevid.key" -out "$units/$1.idevid.csr" 2> /dev/null &&
        inkan cert issue --profile idevid --domain example --device "$1" --csr "$units/$1.idevid.csr" --out "$units/$1.idevid.pem" 2> /dev/null
}

# unit_device ID VERB [options]: the reference client with that unit's birth identity; state in $units/ID
unit_device() {
    local id=$1
    shift
    "$programs/inkan-device" "$@" --dir "$units/$id" --url "$(est_url)" --anchor "$dir/fleet-root.pem" \
        --idevid-cert "$units/$id.idevid.pem" --idevid-key "$units/$id.idevid.key"
}

# new_csr NAME SUBJECT [KEYFILE]: $units/NAME.csr (base64 of the DER, one line) and $units/NAME.key
new_csr() {
    local key=${3:-$units/$1.key}
    [ -e "$key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$key"
    openssl req -new -key "$key" -subj "$2" -outform DER | openssl base64 -A > "$units/$1.csr"
}

# est OPERATION [curl options]: prints the HTTP status; body in $dir/body, headers in $dir/headers
est() {
    local operation=$1
    shift
    curl -sS --cacert "$dir/fleet-root.pem" -o "$dir/body" -D "$dir/headers" -w '%{http_code}' "$@" "$(est_url)/$operation"
}

# est_enroll NAME [curl options]: posts $units/NAME.csr; the certificate goes to $units/NAME.pem
est_enroll() {
    local name=$1 operation=${EST_OPERATION:-simpleenroll} status
    shift
    status=$(est "$operation" -H 'Content-Type: application/pkcs10' --data-binary "@$units/$name.csr" "$@")
    if [ "$status" = 200 ]; then
        openssl base64 -d -A < "$dir/body" | openssl pkcs7 -inform DER -print_certs | sed -n '/^-----BEGIN/,/^-----END/p' > "$units/$name.pem"
    fi
    echo "$status"
}

ocsp_status() { # CERT [ISSUER]: good, revoked, unknown or an error word
    openssl ocsp -issuer "${2:-$dir/fleet-ca.pem}" -cert "$1" -url "http://localhost:$((port + 1))/ocsp" -CAfile "$dir/ca.pem" 2>&1 |
        sed -n "s#^$1: ##p; s/^Responder Error: //p"
}

cert_serial() {
    openssl x509 -in "$1" -noout -serial | cut -d= -f2 | tr 'A-F' 'a-f'
}

# Takes away what killed processes under libfaketime left behind: under their numbers it does not start.
faketime_tidy() {
    local left
    for left in /dev/shm/*faketime_sem_* /dev/shm/faketime_shm_*; do
        [ ! -e "$left" ] || [ -d "/proc/${left##*_}" ] || rm -f "$left"
    done
}

# no COMMAND...: fails the test when the command succeeds. A line that begins with ! does not: errexit passes over it.
no() {
    ! "$@"
}
