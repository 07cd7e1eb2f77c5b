# SPDX-License-Identifier: Apache-2.0
# Debian packages by purpose. Sourced by quickstart and test.
# shellcheck shell=sh disable=SC2034
packages_build="build-essential cmake ninja-build pkg-config python3 libssl-dev libp11-dev libp11-kit-dev libevent-dev libsqlite3-dev
 libyaml-dev libjansson-dev libsmartcols-dev libcurl4-openssl-dev libseccomp-dev libcap-dev"
packages_run="softhsm2 openssl curl ca-certificates adduser"
packages_test="libcmocka-dev bats golang-cfssl clang libclang-rt-dev cppcheck strace faketime jq sqlite3 python3-asn1crypto python3-cryptography python3-jsonschema python3-yaml gnutls-bin nginx-light haproxy mosquitto
 mosquitto-clients apache2 stunnel4 strongswan-pki libstrongswan-standard-plugins libnss3 libnss3-tools p11-kit p11-kit-modules opensc procps iproute2 xxd util-linux testssl.sh
 groff-base systemd"

# Only for tests/checkers/run tidy, valgrind and tests/fuzz/run --engine afl; the ordinary tests do not need them.
packages_check="clang-tidy-14 valgrind afl++"

# have_packages LIST: is everything installed already?
have_packages() {
    for p in $1; do
        dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || return 1
    done
}

# install_packages LIST: by package name; no configuration dialogs, no services started.
install_packages() {
    have_packages "$1" && return 0
    (
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            # Servers that the tests use must not start by themselves. Left behind it would hold back every later package.
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
            trap 'exit 1' HUP INT TERM
            printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
            chmod 755 /usr/sbin/policy-rc.d
        fi
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $1
    )
}
