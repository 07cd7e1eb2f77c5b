# SPDX-License-Identifier: Apache-2.0
# Load generators and references of the OCSP lines of tests/bench.
add_executable(ocsp_load ${CMAKE_SOURCE_DIR}/tests/bench/ocsp_load.c)
target_link_libraries(ocsp_load PRIVATE PkgConfig::CRYPTO)
set_target_properties(ocsp_load PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
