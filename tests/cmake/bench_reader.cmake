# SPDX-License-Identifier: Apache-2.0
# Large ledgers and lists.
inkan_bench(fill_ledger SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/fill_ledger.c USES store pki)
inkan_bench(crl_cost SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/crl_cost.c ${CMAKE_SOURCE_DIR}/tests/bench/figures.c USES pki)
