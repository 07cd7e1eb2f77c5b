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

# box_link: the certificate of the box's link, and a TCP proxy in front of the centre that can be cut: wan_up, wan_down
box_link() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=line-a" -keyout "$box/link.key" -out "$box/link.csr" 2> /dev/null &&
        inkan box link line-a --profile station --csr "$box/link.csr" --chain --out "$box/link.pem" 2> /dev/null
}

wan_start() {
    wan_port=$(free_port)
    echo "wan_port=$wan_port" >> "$BATS_FILE_TMPDIR/instance.env"
    wan_up
}

wan_up() {
    python3 "$source_dir/tests/lib/wan.py" "$wan_port" "$port" 3>&- 4>&- &
    echo $! > "$box/wan.pid"
    wait_for 5 bash -c "exec 9<>/dev/tcp/127.0.0.1/$wan_port"
}

# Connections are cut in the middle and new ones are refused.
wan_down() {
    kill -9 "$(cat "$box/wan.pid")"
    while kill -0 "$(cat "$box/wan.pid")" 2> /dev/null; do sleep 0.05; done
}

sync_options() {
    sync=("$programs/inkan-sync" --url "https://localhost:$wan_port" --cert "$box/link.pem" --key "$box/link.key" --anchor "$dir/fleet-root.pem"
        --socket "$box/run/admin.sock")
}

box_sync() { # [options]
    local sync
    sync_options
    "${sync[@]}" "$@"
}

# In the background, talking into $box/sync.log; $sync_pid is the program itself.
box_sync_start() { # [options]
    local sync
    sync_options
    "${sync[@]}" "$@" 3>&- 4>&- 2> "$box/sync.log" &
    sync_pid=$!
}

# unit_box_birth ID: as unit_birth, at the box
unit_box_birth() {
    box_inkan device add "$1" --domain example --anchor example-maker > /dev/null 2>&1 || true
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1/serialNumber=$1" \
            -keyout "$units/$1.idevid.key" -out "$units/$1.idevid.csr" 2> /dev/null &&
        box_inkan cert issue --profile idevid --domain example --device "$1" --csr "$units/$1.idevid.csr" --out "$units/$1.idevid.pem"
}
