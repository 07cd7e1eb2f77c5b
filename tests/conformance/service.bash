# SPDX-License-Identifier: Apache-2.0
# What the conformance files need beside tests/lib/instance.bash: more profiles and labels, and the two programs beside this file.
load ../lib/instance

# Settings a file may give before instance_up: lines of YAML put behind the last profile, the last domain, the last anchor, and
# a sed script over the whole configuration; @DIR@ is the instance's directory. A function named prepare runs once that exists.
more_profiles=
more_domains=
more_anchors=
edit_config=

eval "plain_$(declare -f write_config)"
write_config() {
    plain_write_config || return 1
    local key text
    ! declare -F prepare > /dev/null || prepare || return 1
    for key in domains anchors labels; do
        case $key in
            domains) text=$more_profiles ;;
            anchors) text=$more_domains ;;
            labels) text=$more_anchors ;;
        esac
        [ -z "$text" ] || awk -v key="^$key:" -v text="${text//@DIR@/$dir}" '$0 ~ key { print text; print "" } { print }' "$dir/inkan.yaml" > "$dir/inkan.yaml.new"
        [ -z "$text" ] || mv "$dir/inkan.yaml.new" "$dir/inkan.yaml"
    done
    [ -z "$edit_config" ] || sed -i "$edit_config" "$dir/inkan.yaml"
}

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
