#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# CRLs on a real service: RFC 5280 section 5. The names begin with the rows of tests/conformance.tsv they stand for.
# python3-asn1crypto and openssl are the judges; writer, reader and gate alone are in tests/unit/test_crl.c.
load service

setup_file() {
    side_dir
    use_test_clock
    extra_profiles='  - {name: brief, kind: station, ca: maker-ca, subject: "CN={name}", validity: 10m}'
    instance_up crl_shards=4
    keep_setting INKAN_TEST_CLOCK "$INKAN_TEST_CLOCK"
    working good
    working bad
    inkan cert revoke "$units/bad.pem" --reason keyCompromise --yes
}
teardown_file() { instance_down; side_dir_remove; }
setup() { fault_load; }

# list NAME: the published list as JSON in $dir/NAME.json, its octets in $dir/NAME.crl
list() {
    curl -fsS "$(http_url "/crl/$1.crl")" -o "$dir/$1.crl"
    judge crl "$dir/$1.crl" > "$dir/$1.json"
}

serial_of() { # as judge.py prints it
    cert_serial "$1" | sed 's/^0*//'
}

# entry LIST CERT: its entry in the published list, nothing when there is none
entry() {
    list "$1"
    jq -c --arg s "$(serial_of "$2")" '.entries[] | select(.serial == $s)' "$dir/$1.json"
}

is_listed() { [ -n "$(entry "$1" "$2")" ]; }
is_gone() { [ -z "$(entry "$1" "$2")" ]; }

# days_on SECONDS: the service is stopped over that time, which is no jump of its clock
days_on() {
    stop_service
    set_clock "$1"
    start_service 3>&- 4>&-
    wait_for 60 health_is_ready
}

# within SECONDS COMMAND...: a function of this file, which wait_for cannot call in time
within() {
    local left=$(($1 * 5))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.2
    done
}

seconds() { # 260101000000Z or 20260101000000Z
    local t=$1
    [ ${#t} -ne 13 ] || t=20$t
    date -u -d "${t:0:8} ${t:8:2}:${t:10:2}:${t:12:2}" +%s
}

shard_of() { # CERT: the name of the list its address names
    openssl x509 -in "$1" -noout -ext crlDistributionPoints | sed -n 's#.*/crl/\(.*\)\.crl#\1#p'
}

@test "C1 C2 C3 C5 C6 C7 C8 C9: every published list is version 2 in DER, signed by the CA it names, with AKI and both times" {
    for name in fleet-ca maker-ca fleet-root maker-root fleet-ca-1 fleet-ca-2 fleet-ca-3 fleet-ca-4; do
        ca=${name%-[0-9]}
        list "$name"
        now=$(date +%s)
        j() { jq -r "$1" "$dir/$name.json"; }
        [ "$(j .version)" = v2 ]
        judge cert "$dir/$ca.pem" > "$dir/ca.json"
        [ "$(j .issuer)" = "$(jq -r .subject "$dir/ca.json")" ]
        [[ $(jq -r '.key_usage | join(" ")' "$dir/ca.json") == *crl_sign* ]]
        [ "$(j .aki)" = "$(jq -r .ski "$dir/ca.json")" ]
        [ "$(j '.inner_algorithm == .outer_algorithm')" = true ]
        [ "$(j '.outer_algorithm.parameters')" = "" ]
        openssl crl -inform DER -in "$dir/$name.crl" -CAfile "$dir/$ca.pem" -noout 2>&1 | grep -q 'verify OK'
        for t in this_update next_update; do
            [ "$(j ".${t}[0]")" = UTCTime ]
            [[ $(j ".${t}[1]") =~ ^[0-9]{12}Z$ ]]
        done
        [ "$(seconds "$(j '.this_update[1]')")" -le "$now" ]
        [ "$(seconds "$(j '.this_update[1]')")" -ge $((now - 600)) ]
        [ "$(seconds "$(j '.next_update[1]')")" -gt "$now" ]
        [ "$(j '.extensions["2.5.29.35"].critical')" = false ]
        [ "$(j '.extensions["2.5.29.20"].critical')" = false ]
        # An empty list has no list of entries at all.
        [ "$(j '.revoked_present == (.entries | length > 0)')" = true ]
        # Full lists have no scope; no list is a delta, indirect or limited to reasons, none points to a delta (C19, C28).
        if [ "$name" = "$ca" ]; then
            [ "$(j '.extensions | keys | sort | join(" ")')" = "2.5.29.20 2.5.29.35" ]
        else
            [ "$(j '.extensions | keys | sort | join(" ")')" = "2.5.29.20 2.5.29.28 2.5.29.35" ]
        fi
    done
}

@test "C4: numbers are above the time before, rise with every list and survive a restart" {
    list fleet-ca
    first=$(jq .number "$dir/fleet-ca.json")
    thisfirst=$(jq -r '.this_update[1]' "$dir/fleet-ca.json")
    for _ in 1 2; do
        sleep 1
        inkan crl publish --issuer fleet-ca
        list fleet-ca
        [ "$(jq .number "$dir/fleet-ca.json")" -gt "$first" ]
        [ "$(seconds "$(jq -r '.this_update[1]' "$dir/fleet-ca.json")")" -gt "$(seconds "$thisfirst")" ]
        first=$(jq .number "$dir/fleet-ca.json")
        thisfirst=$(jq -r '.this_update[1]' "$dir/fleet-ca.json")
    done
    stop_service
    start_service 3>&- 4>&-
    wait_for 60 health_is_ready
    inkan crl publish --issuer fleet-ca
    list fleet-ca
    [ "$(jq .number "$dir/fleet-ca.json")" -gt "$first" ]
    # Each scope counts for itself.
    [ "$(inkan crl list --json | jq '[.[] | select(.issuer == "fleet-ca")] | length')" = 5 ]
}

@test "C5 C14: a hold and its release within a second each date a list of their own; on the list with certificateHold, then gone" {
    working held
    inkan cert hold "$units/held.pem" --yes
    within 60 is_listed fleet-ca "$units/held.pem"
    [ "$(entry fleet-ca "$units/held.pem" | jq -r .reason)" = certificate_hold ]
    within 60 is_listed "$(shard_of "$units/held.pem")" "$units/held.pem"
    [ "$(entry "$(shard_of "$units/held.pem")" "$units/held.pem" | jq -r .reason)" = certificate_hold ]
    this=$(seconds "$(jq -r '.this_update[1]' "$dir/fleet-ca.json")")
    [ "$this" -ge "$(seconds "$(entry fleet-ca "$units/held.pem" | jq -r '.date[1]')")" ]
    inkan cert release "$units/held.pem" --yes
    within 60 is_gone fleet-ca "$units/held.pem"
    within 60 is_gone "$(shard_of "$units/held.pem")" "$units/held.pem"
    [ "$(seconds "$(jq -r '.this_update[1]' "$dir/fleet-ca.json")")" -gt "$this" ]
    no grep -q remove_from_crl "$dir/fleet-ca.json"
}

@test "C10 C14: a hold made permanent has the new reason and the date of that; nothing is on the list twice, and it is sorted" {
    working perm
    inkan cert hold "$units/perm.pem" --yes
    within 60 is_listed fleet-ca "$units/perm.pem"
    held=$(seconds "$(entry fleet-ca "$units/perm.pem" | jq -r '.date[1]')")
    sleep 1.1
    inkan cert revoke "$units/perm.pem" --reason keyCompromise --yes
    permanent() { [ "$(entry fleet-ca "$units/perm.pem" | jq -r .reason)" = key_compromise ]; }
    within 60 permanent
    [ "$(seconds "$(entry fleet-ca "$units/perm.pem" | jq -r '.date[1]')")" -gt "$held" ]
    [ "$(jq '[.entries[].serial] | length == (unique | length)' "$dir/fleet-ca.json")" = true ]
    jq -r '.entries[].serial' "$dir/fleet-ca.json" | awk '{ printf "%40s\n", $0 }' | tr ' ' 0 > "$dir/order"
    sort -c "$dir/order"
}

@test "C11 C12: the reason as given and never for unspecified; an invalidityDate before it, in GeneralizedTime, nothing critical" {
    working why-1
    working why-2
    inkan cert revoke "$units/why-1.pem" --reason unspecified --yes
    inkan cert revoke "$units/why-2.pem" --reason cessationOfOperation --invalidity 1700000000 --yes
    within 60 is_listed fleet-ca "$units/why-2.pem"
    [ "$(entry fleet-ca "$units/why-1.pem" | jq -r '.extensions')" = null ]
    entry fleet-ca "$units/why-2.pem" > "$dir/why"
    [ "$(jq -r .reason "$dir/why")" = cessation_of_operation ]
    [ "$(jq -r '.invalidity | join(" ")' "$dir/why")" = "GeneralizedTime 20231114221320Z" ]
    [ "$(jq -r '.extensions | map(.critical) | unique | join(" ")' "$dir/why")" = false ]
    [ "$(jq -r '.extensions | keys | sort | join(" ")' "$dir/why")" = "2.5.29.21 2.5.29.24" ]
    run inkan cert revoke "$units/good.pem" --reason removeFromCRL --yes
    [ "$status" -ne 0 ]
    is_gone fleet-ca "$units/good.pem"
}

@test "C16 C28: no certificate says noRevAvail or points to deltas, and what has a CRL address can be found there" {
    inkan cert list --json | jq -r '.[] | .issuer + " " + .serial' > "$dir/all"
    while read -r issuer serial; do
        inkan cert show --issuer "$issuer" --serial "$serial" --pem > "$dir/one.pem" < /dev/null
        judge cert "$dir/one.pem" > "$dir/one.json"
        [ "$(jq '.extensions | has("2.5.29.56") or has("2.5.29.46")' "$dir/one.json")" = false ]
        for url in $(jq -r '.crl_url[]' "$dir/one.json"); do
            curl -fsS -o /dev/null "$url"
        done
    done < "$dir/all"
}

@test "C17 C18 C19 C20 C21: the shard's scope is the address in the certificate, octet for octet; user certificates only, all reasons, not indirect" {
    shard=$(shard_of "$units/good.pem")
    [[ $shard =~ ^fleet-ca-[1-4]$ ]]
    list "$shard"
    judge cert "$units/good.pem" > "$dir/good.json"
    [ "$(jq -r '.extensions["2.5.29.31"].critical' "$dir/good.json")" = false ]
    # CRLDistributionPoints { DistributionPoint { [0] { [0] { [6] url } } } }, nothing else in it
    url=$(jq -r '.crl_url[0]' "$dir/good.json")
    [[ $url == http://* ]]
    name=86$(printf '%02x' ${#url})$(printf %s "$url" | od -An -v -tx1 | tr -d ' \n')
    n=$((${#name} / 2))
    [ "$(jq -r '.extensions["2.5.29.31"].value' "$dir/good.json")" = "$(printf '30%02x30%02xa0%02xa0%02x' $((n + 6)) $((n + 4)) $((n + 2)) $n)$name" ]
    # IssuingDistributionPoint { [0] { [0] { [6] url } }, [1] TRUE }
    [ "$(jq -r '.extensions["2.5.29.28"].critical' "$dir/$shard.json")" = true ]
    [ "$(jq -r '.extensions["2.5.29.28"].value' "$dir/$shard.json")" = "$(printf '30%02xa0%02xa0%02x' $((n + 7)) $((n + 2)) $n)${name}8101ff" ]
    # The number stays with the certificate, and openssl takes its shard for it and no other.
    openssl verify -crl_check -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" -CRLfile <(openssl crl -inform DER -in "$dir/$shard.crl") "$units/good.pem"
    other=fleet-ca-$((${shard##*-} % 4 + 1))
    list "$other"
    no openssl verify -crl_check -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" -CRLfile <(openssl crl -inform DER -in "$dir/$other.crl") "$units/good.pem"
}

@test "C9 C21 C22 C23: a revoked certificate is on its shard and on the full list and on no other shard; empty shards are published" {
    within 60 is_listed fleet-ca "$units/bad.pem"
    mine=$(shard_of "$units/bad.pem")
    found=
    for i in 1 2 3 4; do
        list "fleet-ca-$i"
        [ -z "$(entry "fleet-ca-$i" "$units/bad.pem")" ] || found="$found fleet-ca-$i"
    done
    [ "$found" = " $mine" ]
    # For each: refused by name of the list its certificate names, and by the full one.
    for name in "$mine" fleet-ca; do
        list "$name"
        run openssl verify -crl_check -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" -CRLfile <(openssl crl -inform DER -in "$dir/$name.crl") "$units/bad.pem"
        [[ $output == *"certificate revoked"* ]]
    done
    # Birth certificates name no list; their CA's full one covers them.
    [ "$(judge cert "$units/bad.idevid.pem" | jq '.crl_url | length')" = 0 ]
    inkan cert revoke "$units/bad.idevid.pem" --reason keyCompromise --yes
    within 60 is_listed maker-ca "$units/bad.idevid.pem"
}

@test "C24: one DER list at each address, PEM bundles for servers, headers for caches, nothing else under a neighbour's name" {
    curl -sS -D "$dir/headers" -o "$dir/list" "$(http_url /crl/fleet-ca.crl)"
    header() { sed -n "s/^$1: //Ip" "$dir/headers" | tr -d '\r'; }
    [ "$(header Content-Type)" = application/pkix-crl ]
    judge crl "$dir/list" > "$dir/list.json"
    [ "$(header ETag)" = "\"$(sha256sum "$dir/list" | cut -d' ' -f1)\"" ]
    [ "$(date -d "$(header Last-Modified)" +%s)" = "$(seconds "$(jq -r '.this_update[1]' "$dir/list.json")")" ]
    [[ $(header Cache-Control) =~ max-age=([0-9]+) ]]
    [ $(($(date +%s) + BASH_REMATCH[1])) -lt "$(seconds "$(jq -r '.next_update[1]' "$dir/list.json")")" ]
    [ "$(curl -sS -o /dev/null -w '%{http_code}' -H "If-None-Match: $(header ETag)" "$(http_url /crl/fleet-ca.crl)")" = 304 ]
    # The bundle: the issuing CA's full list and the root's, and openssl checks a whole chain with it.
    curl -fsS "$(http_url /crl/fleet-ca.pem)" > "$dir/bundle.pem"
    [ "$(grep -c 'BEGIN X509 CRL' "$dir/bundle.pem")" = 2 ]
    openssl verify -crl_check_all -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" -CRLfile "$dir/bundle.pem" "$units/good.pem"
    run openssl verify -crl_check_all -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" -CRLfile "$dir/bundle.pem" "$units/bad.pem"
    [[ $output == *"certificate revoked"* ]]
    curl -fsS "$(http_url /crl/bundle.pem)" | grep -c 'BEGIN X509 CRL' | grep -qx 4
    for path in /crl/fleet-ca /crl/fleet-ca-0.crl /crl/fleet-ca-5.crl /crl/Fleet-ca.crl /crl/ /crl/..%2fledger.db; do
        status=$(curl -sS --path-as-is -o /dev/null -w '%{http_code}' "$(http_url "$path")")
        [[ $status == 40[04] ]] || { echo "$path $status"; false; }
    done
}

@test "C26: revoking many certificates is one list, not many" {
    for i in 1 2 3 4 5 6; do
        working "many-$i"
    done
    sleep 2
    before=$(wc -l < "$dir/log/inkan.log")
    began=$SECONDS
    for i in 1 2 3 4 5 6; do
        inkan cert revoke "$units/many-$i.pem" --reason superseded --yes &
    done
    wait
    took=$((SECONDS - began)) # half a second where nobody else works
    for i in 1 2 3 4 5 6; do
        within 60 is_listed fleet-ca "$units/many-$i.pem"
    done
    [ "$(tail -n +"$((before + 1))" "$dir/log/inkan.log" | grep 'event=crl-published ca=fleet-ca shard=0' | wc -l)" -le $((2 + took)) ]
}

@test "C13: an entry stays until a regular list issued after the certificate's end has carried it, and leaves then" {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=brief -keyout /dev/null -out "$dir/brief.csr" 2> /dev/null
    inkan cert issue --profile brief --name brief --csr "$dir/brief.csr" --out "$dir/brief.pem"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=brief -keyout /dev/null -out "$dir/brief.csr" 2> /dev/null
    inkan cert issue --profile brief --name brief-2 --csr "$dir/brief.csr" --out "$dir/brief-2.pem"
    inkan cert revoke "$dir/brief.pem" --reason superseded --yes
    within 60 is_listed maker-ca "$dir/brief.pem"
    # After its end: a list out of turn, then the next regular one. Both carry it.
    days_on 1200
    inkan crl publish --issuer maker-ca
    is_listed maker-ca "$dir/brief.pem"
    # One that is revoked after its end is on the next list too.
    inkan cert revoke "$dir/brief-2.pem" --reason superseded --yes
    within 60 is_listed maker-ca "$dir/brief-2.pem"
    number=$(jq .number "$dir/maker-ca.json")
    days_on $((4 * 86400))
    newer() { list maker-ca && [ "$(jq .number "$dir/maker-ca.json")" -gt "$number" ]; }
    within 60 newer
    is_listed maker-ca "$dir/brief.pem"
    is_listed maker-ca "$dir/brief-2.pem"
    [ "$(ledger_query "SELECT MIN(regular) FROM crl WHERE number = $(jq .number "$dir/maker-ca.json")")" = 1 ]
    sleep 1
    inkan crl publish --issuer maker-ca
    is_gone maker-ca "$dir/brief.pem"
    is_gone maker-ca "$dir/brief-2.pem"
    # A certificate without end stays.
    is_listed maker-ca "$units/bad.idevid.pem"
}

@test "C6 C25: lists are signed again without any revocation; of an offline root the operator is warned from half life on" {
    list fleet-ca
    first=$(jq .number "$dir/fleet-ca.json")
    next=$(seconds "$(jq -r '.next_update[1]' "$dir/fleet-ca.json")")
    days_on $((8 * 86400))
    newer() { list "$1" && [ "$(jq .number "$dir/$1.json")" -gt "$first" ]; }
    for name in fleet-ca fleet-ca-1 fleet-ca-2 fleet-ca-3 fleet-ca-4; do
        within 60 newer "$name"
        [ "$(seconds "$(jq -r '.next_update[1]' "$dir/$name.json")")" -gt "$next" ]
    done
    list fleet-root
    root=$(jq .number "$dir/fleet-root.json")
    next=$(seconds "$(jq -r '.next_update[1]' "$dir/fleet-root.json")")
    [ $((next - $(date +%s))) -gt $((170 * 86400)) ]
    no grep -q 'event=crl-late' "$dir/log/inkan.log"
    for days in 30 55 80 100; do
        days_on $((days * 86400))
    done
    warned() { grep -q 'event=crl-late ca=fleet-root' "$dir/log/inkan.log"; }
    within 60 warned
    inkan doctor > "$dir/doctor" || true
    grep -q 'root-sign' "$dir/doctor"
    inkan ca root-sign fleet-root
    list fleet-root
    [ "$(jq .number "$dir/fleet-root.json")" -gt "$root" ]
    [ "$(seconds "$(jq -r '.next_update[1]' "$dir/fleet-root.json")")" -gt "$next" ]
}
