# SPDX-License-Identifier: Apache-2.0
# Certificates, requests, CRLs and OCSP messages as bytes: no I/O, no state.
inkan_module(pki
  SOURCES anchor_pem.c cert.c crl.c csr.c est_body.c key_package.c name.c ocsp.c profile.c pubkey.c
  USES base
  LIBS PkgConfig::CRYPTO)
