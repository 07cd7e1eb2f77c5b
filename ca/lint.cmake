# SPDX-License-Identifier: Apache-2.0
# The linter links base alone: it reads what the writers of pki wrote and shares nothing with them.
inkan_module(lint SOURCES lint.c lint_cert.c lint_crl.c lint_ocsp.c USES base)
