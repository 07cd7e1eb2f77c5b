# SPDX-License-Identifier: Apache-2.0
# A factory line with curl and openssl alone: orders, stations, devices. For tests that have loaded lib/instance.

b64u() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# order_open NAME MEMBERS: a work order of NAME (range NAME-00000001 on, one line of JSON members over the defaults), signed with
# openssl and opened.
order_open() {
    order_sign "$1" "${2:-}" > "$dir/$1.jws"
    inkan order open "$dir/$1.jws" > /dev/null
}

order_sign() { # NAME MEMBERS
    local payload head input
    payload=$(jq -cSn --arg order "$1" --arg from "$(date -u -d '-1 min' +%FT%TZ)" --arg to "$(date -u -d '+1 day' +%FT%TZ)" "{
        order: \$order, domain: \"example\", product: \"meter\", quantity: 20, profile: \"idevid\", key_mode: \"device\",
        device_ids: {range: {prefix: (\$order + \"-\"), first: 1, digits: 8}}, stations: [\"line:L1\"],
        not_before: \$from, not_after: \$to, rekeys: 1, rework: 1, orphan_after_s: 3600} + {${2:-}}")
    head=$(printf '{"alg":"ES256","kid":"%s","typ":"inkan-work-order"}' \
        "$(openssl pkey -in "$dir/order-signer.key" -pubout -outform DER | openssl dgst -sha256 -r | cut -c1-32)")
    input=$(printf %s "$head" | b64u).$(printf %s "$payload" | b64u)
    # r and s of the DER signature, 32 octets each
    printf '{"payload":"%s","protected":"%s","signature":"%s"}' "${input#*.}" "${input%.*}" \
        "$(printf %s "$input" | openssl dgst -sha256 -sign "$dir/order-signer.key" | openssl asn1parse -inform DER |
            sed -n 's/.*INTEGER *://p' | while read -r n; do printf '%064s' "$n" | tail -c 64 | tr ' ' 0; done | xxd -r -p | b64u)"
}

# customer_key NAME [openssl options for its key]: a customer's $units/NAME.{key,pem}; prints the member of an order that names it
customer_key() {
    local name=$1
    shift
    openssl req -x509 -newkey "${@:-rsa:2048}" -nodes -subj "/CN=$name" -days 30 -keyout "$units/$name.key" -out "$units/$name.pem" 2> /dev/null
    printf 'customer_key: "%s"' "$(openssl x509 -in "$units/$name.pem" -outform DER | openssl base64 -A)"
}

# station_add NAME ROLES [LINE] [options of inkan station add]
station_add() {
    local name=$1 roles=$2 line=${3:-L1}
    shift 2
    [ $# -eq 0 ] || shift
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name/O=Example Factory" \
        -keyout "$dir/$name.key" -out "$dir/$name.csr" 2> /dev/null
    inkan station add "$name" --line "$line" --role "$roles" --csr "$dir/$name.csr" --out "$dir/$name.pem" "$@"
}

# as STATION [curl options]: prints the HTTP status; the body is in $dir/body
as() {
    local name=$1
    shift
    curl -sS --cacert "$dir/fleet-root.pem" --cert "$dir/$name.pem" --key "$dir/$name.key" -o "$dir/body" -w '%{http_code}' "$@"
}

# device_key UNIT [KEYFILE]: a key and a request of the device: $units/UNIT.{key,csr}
device_key() {
    rm -f "$units/$1.key"
    [ -z "${2:-}" ] || cp "$2" "$units/$1.key"
    new_csr "$1" "/CN=$1/serialNumber=$1"
}

# unit_issue STATION ORDER UNIT [curl options]: prints the HTTP status; the certificate goes to $units/UNIT.pem
unit_issue() {
    local station=$1 order=$2 unit=$3 status
    shift 3
    [ -e "$units/$unit.csr" ] || device_key "$unit"
    status=$(as "$station" -H 'Content-Type: application/pkcs10' --data-binary "@$units/$unit.csr" "$@" "$(est_url "$order")/simpleenroll")
    if [ "$status" = 200 ]; then
        openssl base64 -d -A < "$dir/body" | openssl pkcs7 -inform DER -print_certs |
            sed -n '/^-----BEGIN/,/^-----END/p' > "$units/$unit.pem"
    fi
    echo "$status"
}

factory_url() {
    echo "https://localhost:$port/v1/factory/$1"
}

# unit_post STATION ORDER UNIT ACTION [JSON]: prints the HTTP status
unit_post() {
    as "$1" --json "${5:-{\}}" "$(factory_url "$2")/units/$3/$4"
}

# unit_sign ORDER UNIT [KEY]: the body of a confirm, from a challenge fetched with verify-1
unit_sign() {
    [ "$(as verify-1 "$(factory_url "$1")/units/$2/challenge")" = 200 ] || return 1
    cp "$dir/body" "$units/$2.challenge"
    openssl dgst -sha256 -sign "${3:-$units/$2.key}" -out "$units/$2.signature" "$units/$2.challenge"
    printf '{"challenge":"%s","signature":"%s","badge":"B-77"}' "$(cat "$units/$2.challenge")" "$(openssl base64 -A -in "$units/$2.signature")"
}

unit_confirm() { # ORDER UNIT
    unit_post verify-1 "$1" "$2" confirm "$(unit_sign "$1" "$2")"
}

# unit_done ORDER UNIT: issued and confirmed
unit_done() {
    [ "$(unit_issue issue-1 "$1" "$2")" = 200 ] && [ "$(unit_confirm "$1" "$2")" = 200 ]
}

body() { jq -r "$1" "$dir/body"; }
unit_state() { inkan unit show "$1/$2" --json | jq -r .state; }
count() { inkan order status "$1" --json | jq -r ".counts[\"$2\"]"; } # ORDER NAME
refused() { inkan order status "$1" --json | jq -r ".refused[\"$2\"] // 0"; } # ORDER REASON
