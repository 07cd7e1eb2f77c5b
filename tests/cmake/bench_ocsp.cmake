# SPDX-License-Identifier: Apache-2.0
# Load generators and references of the OCSP lines of tests/bench.
inkan_bench(ocsp_load SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/ocsp_load.c LIBS PkgConfig::CRYPTO)
add_dependencies(bench_tools mkcsr) # devices to ask about are enrolled with it
