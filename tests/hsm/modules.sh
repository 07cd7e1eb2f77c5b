#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# modules.sh DIR NAME -- COMMAND...
# Makes one token of the PKCS#11 implementation NAME in the empty directory DIR, exports how to reach it, runs COMMAND and
# takes everything down again. Exit 77: the implementation is not installed.
#   softhsm   SoftHSM 2                          p11kit   SoftHSM behind `p11-kit server`, as a network HSM would be
#   nss       NSS softokn with a password
# Exported: P11_MODULE P11_LABEL P11_PIN P11_INIT_ARGS
set -eu

dir=$1
name=$2
shift 3
lib=
for l in "/usr/lib/$(uname -m)-linux-gnu" /usr/lib64 /usr/lib; do
    [ -d "$l" ] && lib=$l && break
done
export P11_INIT_ARGS= P11_LABEL=t1 P11_PIN=test-user-pin

need() { [ -e "$1" ] || { echo "modules.sh: $1 is not installed" >&2; exit 77; }; }

softhsm() {
    need "$lib/softhsm/libsofthsm2.so"
    mkdir -p "$dir/tokens"
    printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$dir" > "$dir/softhsm.conf"
    export SOFTHSM2_CONF=$dir/softhsm.conf
    softhsm2-util --init-token --free --label t1 --so-pin test-so-pin --pin "$P11_PIN" > /dev/null
}

case $name in
    softhsm)
        softhsm
        P11_MODULE=$lib/softhsm/libsofthsm2.so "$@"
        ;;
    p11kit)
        need "$lib/pkcs11/p11-kit-client.so"
        softhsm
        p11-kit server --provider "$lib/softhsm/libsofthsm2.so" -n "$dir/p11.sock" 'pkcs11:token=t1' > "$dir/server.env"
        # shellcheck disable=SC1091
        . "$dir/server.env"
        export P11_KIT_SERVER_ADDRESS
        status=0
        P11_MODULE=$lib/pkcs11/p11-kit-client.so "$@" || status=$?
        kill "$P11_KIT_SERVER_PID"
        exit $status
        ;;
    nss)
        need "$lib/libsoftokn3.so"
        mkdir -p "$dir/db"
        printf '%s' "$P11_PIN" > "$dir/password"
        certutil -N -d "sql:$dir/db" -f "$dir/password"
        export P11_INIT_ARGS="configdir='sql:$dir/db' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
        P11_LABEL='NSS Certificate DB' P11_MODULE=$lib/libsoftokn3.so "$@"
        ;;
    *)
        echo "modules.sh: unknown implementation $name" >&2
        exit 2
        ;;
esac
