#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0

@test "W7: our readers, OpenSSL, GnuTLS and asn1crypto agree on 4,000 files, or a committed row says why not" {
    run "$BATS_TEST_DIRNAME/der_compare" --verdict "${INKAN_PROGRAMS:?}/der_verdict"
    echo "$output"
    [ "$status" -eq 0 ]
}
