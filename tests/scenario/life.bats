#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The life of a device: for each change what the command says, what EST answers, and what OCSP, the lists and the decision say then.
load ../lib/instance
load ../lib/fault
load ../lib/factory

setup_file() {
    local ldevid='kind: ldevid, ca: fleet-ca, subject: "CN={device_id},serialNumber={device_id},O=Example Fleet", validity: 365d'
    side_dir
    use_test_clock
    use_shim
    for owner in example beta; do
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$side/$owner.key" 2> /dev/null
        openssl pkey -in "$side/$owner.key" -pubout -out "$side/$owner.pem"
    done
    chmod 644 "$side"/*.pem
    config_edit='/^anchors:/,/^labels:/ s/domains: \[example\]/domains: [example, beta]/'
    instance_up extra_domains="    owner_key: $side/example.pem
  - {name: beta, owner_key: $side/beta.pem, quarantine_hold: true}" extra_profiles="
  - {name: retiring, $ldevid, retire_after: 0s}
  - {name: retiring-later, $ldevid, retire_after: 7d}
  - {name: of-beta, ${ldevid/O=Example Fleet/O=Beta,OU=\{domain\}}}" extra_labels="
  - {name: beta, domain: beta, profile: of-beta}
  - {name: retiring, domain: example, profile: retiring}
  - {name: retiring-later, domain: example, profile: retiring-later}" "config_edit=$config_edit"
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    station_add issue-1 issue,load L1 --domain example > /dev/null
    station_add verify-1 verify L1 --domain example > /dev/null
    station_add qa-1 qa L1 --domain example > /dev/null
}
teardown_file() { instance_down; side_dir_remove; }
setup() {
    fault_load
    declare -gA listed_as=()
}

inkan() { # there are two domains: most devices here are of the first
    case "$1 $2" in
    device\ transfer* | device\ accept*) "$programs/inkan" --socket "$dir/run/admin.sock" "$@" ;;
    device\ *) "$programs/inkan" --socket "$dir/run/admin.sock" "$@" --domain "${domain:-example}" ;;
    *) "$programs/inkan" --socket "$dir/run/admin.sock" "$@" ;;
    esac
}

born() {
    "$programs/inkan" --socket "$dir/run/admin.sock" device add "$1" --domain example --anchor example-maker --product demo > /dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1/serialNumber=$1" -keyout "$units/$1.idevid.key" \
        -out "$units/$1.idevid.csr" 2> /dev/null
    inkan cert issue --profile idevid --domain example --device "$1" --csr "$units/$1.idevid.csr" --out "$units/$1.idevid.pem" 2> /dev/null
}

# enrols ID [LABEL]: the status; with a new key each time
enrols() {
    local is
    rm -f "$units/$1.new.key"
    new_csr "$1" "/CN=$1/serialNumber=$1" "$units/$1.new.key"
    is=$(EST_OPERATION=${2:+$2/}simpleenroll est_enroll "$1" --cert "$units/$1.idevid.pem" --key "$units/$1.idevid.key")
    [ "$is" != 200 ] || mv "$units/$1.new.key" "$units/$1.key"
    echo "$is"
}

# renews ID [LABEL] [CERT KEY]: the status; the new certificate is of a new key, $units/ID.{pem,key}
renews() {
    local old=${3:-$units/$1.pem} key=${4:-$units/$1.key}
    cp "$old" "$units/$1.old.pem"
    cp "$key" "$units/$1.old.key"
    rm -f "$units/$1.key"
    new_csr "$1" "/CN=$1/serialNumber=$1/O=Example Fleet"
    EST_OPERATION=${2:+$2/}simplereenroll est_enroll "$1" --cert "$units/$1.old.pem" --key "$units/$1.old.key"
}

in_service() {
    born "$1"
    [ "$(enrols "$1")" = 200 ]
}

state() { inkan device show "$1" --json | jq -r .state; }

# sell ID NAME [options]: the order and its acceptance, $side/NAME.{jws,accept}
sell() {
    "$programs/inkan" device transfer-order "$1" --name "$2" --from example --to beta --key "$side/example.key" --out "$side/$2.jws" "${@:3}"
    "$programs/inkan" device acceptance "$side/$2.jws" --key "$side/beta.key" --out "$side/$2.accept"
}

# ocsp CERT: "good", or "revoked REASON", by openssl
ocsp() {
    local ca=fleet
    case $1 in *.idevid.pem) ca=maker ;; esac
    openssl ocsp -issuer "$dir/$ca-ca.pem" -cert "$1" -url "http://localhost:$((port + 1))/ocsp" -CAfile "$dir/$ca-root.pem" \
        -verify_other "$dir/$ca-ca.pem" 2>&1 | awk -v cert="$1:" '$1 == cert { s = $2 } $1 == "Reason:" { s = s " " $2 } END { print s }'
}

# listed CERT [ANSWER]: its reason in the list, or "no"; a new list is published, unless that was the answer before
listed() {
    local ca=fleet serial
    case $1 in *.idevid.pem) ca=maker ;; esac
    serial=$(openssl x509 -in "$1" -noout -serial)
    [ "${listed_as[$1]:-}" = "${2:-new}" ] || inkan crl publish --issuer $ca-ca > /dev/null
    curl -fsS "http://localhost:$((port + 1))/crl/$ca-ca.crl" | openssl crl -inform DER -noout -text |
        awk -v serial="${serial#*=}" '/Serial Number:/ { at = $3 ~ serial "$"; if (at) found = 1 }
            at && /Reason Code/ { getline; gsub(/^ +/, ""); reason = $0 } END { print found ? reason : "no" }'
}

# decision CERT: what a relying service is told: reason, scope, state, domain
decision() {
    local pem
    mapfile -t pem < "$1"
    printf -v pem %s "${pem[@]:1:${#pem[@]}-2}"
    curl -sS --unix-socket "$dir/run/decision.sock" -H "X-Client-Cert: $pem" http://localhost/v1/decision |
        jq -r '.reason + " " + .scope + " " + .state + " " + .domain'
}

# As docs/lifecycle.md has it, with a certificate that is good: KIND STATE
decision_of() {
    local scope=none
    case $2 in
    keyed | shipped | transferring) scope=enroll-only ;;
    provisioned | confirmed) scope=line ;;
    in_service) scope=full ;;
    quarantined) scope=update-only ;;
    in_repair) scope=repair ;;
    esac
    case $1-$scope in
    *-none) echo device_disabled none ;;
    idevid-full | idevid-update-only) echo scope enroll-only ;;
    ldevid-full) echo ok full ;;
    *) echo "scope $scope" ;;
    esac
}

# stands ID STATE IDEVID LDEVID: the device, and what OCSP, list and decision say of each certificate: good, or the reason for which
# it is not; "-": there is none
stands() {
    local kind pem is want word
    [ "$3" != - ] || [ "$(state "$1")" = "$2" ] || return 1
    for kind in idevid ldevid; do
        pem=$units/$1.idevid.pem word=$3
        [ $kind = idevid ] || pem=$units/$1.pem word=$4
        case $word in
        -) continue ;;
        good) want="good / no / $(decision_of $kind "$2")" ;;
        certificateHold) want="revoked $word / Certificate Hold / on_hold none" ;;
        privilegeWithdrawn) want="revoked (UNKNOWN) / Privilege Withdrawn / revoked none" ;; # openssl has no name for reason 9
        *) want="revoked $word / $(sed 's/\([A-Z]\)/ \1/g; s/^./\u&/' <<< "$word") / revoked none" ;;
        esac
        want+=" $2 ${domain:-example}"
        is="$(ocsp "$pem") / $(listed "$pem" "$word") / $(decision "$pem")"
        [ "$is" = "$want" ] || { echo "$1, $kind: $is, not $want"; return 1; }
        listed_as[$pem]=$word
    done
}

# refused PART COMMAND...: it fails and says so
refused() {
    local part=$1
    shift
    run "$@"
    [ "$status" -eq 1 ] && [[ $output == *"$part"* ]] || { echo "status $status: $output"; return 1; }
}

alarm() { # KIND OBJECT
    inkan doctor --json | jq -e --arg a "alarm $1 $2" 'map(select(.check == $a)) | length == 1'
}

@test "from the line into service: in stock it may not enrol, shipped it may, and the way back ends with its first boot" {
    order_open LIFE
    [ "$(unit_issue issue-1 LIFE LIFE-00000001)" = 200 ]
    [ "$(state LIFE-00000001)" = provisioned ]
    refused "first confirmed" inkan device ship LIFE-00000001
    [ "$(unit_post verify-1 LIFE LIFE-00000001 confirm "$(unit_sign LIFE LIFE-00000001)")" = 200 ]
    [ "$(state LIFE-00000001)" = confirmed ]
    for f in key pem; do cp "$units/LIFE-00000001.$f" "$units/LIFE-00000001.idevid.$f"; done
    [ "$(enrols LIFE-00000001)" = 403 ]
    grep -q 'the device is confirmed, not shipped' "$dir/body"
    # Nor with another owner who declared it.
    domain=beta inkan device add LIFE-00000001 --anchor example-maker --product meter > /dev/null
    [ "$(enrols LIFE-00000001 beta)" = 403 ]
    grep -q 'domain "example": the device is confirmed, not shipped' "$dir/body"
    inkan device ship LIFE-00000001
    [ "$(inkan device unship LIFE-00000001 --json | jq -r .state)" = confirmed ]
    [ "$(enrols LIFE-00000001)" = 403 ]
    inkan device ship LIFE-00000001
    [ "$(inkan device show LIFE-00000001 --json | jq -r .scope)" = enroll-only ]
    [ "$(enrols LIFE-00000001)" = 200 ]
    stands LIFE-00000001 in_service good good
    refused "first in_repair, then confirmed" inkan device unship LIFE-00000001
    [ "$(inkan device history LIFE-00000001 --json | jq -r '[.[].event] | join(" ")')" = "declared reserved issued confirmed ship unship ship first-enrollment" ]
    [ "$(enrols LIFE-00000001 beta)" = 200 ]
}

@test "suspended and released: on hold and good again, and each hold is ended by who made it" {
    in_service hold-1
    in_service hold-2
    inkan device suspend hold-1 --reason "ticket 7" --yes
    stands hold-1 suspended good certificateHold
    stands hold-2 in_service good good
    [ "$(enrols hold-1)" = 403 ]
    refused "held by the state of its device (inkan device release" inkan cert release "$(ls "$units"/hold-1.pem)" --yes
    # Again: success without a change.
    [ "$(inkan device suspend hold-1 --yes --json | jq .changed)" = false ]
    refused "cannot become quarantined: first in_service" inkan device quarantine hold-1 --yes
    inkan device release hold-1
    stands hold-1 in_service good good
    [ "$(renews hold-1)" = 200 ]
    # An operator's hold stays when the suspension ends.
    inkan cert hold "$units/hold-2.pem" --yes
    inkan device suspend hold-2 --yes
    [ "$(inkan cert release "$units/hold-2.pem" --yes --json | jq -r .status)" = on_hold ]
    inkan device release hold-2
    [ "$(ocsp "$units/hold-2.pem")" = good ]
    born ship-1
    refused "cannot become suspended" inkan device suspend ship-1 --yes
}

@test "quarantined: it renews, and the release that was wanted ends it" {
    in_service vuln-1
    inkan device quarantine vuln-1 --until-firmware 2.1 --yes
    stands vuln-1 quarantined good good
    [ "$(inkan device show vuln-1 --json | jq -r .scope)" = update-only ]
    [ "$(renews vuln-1)" = 200 ]
    [ "$(state vuln-1)" = quarantined ]
    in_service vuln-2
    inkan device quarantine vuln-2 --yes
    inkan device set-firmware vuln-2 --firmware 2.1
    [ "$(state vuln-2)" = quarantined ] # nothing was named: a person releases it
    inkan device release vuln-2
    inkan device set-firmware vuln-1 --firmware 2.0
    [ "$(state vuln-1)" = quarantined ]
    # What a device says of itself comes with its request.
    new_csr vuln-1 /CN=vuln-1/serialNumber=vuln-1
    [ "$(est_enroll vuln-1 --cert "$units/vuln-1.idevid.pem" --key "$units/vuln-1.idevid.key" -H 'Inkan-Unit: firmware=2.1')" = 200 ]
    [ "$(inkan device show vuln-1 --json | jq -r '.state + " " + .firmware')" = "in_service 2.1" ]
    [ "$(est_enroll vuln-1 --cert "$units/vuln-1.idevid.pem" --key "$units/vuln-1.idevid.key" -H 'Inkan-Unit: nonsense')" = 400 ]
}

@test "lost and found: what was revoked stays revoked, the birth identity opens the way back" {
    in_service gone-1
    inkan device lose gone-1 --reason "stolen" --yes
    cp "$units/gone-1.pem" "$units/gone-1.first.pem"
    no alarm seen-while-lost device:example/gone-1
    [ "$(enrols gone-1)" = 403 ]
    alarm seen-while-lost device:example/gone-1
    stands gone-1 lost certificateHold privilegeWithdrawn
    refused "first suspended, then compromised" inkan device compromise gone-1 --yes
    refused "cannot become in_service: first suspended" inkan device recommission gone-1
    inkan device find gone-1
    [ "$(state gone-1)" = suspended ]
    # It may enrol now, unless somebody stops it; a preview of many says so too.
    would() { inkan fleet suspend --select 'device = gone-1' --dry-run --json | jq -c '[.states[] | [.state, .units, .would]]'; }
    [ "$(would)" = '[["suspended",1,"change"]]' ]
    [ "$(inkan device suspend gone-1 --yes --json | jq .changed)" = true ]
    [ "$(would)" = '[["suspended",1,"same"]]' ]
    [ "$(enrols gone-1)" = 403 ]
    inkan device lose gone-1 --yes
    inkan device find gone-1
    [ "$(ocsp "$units/gone-1.idevid.pem")" = good ]
    [ "$(ocsp "$units/gone-1.first.pem")" = "revoked (UNKNOWN)" ]
    [ "$(enrols gone-1)" = 200 ]
    stands gone-1 in_service good good
    [ "$(ocsp "$units/gone-1.first.pem")" = "revoked (UNKNOWN)" ]
}

@test "compromised: everything is revoked, and only a new key from the repair line brings it back" {
    in_service leak-1
    inkan device repair leak-1 --yes
    stands leak-1 in_repair certificateHold cessationOfOperation
    [ "$(enrols leak-1)" = 403 ]
    inkan device compromise leak-1 --reason "key on a forum" --yes
    stands leak-1 compromised keyCompromise keyCompromise
    refused "another person confirms it" inkan device confirm-compromise leak-1
    refused "cannot become in_service: first in_repair" inkan device release leak-1
    inkan device repair leak-1 --yes
    refused "it needs a new key" inkan device repaired leak-1 --evidence "wiped"
    order_open REPAIR 'device_ids: {list: ["leak-1"]}, quantity: 1'
    rm "$units/leak-1.key"
    device_key leak-1
    [ "$(unit_issue issue-1 REPAIR leak-1)" = 200 ]
    [ "$(state leak-1)" = in_repair ]
    [ "$(unit_post verify-1 REPAIR leak-1 confirm "$(unit_sign REPAIR leak-1)")" = 200 ]
    [ "$(state leak-1)" = confirmed ]
    cp "$units/leak-1.idevid.pem" "$units/leak-1.exposed.idevid.pem"
    cp "$units/leak-1.idevid.key" "$units/leak-1.exposed.idevid.key"
    for f in key pem; do cp "$units/leak-1.$f" "$units/leak-1.idevid.$f"; done
    inkan device ship leak-1
    [ "$(enrols leak-1)" = 200 ]
    stands leak-1 in_service good good
    [ "$(ocsp "$units/leak-1.exposed.idevid.pem")" = "revoked keyCompromise" ]
    new_csr leak-1 /CN=leak-1/serialNumber=leak-1
    [ "$(est_enroll leak-1 --cert "$units/leak-1.exposed.idevid.pem" --key "$units/leak-1.exposed.idevid.key")" = 403 ]
}

@test "repaired with the key it has: back into stock, its birth identity is good again" {
    in_service fix-1
    inkan device repair fix-1 --yes
    refused "evidence" inkan device repaired fix-1
    inkan device repaired fix-1 --evidence "RMA 12, wiped"
    stands fix-1 confirmed good cessationOfOperation
    [ "$(enrols fix-1)" = 403 ]
    inkan device ship fix-1
    [ "$(enrols fix-1)" = 200 ]
    [ "$(inkan device history fix-1 --json | jq -r '.[-2:] | map(.event + ":" + .evidence) | join(" ")')" = "repaired:RMA 12, wiped ship:" ]
}

@test "decommissioned, taken back, and disposed of with evidence: then it is over for ever" {
    in_service old-1
    refused "first decommissioned" inkan device dispose old-1 --evidence "shredder list 9" --yes
    inkan device decommission old-1 --yes
    stands old-1 decommissioned good cessationOfOperation
    [ "$(enrols old-1)" = 403 ]
    domain=beta inkan device add old-1 --anchor example-maker --product demo > /dev/null
    [ "$(enrols old-1 beta)" = 403 ]
    grep -q 'the device is stopped: decommissioned' "$dir/body"
    inkan device recommission old-1
    [ "$(enrols old-1)" = 200 ]
    stands old-1 in_service good good
    inkan device decommission old-1 --yes
    refused "evidence" inkan device dispose old-1 --yes
    inkan device dispose old-1 --evidence "shredder list 9" --yes
    stands old-1 disposed cessationOfOperation cessationOfOperation
    refused "that state is final" inkan device recommission old-1
    refused "that state is final" inkan device repair old-1 --yes
    [ "$(enrols old-1)" = 403 ]
}

@test "stopped: scrapped before it left the factory, retired after" {
    born stop-1
    inkan device stop stop-1 --yes
    [ "$(state stop-1)" = scrapped ]
    [ "$(ocsp "$units/stop-1.idevid.pem")" = "revoked cessationOfOperation" ]
    [ "$(enrols stop-1)" = 403 ]
    in_service stop-2
    refused "loses its birth certificate too" inkan device stop stop-2 --reason keyCompromise --yes
    [ "$(state stop-2)" = in_service ]
    inkan device stop stop-2 --yes
    stands stop-2 decommissioned good cessationOfOperation
}

@test "a change of owner: signed by the old one, accepted by the new one, called off until then" {
    in_service move-1
    "$programs/inkan" device transfer-order move-1 --name T-1 --from example --to beta --key "$side/beta.key" --out "$side/forged.jws"
    refused "not signed by the owner of domain \"example\"" inkan device transfer "$side/forged.jws" --yes
    "$programs/inkan" device transfer-order move-1 --name T-1 --from example --to beta --key "$dir/order-signer.key" --out "$side/forged.jws"
    refused "is no domain's owner_key" inkan device transfer "$side/forged.jws" --yes
    "$programs/inkan" device transfer-order move-1 --name T-1 --from example --to beta --key "$side/example.key" --out "$side/t1.jws"
    jq -c '.payload |= (. | @base64d | sub("move-1"; "move-2") | @base64 | gsub("="; ""))' "$side/t1.jws" > "$side/changed.jws"
    refused "signature is not" inkan device transfer "$side/changed.jws" --yes
    inkan device transfer "$side/t1.jws" --yes
    stands move-1 transferring good affiliationChanged
    [ "$(inkan device transfer "$side/t1.jws" --yes --json | jq .changed)" = false ]
    [ "$(enrols move-1)" = 403 ]
    [ "$(enrols move-1 beta)" = 403 ]
    inkan device transfer-cancel T-1 --yes
    [ "$(state move-1)" = in_service ]
    [ "$(enrols move-1)" = 200 ]
    refused "a new order takes a new name" inkan device transfer "$side/t1.jws" --yes
    "$programs/inkan" device transfer-order move-1 --name T-2 --from example --to beta --key "$side/example.key" --out "$side/t2.jws"
    inkan device transfer "$side/t2.jws" --yes
    "$programs/inkan" device acceptance "$side/t2.jws" --key "$side/example.key" --out "$side/a2.forged"
    refused "not signed by the owner of domain \"beta\"" inkan device accept "$side/a2.forged"
    "$programs/inkan" device acceptance "$side/t1.jws" --key "$side/beta.key" --out "$side/a1.jws"
    refused "was cancelled" inkan device accept "$side/a1.jws"
    "$programs/inkan" device acceptance "$side/t2.jws" --key "$side/beta.key" --out "$side/a2.jws"
    inkan device accept "$side/a2.jws"
    [ "$(state move-1)" = decommissioned ]
    [ "$(decision "$units/move-1.idevid.pem")" = "scope enroll-only shipped beta" ]
    [ "$(domain=beta state move-1)" = shipped ]
    refused "was accepted" inkan device transfer-cancel T-2 --yes
    refused "another owner" inkan device recommission move-1
    [ "$(enrols move-1)" = 403 ]
    [ "$(enrols move-1 beta)" = 200 ]
    [ "$(domain=beta state move-1)" = in_service ]
    [ "$(ocsp "$units/move-1.pem")" = good ]
    # Its new owner's quarantine holds what relying services see in their lists.
    domain=beta inkan device quarantine move-1 --yes
    [ "$(ocsp "$units/move-1.pem")" = "revoked certificateHold" ]
    [ "$(renews move-1 beta)" = 403 ] # with what is on hold; the birth identity enrols, and what comes of it is on hold too
    [ "$(enrols move-1 beta)" = 200 ]
    [ "$(ocsp "$units/move-1.pem")" = "revoked certificateHold" ]
    [ "$(listed "$units/move-1.pem")" = "Certificate Hold" ]
    domain=beta inkan device release move-1
    [ "$(ocsp "$units/move-1.pem")" = good ]
    # Lost by its new owner: the birth identity, certified for the old one, is held too.
    domain=beta inkan device lose move-1 --yes
    domain=beta stands move-1 lost certificateHold privilegeWithdrawn
}

@test "an order names 250 devices at most" {
    seq -f 'many-%g' 251 > "$side/ids"
    "$programs/inkan" device transfer-order --ids "$side/ids" --name T-251 --from example --to beta --key "$side/example.key" --out "$side/many.jws"
    refused "names 1 to 250 devices" inkan device transfer "$side/many.jws" --yes
    sed -i '$d' "$side/ids"
    "$programs/inkan" device transfer-order --ids "$side/ids" --name T-250 --from example --to beta --key "$side/example.key" --out "$side/many.jws"
    refused "device example/many-1 is not declared" inkan device transfer "$side/many.jws" --yes
}

@test "an order that a device left by another way moves it no more, and no second one is opened beside it" {
    in_service side-1
    sell side-1 T-3
    sell side-1 T-4
    inkan device transfer "$side/T-3.jws" --yes
    inkan device lose side-1 --yes
    inkan device find side-1
    [ "$(enrols side-1)" = 200 ]
    refused "is in_service: cancel the transfer" inkan device accept "$side/T-3.accept"
    refused "is in transfer T-3, which is open: cancel that first" inkan device transfer "$side/T-4.jws" --yes
    [ "$(state side-1)" = in_service ]
    inkan device transfer-cancel T-3 --yes
    inkan device transfer "$side/T-4.jws" --yes
    refused "was cancelled" inkan device accept "$side/T-3.accept"
    [ "$(state side-1)" = transferring ]
    inkan device accept "$side/T-4.accept"
    [ "$(domain=beta state side-1)" = shipped ]
}

@test "a unit between two owners is not scrapped on its line" {
    order_open SOLD
    unit_done SOLD SOLD-00000001
    for f in key pem; do cp "$units/SOLD-00000001.$f" "$units/SOLD-00000001.idevid.$f"; done
    inkan device ship SOLD-00000001
    [ "$(enrols SOLD-00000001)" = 200 ]
    sell SOLD-00000001 T-5
    inkan device transfer "$side/T-5.jws" --yes
    [ "$(unit_post qa-1 SOLD SOLD-00000001 scrap)" = 409 ]
    [ "$(body '.error + ": " + .text')" = "unit-not-yours: the device is between two owners: its transfer is cancelled or accepted first" ]
    [ "$(state SOLD-00000001)" = transferring ]
    inkan device transfer-cancel T-5 --yes
    [ "$(unit_post qa-1 SOLD SOLD-00000001 scrap)" = 200 ]
    stands SOLD-00000001 decommissioned cessationOfOperation affiliationChanged
}

@test "a certificate that was renewed retires when the new one is used, or after its time; a copy of it is heard of" {
    born two-1
    [ "$(enrols two-1 retiring)" = 200 ]
    [ "$(renews two-1 retiring)" = 200 ]
    cp "$units/two-1.old.pem" "$units/two-1.first.pem"
    cp "$units/two-1.old.key" "$units/two-1.first.key"
    [ "$(ocsp "$units/two-1.first.pem")" = good ] # a reply that was lost is asked for with it
    [ "$(renews two-1 retiring)" = 200 ]
    first_is_over() { [ "$(ocsp "$units/two-1.first.pem")" = "revoked superseded" ]; }
    wait_for 60 first_is_over
    [ "$(ocsp "$units/two-1.old.pem")" = good ]
    cp "$units/two-1.pem" "$units/two-1.keep.pem"
    cp "$units/two-1.key" "$units/two-1.keep.key"
    [ "$(renews two-1 retiring "$units/two-1.first.pem" "$units/two-1.first.key")" = 403 ]
    alarm renewal-from-superseded device:example/two-1
    # Where nothing retires, the copy gets a certificate: two are in use.
    in_service two-2
    [ "$(renews two-2)" = 200 ]
    [ "$(renews two-2 "" "$units/two-2.old.pem" "$units/two-2.old.key")" = 200 ]
    alarm two-live-ldevids device:example/two-2
    born two-3
    [ "$(enrols two-3 retiring-later)" = 200 ]
    [ "$(renews two-3 retiring-later)" = 200 ]
}

# act ID VERB: what brings a change about
act() {
    case $2 in
    born) born "$1" ;;
    enrol)
        [ "$(enrols "$1")" = 200 ]
        listed_as["$units/$1.pem"]="" # another certificate: it is in no list yet
        ;;
    reserve) [ "$(as issue-1 --json "{\"device_id\":\"$1\"}" "$(factory_url WALK)/reserve")" = 200 ] ;;
    capture)
        shim_rules issuing "C_SignInit rv=0x32"
        [ "$(unit_issue issue-1 WALK "$1")" = 202 ]
        ;;
    sign | issue)
        shim_rules issuing
        [ "$2" = issue ] || wait_for 60 unit_is_issued "$1"
        [ "$(unit_issue issue-1 WALK "$1")" = 200 ]
        cp "$units/$1.pem" "$units/$1.idevid.pem"
        listed_as["$units/$1.idevid.pem"]=""
        ;;
    confirm) [ "$(unit_confirm WALK "$1")" = 200 ] ;;
    rework) [ "$(unit_post qa-1 WALK "$1" rework)" = 200 ] ;;
    give-up) [ "$(unit_post qa-1 WALK "$1" scrap)" = 200 ] ;;
    transfer)
        order=W-$((${order#W-} + 1))
        sell "$1" "$order"
        inkan device transfer "$side/$order.jws" --yes
        ;;
    cancel) inkan device transfer-cancel "$order" --yes ;;
    accept)
        inkan device accept "$side/$order.accept"
        domain=beta
        ;;
    repaired) inkan device repaired "$1" --evidence "wiped" ;;
    dispose) inkan device dispose "$1" --evidence "shredder list 10" --yes ;;
    release | find | ship | unship | recommission) inkan device "$2" "$1" ;;
    *) inkan device "$2" "$1" --yes ;;
    esac
}

# listed_anew ID IDEVID LDEVID: the service may have published after a change that nobody looked at; the next look makes a list of its own
listed_anew() {
    [ "${listed_as["$units/$1.idevid.pem"]:-}" = "$2" ] || listed_as["$units/$1.idevid.pem"]=""
    [ "${listed_as["$units/$1.pem"]:-}" = "$3" ] || listed_as["$units/$1.pem"]=""
}

unit_is_issued() { [ "$(unit_state WALK "$1")" = issued ]; }

@test "every change there is: what OCSP, the lists and the decision say then" {
    local id verb to idevid ldevid order=W-0 walked="" domain=
    local -A at
    order_open WALK 'device_ids: {list: ["l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8"]}, quantity: 8, defer: 8'
    # unit verb, then its state and what its birth and its operational certificate are
    while read -r -u 9 id verb to idevid ldevid; do
        act "$id" "$verb" > /dev/null || { echo "$id $verb: $(cat "$dir/body")"; return 1; }
        if [ "${at[$id]:-$to}" != "$to" ] && [[ $walked != *" ${at[$id]}>$to "* ]]; then
            stands "$id" "$to" "$idevid" "$ldevid"
            walked+=" ${at[$id]}>$to "
        else
            listed_anew "$id" "$idevid" "$ldevid"
        fi
        at[$id]=$to
    done 9<<'TABLE'
l1 reserve declared - -
l1 issue provisioned good -
l1 give-up declared cessationOfOperation -
l2 reserve declared - -
l2 issue provisioned good -
l2 confirm confirmed good -
l2 rework provisioned good -
l2 repair in_repair certificateHold -
l3 reserve declared - -
l3 issue provisioned good -
l3 stop scrapped cessationOfOperation -
l4 reserve declared - -
l4 issue provisioned good -
l4 confirm confirmed good -
l4 stop scrapped cessationOfOperation -
l5 reserve declared - -
l6 reserve declared - -
l7 reserve declared - -
l8 reserve declared - -
l5 capture keyed - -
l6 capture keyed - -
l7 capture keyed - -
l8 capture keyed - -
l5 give-up declared - -
l6 repair in_repair - -
l7 stop scrapped - -
l8 sign provisioned good -
a born declared good -
a enrol in_service good good
a suspend suspended good certificateHold
a release in_service good good
a quarantine quarantined good good
a release in_service good good
a transfer transferring good affiliationChanged
a cancel in_service good affiliationChanged
a lose lost certificateHold affiliationChanged
a find suspended good affiliationChanged
a lose lost certificateHold affiliationChanged
a repair in_repair certificateHold affiliationChanged
a lose lost certificateHold affiliationChanged
a find suspended good affiliationChanged
a repair in_repair certificateHold affiliationChanged
a repaired confirmed good affiliationChanged
a repair in_repair certificateHold affiliationChanged
a repaired confirmed good affiliationChanged
a ship shipped good affiliationChanged
a unship confirmed good affiliationChanged
a ship shipped good affiliationChanged
a lose lost certificateHold affiliationChanged
a find suspended good affiliationChanged
a decommission decommissioned good affiliationChanged
a recommission in_service good affiliationChanged
a enrol in_service good good
a quarantine quarantined good good
a lose lost certificateHold privilegeWithdrawn
a find suspended good privilegeWithdrawn
a enrol in_service good good
a quarantine quarantined good good
a repair in_repair certificateHold cessationOfOperation
a repaired confirmed good cessationOfOperation
a ship shipped good cessationOfOperation
a repair in_repair certificateHold cessationOfOperation
a repaired confirmed good cessationOfOperation
a ship shipped good cessationOfOperation
a decommission decommissioned good cessationOfOperation
a repair in_repair certificateHold cessationOfOperation
a repaired confirmed good cessationOfOperation
a ship shipped good cessationOfOperation
a enrol in_service good good
a repair in_repair certificateHold cessationOfOperation
a repaired confirmed good cessationOfOperation
a ship shipped good cessationOfOperation
a enrol in_service good good
a quarantine quarantined good good
a decommission decommissioned good cessationOfOperation
a transfer transferring good cessationOfOperation
a cancel decommissioned good cessationOfOperation
a recommission in_service good cessationOfOperation
a enrol in_service good good
a transfer transferring good affiliationChanged
a lose lost certificateHold affiliationChanged
a cancel lost certificateHold affiliationChanged
a find suspended good affiliationChanged
a release in_service good affiliationChanged
a transfer transferring good affiliationChanged
a repair in_repair certificateHold affiliationChanged
a cancel in_repair certificateHold affiliationChanged
a repaired confirmed good affiliationChanged
a ship shipped good affiliationChanged
a enrol in_service good good
a decommission decommissioned good cessationOfOperation
a dispose disposed cessationOfOperation cessationOfOperation
c born declared good -
c enrol in_service good good
c compromise compromised keyCompromise keyCompromise
d born declared good -
d enrol in_service good good
d suspend suspended good certificateHold
d compromise compromised keyCompromise keyCompromise
e born declared good -
e enrol in_service good good
e quarantine quarantined good good
e compromise compromised keyCompromise keyCompromise
f born declared good -
f enrol in_service good good
f transfer transferring good affiliationChanged
f compromise compromised keyCompromise keyCompromise
g born declared good -
g repair in_repair certificateHold -
h born declared good -
h stop scrapped cessationOfOperation -
b born declared good -
b enrol in_service good good
b transfer transferring good affiliationChanged
b accept shipped good -
b compromise compromised keyCompromise -
b repair in_repair keyCompromise -
b compromise compromised keyCompromise -
TABLE
    # Every change that the unit test has from the document was made.
    diff <(sed -n '/allowed\[\] = {/,/};/s/^ *"\([a-z_]*\) >\(.*\)",$/\1\2/p' "$source_dir/tests/unit/test_life.c" |
        awk '{ for (i = 2; i <= NF; i++) print $1 ">" $i }' | sort) <(tr -s ' ' '\n' <<< "$walked" | grep . | sort -u)
}

@test "time: a suspension lapses into review, a compromise nobody confirmed is told, and what retires later is over" {
    in_service late-1
    in_service late-2
    in_service late-3
    inkan device suspend late-1 --until 12h --yes
    inkan device suspend late-3 --until 12h --yes
    [ "$(inkan device suspend late-3 --until 3d --yes --json | jq .changed)" = true ]
    # Two orders: one runs out, one does not.
    in_service late-4
    in_service late-5
    sell late-4 T-6 --expires 12h
    sell late-5 T-7 --expires 12d
    inkan device transfer "$side/T-6.jws" --yes
    inkan device transfer "$side/T-7.jws" --yes
    inkan device compromise late-2 --yes
    sleep 1.2
    no alarm suspend-review device:example/late-1
    no alarm compromise-unconfirmed device:example/late-2
    set_clock 90000
    accept_clock
    wait_for 60 alarm suspend-review device:example/late-1
    wait_for 60 alarm compromise-unconfirmed device:example/late-2
    [ "$(state late-1)" = suspended ] # reviewed, not released
    no alarm suspend-review device:example/late-3
    inkan device release late-1
    no alarm suspend-review device:example/late-1
    brought_back() { [ "$(state late-4)" = in_service ]; }
    wait_for 60 brought_back
    refused "transfer T-6 has expired" inkan device accept "$side/T-6.accept"
    inkan audit export | jq -se 'map(select(.event == "transfer-expired") | .object + " " + .actor) == ["transfer:T-6 core"]'
    [ "$(state late-5)" = transferring ]
    [ "$(ocsp_says_status two-3)" = good ]
    set_clock 700000
    accept_clock
    later_is_over() { [ "$(inkan cert show "$units/two-3.old.pem" --json | jq -r '.status + " " + .reason')" = "revoked superseded" ]; }
    wait_for 60 later_is_over
    wait_for 60 alarm suspend-review device:example/late-3
}

# The clock went further than a service believes by itself.
accept_clock() {
    inkan clock accept --yes
}

ocsp_says_status() { inkan cert show "$units/$1.old.pem" --json | jq -r .status; }

@test "the trail has every change with its trigger, and verifies" {
    inkan audit export | jq -se '[.[] | select(.event == "device-state") | .detail | if type == "string" then fromjson else . end | .trigger] |
        unique == ["accept","compromise","decommission","dispose","find","lose","quarantine","recommission","release","repair","repaired",
                   "scrap","ship","suspend","transfer","transfer-cancel","unship"]'
    run inkan audit verify
    [ "$status" -eq 3 ] || [ "$status" -eq 0 ]
    run inkan doctor
    [[ $output != *"fail"*ledger* ]]
}
