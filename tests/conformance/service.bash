# SPDX-License-Identifier: Apache-2.0
# What the conformance files need beside tests/lib: the two programs beside this file, and units in one line.
load ../lib/instance
load ../lib/fault

judge() { # what python3-asn1crypto reads, as JSON
    /usr/bin/python3 "$BATS_TEST_DIRNAME/judge.py" "$@"
}

raw() {
    /usr/bin/python3 "$BATS_TEST_DIRNAME/raw.py" "$@"
}

# born ID: declared, with a birth identity; $birth holds curl's options for it
born() {
    unit_birth "$1"
    birth=(--cert "$units/$1.idevid.pem" --key "$units/$1.idevid.key")
}

# working ID: an LDevID in $units/ID.pem; $work holds curl's options for it
working() {
    born "$1"
    new_csr "$1" "/CN=$1/serialNumber=$1"
    [ "$(EST_OPERATION=${2:+$2/}simpleenroll est_enroll "$1" "${birth[@]}")" = 200 ] || { cat "$dir/body"; return 1; }
    work=(--cert "$units/$1.pem" --key "$units/$1.key")
}

# post OPERATION FILE [curl options]: a body of that file; prints the status, headers and body are in $dir
post() {
    local operation=$1 file=$2
    shift 2
    est "$operation" -H 'Content-Type: application/pkcs10' --data-binary "@$file" "$@"
}

# made NAME KEY [options of raw.py csr]: $units/NAME.csr by hand
made() {
    local name=$1 key=$2
    shift 2
    [ -e "$key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$key"
    raw csr "$key" "$@" > "$units/$name.csr"
}

http_url() { # the plain listener
    echo "http://localhost:$((port + 1))$1"
}

unhex() { # hexadecimal on standard input, octets on standard output
    /usr/bin/python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))'
}
