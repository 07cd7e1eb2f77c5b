#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A whole service whose every process lives in another year (libfaketime, no hook of ours): over the end of 32 bits in
# January 2038 and over the end of UTCTime at the turn of 2049. Who looks at it, curl and openssl, lives there too.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    faketime_tidy
    # Programs as released where there are some: the preloaded library and a sanitizer do not agree.
    real=${INKAN_RELEASE:+$INKAN_RELEASE/bin}
    mkdir "$side/real" "$side/bin"
    cp "${real:-$INKAN_PROGRAMS}"/* "$side/real/"
    cp "$INKAN_PROGRAMS/mkcsr" "$side/bin/"
    for program in "$side"/real/*; do
        name=$(basename "$program")
        [ "$name" = mkcsr ] || printf '#!/bin/sh\nFAKETIME=+$(cat %s/offset)s DONT_FAKE_MONOTONIC=1 LD_PRELOAD=%s exec %s "$@"\n' \
            "$side" "$(faketime_library)" "$program" > "$side/bin/$name"
    done
    chmod -R a+rX "$side"
    chmod 755 "$side"/bin/*
    # It is born 15 seconds before 2^31.
    date_is "2038-01-19 03:13:53"
    INKAN_PROGRAMS=$side/bin instance_up
    group_secret 'cen-*'
}
teardown_file() { instance_down; side_dir_remove; faketime_tidy; }
setup() { fault_load; }

faketime_library() { ls /usr/lib/*/faketime/libfaketimeMT.so.1; }

date_is() { # UTC
    echo $(($(date -u -d "$1" +%s) - $(date +%s))) > "$side/offset"
    chmod 644 "$side/offset"
}

# there COMMAND...: in the service's year
there() { FAKETIME=+$(cat "$side/offset")s LD_PRELOAD=$(faketime_library) "$@"; }

# The clients of tests/lib, in the service's year.
curl() { there command curl "$@"; }
openssl() { there command openssl "$@"; }

now_there() { echo $(($(date +%s) + $(cat "$side/offset"))); }

# forms_of FILE [DER]: the form of each time in it, in their order
forms_of() { openssl asn1parse -in "$1" ${2:+-inform "$2"} | sed -n 's/.*prim: *\(UTCTIME\|GENERALIZEDTIME\) *:.*/\1/p' | tr '\n' ' '; }
ends_of() { date -u -d "$(openssl x509 -in "$1" -noout -enddate | cut -d= -f2)" +%s; }
starts_of() { date -u -d "$(openssl x509 -in "$1" -noout -startdate | cut -d= -f2)" +%s; }

@test "before and after 2^31 seconds: enrolled, listed, revoked, with the right dates" {
    [ "$(enroll cen-before)" = 200 ]
    answers good "$units/cen-before.pem"
    # Nothing begins before its issuer, and the issuer is some seconds old.
    [ "$(starts_of "$units/cen-before.pem")" -ge "$(starts_of "$dir/fleet-ca.pem")" ]
    while [ "$(now_there)" -le 2147483648 ]; do sleep 0.2; done
    [ "$(enroll cen-after)" = 200 ]
    answers good "$units/cen-after.pem"
    [ "$(ends_of "$units/cen-after.pem")" -gt $((2147483648 + 364 * 86400)) ]
    [ "$(ends_of "$units/cen-after.pem")" -le $(($(now_there) + 365 * 86400)) ]
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/cen-before.pem" "$units/cen-after.pem"
    inkan cert revoke "$units/cen-before.pem" --yes
    answers revoked "$units/cen-before.pem"
    listed() { curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" | openssl crl -inform DER -noout -text | grep -qi "$(cert_serial "$units/cen-before.pem")"; }
    waits_for 60 listed
    inkan audit verify || [ $? -eq 3 ]
}

@test "over the end of 2049: sealed until accepted, then dates change their form and every reader agrees" {
    stop_service
    date_is "2049-12-31 23:56:30"
    start_again
    [ "$(inkan status --json | jq .sealed)" = true ]
    [ "$(enroll cen-sealed -k)" = 503 ]
    inkan clock accept --yes
    group_secret 'cen-*'
    # The server's own certificate of 2038 is renewed first.
    waits_for 60 enrolls cen-2049
    # Five minutes before a moment in this year, one year after it.
    [ "$(forms_of "$units/cen-2049.pem")" = "UTCTIME GENERALIZEDTIME " ]
    [ "$(starts_of "$units/cen-2049.pem")" -lt 2524608000 ]
    [ "$(ends_of "$units/cen-2049.pem")" -gt $((2524608000 + 364 * 86400)) ]
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/cen-2049.pem"
    waits_for 60 answers good "$units/cen-2049.pem"
    curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" > "$side/2049.crl"
    [ "$(forms_of "$side/2049.crl" DER | cut -d' ' -f1,2)" = "UTCTIME GENERALIZEDTIME" ]
    # Six minutes later the new year has begun for everything.
    stop_service
    date_is "2050-01-01 00:05:30"
    start_again
    waits_for 60 enrolls cen-2050
    [ "$(forms_of "$units/cen-2050.pem")" = "GENERALIZEDTIME GENERALIZEDTIME " ]
    openssl verify -x509_strict -CAfile "$dir/fleet-root.pem" -untrusted "$dir/fleet-ca.pem" "$units/cen-2049.pem" "$units/cen-2050.pem"
    inkan cert revoke "$units/cen-2049.pem" --yes
    answers revoked "$units/cen-2049.pem"
    waits_for 60 answers good "$units/cen-2050.pem"
    listed() {
        curl -fsS "http://localhost:$((port + 1))/crl/fleet-ca.crl" > "$side/2050.crl"
        openssl crl -inform DER -in "$side/2050.crl" -noout -text | grep -qi "$(cert_serial "$units/cen-2049.pem")"
    }
    waits_for 60 listed
    [ "$(forms_of "$side/2050.crl" DER | tr ' ' '\n' | sort -u | tr -d '\n')" = GENERALIZEDTIME ]
    openssl crl -inform DER -in "$side/2050.crl" -noout -CAfile "$dir/ca.pem" 2>&1 | grep -q 'verify OK'
    # GnuTLS reads the same dates.
    [ "$(certtool -i --infile "$units/cen-2049.pem" | sed -n 's/^\t*Not After: //p' | xargs -I{} date -u -d {} +%s)" = "$(ends_of "$units/cen-2049.pem")" ]
}
