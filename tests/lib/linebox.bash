# SPDX-License-Identifier: Apache-2.0
# A line box beside the service of instance.bash, from the example configuration, with a directory and ports of its own.
#
#   setup_file() { instance_up maker_path_len=1 "extra_profiles=$box_profile"; box_up; }
#   teardown_file() { box_down; instance_down; }

# Of the centre: what it certifies boxes with.
box_profile='  - {name: line-ca, kind: issuing-ca, validity: none, path_len: 0, crl_url: true}
'

# as_box COMMAND...: with the box's $dir and $port
as_box() {
    local dir=$box port=$box_port
    "$@"
}

# Of the centre: the certificate that signs its records.
centre_key() {
    local cert
    cert=$(inkan cert list --profile records --json | jq -r '.[-1] | "--issuer \(.issuer) --serial \(.serial)"')
    # shellcheck disable=SC2086
    inkan cert export $cert
}

# box_budget UNITS TIME [ORDER]: granted by the centre, installed at the box; the file stays as $box/budget.NUMBER
box_budget() {
    local number
    inkan budget grant --box line-a --units "$1" --until "$2" ${3:+--order "$3"} --out "$box/budget.new" || return 1
    number=$(inkan budget list --box line-a --json | jq '.[-1].number')
    mv "$box/budget.new" "$box/budget.$number"
    box_inkan budget install "$box/budget.$number"
}

box_spent() { # [SCOPE]: of the newest budget
    box_inkan budget list --json | jq --arg s "${1:-*}" '[.[] | select(.order == $s)][-1].spent'
}

box_inkan() {
    "$programs/inkan" --socket "$box/run/admin.sock" "$@"
}

box_config() {
    local module
    module=$(softhsm_module)
    sed -e "s#^public_url: .*#public_url: http://localhost:$((box_port + 1))\nquickstart: true#" \
        -e "s#/var/lib/inkan#$box/state#; s#/srv/inkan-marks#$box/marks#; s#/run/inkan#$box/run\n  programs: $programs#" \
        -e "s#/var/log/inkan/inkan.log#$box/log/inkan.log#; s#/etc/inkan/pin#$box/pin#" \
        -e "s#0.0.0.0:8443#127.0.0.1:$box_port#; s#0.0.0.0:8080#127.0.0.1:$((box_port + 1))#; s#127.0.0.1:8081#127.0.0.1:$((box_port + 2))#" \
        -e "s#dns:line-a.factory.example.com#dns:localhost#" \
        -e "s#/etc/inkan/order-signer.pem#$box/order-signer.pem#" \
        -e "s#/etc/inkan/centre-records.pem#$box/centre-records.pem#" \
        -e "s#/usr/lib/pkcs11/vendor.so\"#$module\"\n    env: [\"SOFTHSM2_CONF=$box/softhsm2.conf\"]#" \
        "$source_dir/deploy/linebox.example.yaml" > "$box/inkan.yaml"
    local domain
    for domain in ${box_domains:-}; do sed -i "s/^domains:\$/&\n  - name: $domain/" "$box/inkan.yaml"; done
    [ "$(id -u)" -eq 0 ] || sed -i '/^users:/,/^$/d' "$box/inkan.yaml"
}

# box_up: running, with tokens and keys; its CA waits for its certificate.
box_up() {
    box=$(mktemp -d "${INKAN_TEST_OUT:-/var/tmp}/box.XXXXXX")
    box_port=$(free_port)
    echo "box=$box box_port=$box_port" >> "$BATS_FILE_TMPDIR/instance.env"
    as_box make_instance_dirs && centre_key > "$box/centre-records.pem" && box_config && "$programs/inkand" -t -c "$box/inkan.yaml" || return 1
    as_box start_service 3>&- 4>&- && box_inkan init -c "$box/inkan.yaml"
}

# box_certify: the centre certifies its CA.
box_certify() {
    box_inkan ca request line-a --out "$box/line-a.csr" &&
        inkan ca sign line-a --issuer maker-ca --profile line-ca --csr "$box/line-a.csr" --chain --out "$box/line-a.pem" "$@" &&
        box_inkan ca install line-a --cert "$box/line-a.pem"
}

box_down() {
    [ -e "$BATS_FILE_TMPDIR/instance.env" ] || return 0
    instance_load
    as_box stop_service
    [ -n "${INKAN_KEEP:-}" ] || rm -rf "$box"
}

# box_link: the certificate of the box's link
box_link() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=line-a" -keyout "$box/link.key" -out "$box/link.csr" 2> /dev/null &&
        inkan box link line-a --profile station --csr "$box/link.csr" --chain --out "$box/link.pem" 2> /dev/null || return 1
    [ "$(id -u)" -eq 0 ] || return 0
    chown inkan-sync "$box/link.key" && box_inkan operator add sync --roles sync --user inkan-sync > /dev/null
}

# Under its own user, with the role sync alone.
box_sync() { # [options]
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=inkan-sync --clear-groups --)
    "${as[@]}" "$programs/inkan-sync" --url "https://localhost:$port" --cert "$box/link.pem" --key "$box/link.key" --anchor "$dir/fleet-root.pem" \
        --socket "$box/run/admin.sock" "$@"
}

# bend FROM TO: one bit of the signature at the end is another
bend() {
    python3 -c 'import sys; d = bytearray(open(sys.argv[1], "rb").read()); d[-7] ^= 4; open(sys.argv[2], "wb").write(d)' "$1" "$2"
}

# unit_box_birth ID: as unit_birth, at the box
unit_box_birth() {
    box_inkan device add "$1" --domain example --anchor example-maker > /dev/null 2>&1 || true
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1/serialNumber=$1" \
            -keyout "$units/$1.idevid.key" -out "$units/$1.idevid.csr" 2> /dev/null &&
        box_inkan cert issue --profile idevid --domain example --device "$1" --csr "$units/$1.idevid.csr" --out "$units/$1.idevid.pem"
}

# sign_budget KEY PAYLOAD: a flattened JWS by a key in a file
sign_budget() {
    python3 - "$1" "$2" << 'PY'
import base64, json, subprocess, sys
b = lambda x: base64.urlsafe_b64encode(x).rstrip(b"=").decode()
head, body = b(b'{"alg":"ES256","kid":"00","typ":"inkan-budget"}'), b(sys.argv[2].encode())
der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", sys.argv[1]], input=f"{head}.{body}".encode(), capture_output=True, check=True).stdout
def integer(at):
    n = der[at + 1]
    return der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0"), at + 2 + n
r, at = integer(2)
s, _ = integer(at)
print(json.dumps({"payload": body, "protected": head, "signature": b(r + s)}, separators=(",", ":")))
PY
}
