# SPDX-License-Identifier: Apache-2.0
inkan_test(test_csr SOURCES tests/unit/test_csr.c USES pki)
inkan_test(test_pubkey SOURCES tests/unit/test_pubkey.c USES pki)
inkan_test(test_cert SOURCES tests/unit/test_cert.c USES pki lint)
