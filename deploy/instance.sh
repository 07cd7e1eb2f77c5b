# SPDX-License-Identifier: Apache-2.0
# Builds one running instance in a directory of its own: configuration, tokens, hierarchies. Sourced by quickstart and by the
# tests, so that what is tested is what a new user gets.
#
# Needs: $dir (absolute), $port (HTTPS; OCSP and CRLs on port+1, health on port+2, administration on port+3), $programs (where inkand is).
# shellcheck shell=sh disable=SC2154

softhsm_module() {
    for m in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do
        [ -e "$m" ] && { echo "$m"; return; }
    done
    echo "SoftHSM's PKCS#11 module was not found (package softhsm2)" >&2
    return 1
}

# write_config: the whole service in one commented file. May be set before: $fronts, $crl_shards, $records_validity, $maker_path_len, and list items in YAML for
# $extra_profiles, $extra_domains, $extra_anchors, $extra_labels; $extra_config is appended. $people: a management CA, operators' certificates,
# administration over the network; $notify: items of notify; $two_person_above.
write_config() {
    module=${INKAN_PKCS11_MODULE:-$(softhsm_module)}
    users=
    if [ "$(id -u)" -eq 0 ]; then
        users="
users:                       # one user per danger; nothing stays root
  supervisor: inkan
  front: inkan-front
  core: inkan-core
  status: inkan-status
  signer: inkan-signer${people:+
  admin_server: inkan-admin}${notify:+
  notify: inkan-notify}${admin_user:+
  admin: [$admin_user]       # may use the administration socket}"
    fi
    order_signers="
order_signers:               # who may sign work orders; here a key in a file beside this one
  - {name: factory-owner, file: $dir/order-signer.pem, domains: [example]}"
    case ${extra_config:-} in
        *order_signers:*) order_signers= ;;
    esac
    cat > "$dir/inkan.yaml.new" <<YAML
# Inkan, all of one service. Every key: inkand --help-config. Check: inkand -t -c inkan.yaml
public_url: http://localhost:$((port + 1))   # CRL and OCSP addresses inside certificates; a DNS name in production
quickstart: true             # allows localhost in names and addresses
directories:
  state: $dir/state
  marks: $dir/marks          # high-water marks and audit heads; in production on another disk
  run: $dir/run
  programs: $programs
log_file: $dir/log/inkan.log$users
listen:
  est: ["127.0.0.1:$port"]
  http: ["127.0.0.1:$((port + 1))"]
  health: ["127.0.0.1:$((port + 2))"]${people:+
  admin: [\"127.0.0.1:$((port + 3))\"]   # operators with certificates}
fronts: ${fronts:-1}
server:
  names: ["dns:localhost", "ip:127.0.0.1"]
  profile: server
audit:
  token: issuing
records:                     # signs close-out reports, hand-over lists and key packages
  token: issuing
  profile: records

tokens:                      # SoftHSM here; any PKCS#11 module works
  - name: maker-root
    label: inkan-maker-root
    module: $module
    pin: file:$dir/pin/maker-root
    so_pin: file:$dir/pin/maker-root.so
    env: ["SOFTHSM2_CONF=$dir/softhsm2.conf"${token_env:+, $token_env}]
    offline: true            # no process holds it open; \`inkan ca root-sign\` starts a signer for one command
  - name: fleet-root
    label: inkan-fleet-root
    module: $module
    pin: file:$dir/pin/fleet-root
    so_pin: file:$dir/pin/fleet-root.so
    env: ["SOFTHSM2_CONF=$dir/softhsm2.conf"${token_env:+, $token_env}]
    offline: true
  - name: issuing
    label: inkan-issuing
    module: $module
    pin: file:$dir/pin/issuing
    so_pin: file:$dir/pin/issuing.so
    env: ["SOFTHSM2_CONF=$dir/softhsm2.conf"${token_env:+, $token_env}]
  - name: ocsp               # a flood of OCSP nonces cannot starve issuance
    label: inkan-ocsp
    module: $module
    pin: file:$dir/pin/ocsp
    so_pin: file:$dir/pin/ocsp.so
    env: ["SOFTHSM2_CONF=$dir/softhsm2.conf"${token_env:+, $token_env}]

cas:
  - name: maker-root         # birth identities: no expiry
    token: maker-root
    key: p256
    profile: maker-root
    subject: "CN=Example Maker Root,O=Example Maker"
    ocsp_token: ocsp
    ocsp_profile: maker-root-ocsp
    crl_validity: 180d
  - name: maker-ca
    issuer: maker-root
    token: issuing
    key: p256
    profile: maker-ca
    subject: "CN=Example Maker CA 1,O=Example Maker"
    ocsp_token: ocsp
    ocsp_profile: maker-ocsp
  - name: fleet-root         # operation: 25 years
    token: fleet-root
    key: p256
    profile: fleet-root
    subject: "CN=Example Fleet Root,O=Example Fleet"
    ocsp_token: ocsp
    ocsp_profile: fleet-root-ocsp
    crl_validity: 180d
  - name: fleet-ca
    issuer: fleet-root
    token: issuing
    key: p256
    profile: fleet-ca
    subject: "CN=Example Fleet CA 1,O=Example Fleet"
    ocsp_token: ocsp
    ocsp_profile: fleet-ocsp
    crl_validity: 7d
    crl_shards: ${crl_shards:-0}${people:+
  - name: people-ca          # certifies the people who administer, and nobody else
    issuer: fleet-root
    token: issuing
    key: p256
    profile: people-ca
    subject: \"CN=Example People CA 1,O=Example Fleet\"
    ocsp_token: ocsp
    ocsp_profile: people-ocsp}

profiles:
  - {name: maker-root, kind: root-ca, validity: none, key_usage: [keyCertSign, cRLSign]}
  - {name: maker-ca, kind: issuing-ca, validity: none, path_len: ${maker_path_len:-0}, key_usage: [keyCertSign, cRLSign], crl_url: true, ocsp_url: true}
  - {name: fleet-root, kind: root-ca, validity: 25y, key_usage: [keyCertSign, cRLSign]}
  - {name: fleet-ca, kind: issuing-ca, validity: 15y, path_len: 0, key_usage: [keyCertSign, cRLSign], crl_url: true, ocsp_url: true}
  - name: idevid             # IEEE 802.1AR: no expiry, subject serialNumber, no address that could expire
    kind: idevid
    ca: maker-ca
    subject: "CN={device_id},serialNumber={device_id},O=Example Maker"
    key_algs: [p256, p384, ed25519, rsa2048, rsa3072, rsa4096]
    key_usage: [digitalSignature]
    eku: [clientAuth]
    validity: none
  - name: ldevid             # what a unit works with; renewed by itself at two thirds
    kind: ldevid
    ca: fleet-ca
    subject: "CN={device_id},serialNumber={device_id},O=Example Fleet"
    san: ["uri:urn:dev:{domain}:{device_id}"]
    key_algs: [p256, p384, ed25519, rsa2048, rsa3072, rsa4096]
    key_usage: [digitalSignature]
    eku: [clientAuth]
    validity: 365d
    crl_url: true
    ocsp_url: true
    allow_idevid_key: false
  - name: server
    kind: tls-server
    ca: fleet-ca
    subject: "CN={name}"
    key_algs: [p256]
    key_usage: [digitalSignature]
    eku: [serverAuth]
    validity: 90d
    crl_url: true
    ocsp_url: true
  - name: station
    kind: station
    ca: fleet-ca
    subject: "CN={name},O=Example Factory"
    key_algs: [p256, p384]
    key_usage: [digitalSignature]
    eku: [clientAuth]
    validity: 30d
    crl_url: true
    ocsp_url: true
  - name: records
    kind: record-signer
    ca: maker-ca
    subject: "CN={name},O=Example Maker"
    key_algs: [p256]
    key_usage: [digitalSignature]
    validity: ${records_validity:-365d}
    crl_url: true
    ocsp_url: true
  - name: gateway            # of a relying service: may ask for decisions and read the feed
    kind: gateway
    ca: fleet-ca
    subject: "CN={name},O=Example Fleet"
    key_algs: [p256, p384]
    key_usage: [digitalSignature]
    eku: [clientAuth]
    validity: 90d
    crl_url: true
    ocsp_url: true
  - name: feed
    kind: feed-signer
    ca: fleet-ca
    subject: "CN={name},O=Example Fleet"
    key_algs: [p256]
    key_usage: [digitalSignature]
    eku: [documentSigning]
    validity: ${feed_validity:-365d}
    crl_url: true
    ocsp_url: true
${people:+  - {name: people-ca, kind: issuing-ca, validity: 15y, path_len: 0, key_usage: [keyCertSign, cRLSign], crl_url: true, ocsp_url: true\}
  - {name: people-ocsp, kind: ocsp-signer, ca: people-ca, subject: \"CN=Example People CA 1 OCSP\", key_algs: [p256], key_usage: [digitalSignature], eku: [OCSPSigning], validity: 30d\}
  - {name: operator, kind: operator, ca: people-ca, subject: \"CN={name\},O=Example People\", key_algs: [p256, p384, ed25519], validity: 365d, crl_url: true, ocsp_url: true\}
}  - {name: maker-root-ocsp, kind: ocsp-signer, ca: maker-root, subject: "CN=Example Maker Root OCSP", key_algs: [p256], key_usage: [digitalSignature], eku: [OCSPSigning], validity: 365d}
  - {name: maker-ocsp, kind: ocsp-signer, ca: maker-ca, subject: "CN=Example Maker CA 1 OCSP", key_algs: [p256], key_usage: [digitalSignature], eku: [OCSPSigning], validity: 30d}
  - {name: fleet-root-ocsp, kind: ocsp-signer, ca: fleet-root, subject: "CN=Example Fleet Root OCSP", key_algs: [p256], key_usage: [digitalSignature], eku: [OCSPSigning], validity: 365d}
  - {name: fleet-ocsp, kind: ocsp-signer, ca: fleet-ca, subject: "CN=Example Fleet CA 1 OCSP", key_algs: [p256], key_usage: [digitalSignature], eku: [OCSPSigning], validity: 30d}
${extra_profiles:-}
domains:
  - name: example
${extra_domains:-}
anchors:                     # who may vouch for a unit's birth identity, and where
  - name: example-maker
    ca: maker-ca
    domains: [example]
${extra_anchors:-}
$(access_config)
labels:                      # https://HOST/.well-known/est[/LABEL]/OPERATION
  - {name: "", domain: example, profile: ldevid, auth_cert: true, auth_password: true}
${extra_labels:-}$order_signers
${people:+people:                      # who administers: inkan operator add; inkan --url ... --as ...
  profile: operator
  two_person_above: ${two_person_above:-100}   # units one person may change at once
}${notify:+
notify:                      # who is told of alarms, entries of the trail and its heads
$notify}${extra_config:-}
YAML
    mv "$dir/inkan.yaml.new" "$dir/inkan.yaml"
}

# access_config: what decisions and the feed need; decisions=false leaves them out.
access_config() {
    [ "${decisions:-true}" = true ] || return 0
    cat <<YAML
decisions:                   # may this unit connect now, and for what?
  enabled: true
feed:                        # the same, signed, for gateways that go on alone
  token: ocsp
  profile: feed
audiences:                   # who asks, and what for
  - {name: default, scopes: [full]}
  - {name: update, scopes: [full, update-only]}
${extra_audiences:-}
YAML
}

# make_instance_dirs: directories and SoftHSM's own configuration, with the owners the service will have.
make_instance_dirs() {
    mkdir -p "$dir/state" "$dir/marks" "$dir/run" "$dir/log" "$dir/pin" "$dir/tokens"
    cat > "$dir/softhsm2.conf" <<CONF
directories.tokendir = $dir/tokens
objectstore.backend = file
objectstore.umask = 0077
log.level = ERROR
slots.removable = false
CONF
    [ -e "$dir/order-signer.key" ] || {
        (umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$dir/order-signer.key" 2> /dev/null)
        openssl pkey -in "$dir/order-signer.key" -pubout -out "$dir/order-signer.pem"
        chmod 644 "$dir/order-signer.pem"
    }
    chmod 755 "$dir" "$dir/log" "$dir/run"
    chmod 644 "$dir/softhsm2.conf"
    chmod 700 "$dir/pin" "$dir/tokens"
    if [ "$(id -u)" -eq 0 ]; then
        chown inkan-signer: "$dir/pin" "$dir/tokens"
        chown inkan-core: "$dir/marks"
        chown inkan: "$dir/log"
    fi
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    wait_left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        wait_left=$((wait_left - 1))
        [ "$wait_left" -gt 0 ] || return 1
        sleep 0.1
    done
}

# running_pid: sets $service_pid to the running supervisor. A number left behind by a power cut may be a stranger's by now.
running_pid() {
    service_pid=$(cat "$dir/run/inkand.pid" 2>/dev/null) || return 1
    case $service_pid in
        '' | 0 | *[!0-9]*) return 1 ;;
    esac
    [ "$(cat "/proc/$service_pid/comm" 2>/dev/null)" = inkand ]
}

# inkand returns when the service runs, or says why it does not; that one is not left behind.
start_service() {
    running_pid && return 0
    "$programs/inkand" -c "$dir/inkan.yaml" && return 0
    stop_service
    return 1
}

stop_service() {
    running_pid || return 0
    kill "$service_pid" 2>/dev/null || true
    wait_for 60 sh -c "! kill -0 $service_pid"
}

health_is_ready() {
    curl -fsS --max-time 2 "http://127.0.0.1:$((port + 2))/ready"
}

# init_service: tokens, keys, hierarchies, first CRLs; running it again makes only what is missing.
init_service() {
    "$programs/inkan" --socket "$dir/run/admin.sock" init -c "$dir/inkan.yaml" "$@" && wait_for 60 health_is_ready
}
