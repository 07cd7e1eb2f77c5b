# SPDX-License-Identifier: Apache-2.0
# Files that cross the fence of the factory: work orders, close-out reports, hand-over lists. Read and written the same by the
# service and by those who check it offline: no ledger, no tokens.
inkan_module(handover
  SOURCES order_file.c record_check.c handover.c
  USES pki base
  LIBS PkgConfig::JANSSON PkgConfig::CRYPTO)
