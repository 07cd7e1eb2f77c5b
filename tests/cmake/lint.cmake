# SPDX-License-Identifier: Apache-2.0
inkan_test(test_lint_cert SOURCES tests/unit/test_lint_cert.c USES lint)
inkan_test(test_lint_crl SOURCES tests/unit/test_lint_crl.c USES lint)
inkan_test(test_lint_ocsp SOURCES tests/unit/test_lint_ocsp.c USES lint)
inkan_test(test_lint_writers SOURCES tests/unit/test_lint_writers.c USES lint pki wire)
