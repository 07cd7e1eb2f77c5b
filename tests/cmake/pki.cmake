# SPDX-License-Identifier: Apache-2.0
inkan_test(test_csr SOURCES tests/unit/test_csr.c USES pki)
inkan_test(test_pubkey SOURCES tests/unit/test_pubkey.c USES pki)
inkan_test(test_cert SOURCES tests/unit/test_cert.c USES pki lint)
inkan_test(test_crl SOURCES tests/unit/test_crl.c USES pki lint)
inkan_test(test_ocsp_codec SOURCES tests/unit/test_ocsp_codec.c USES pki)
inkan_test(test_est_body SOURCES tests/unit/test_est_body.c USES pki)
inkan_test(test_key_package SOURCES tests/unit/test_key_package.c USES pki)

# Our readers beside OpenSSL's, for tests/conformance/der_compare.
add_executable(der_verdict ${CMAKE_SOURCE_DIR}/tests/conformance/der_verdict.c)
target_link_libraries(der_verdict PRIVATE inkan_pki PkgConfig::CRYPTO)
