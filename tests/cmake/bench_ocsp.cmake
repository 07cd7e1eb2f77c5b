# SPDX-License-Identifier: Apache-2.0
# Load generators and references of the OCSP lines of tests/bench.
inkan_bench(ocsp_load SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/ocsp_load.c LIBS PkgConfig::CRYPTO)
add_dependencies(bench_tools mkcsr) # devices to ask about are enrolled with it

inkan_bench(sign_path SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/sign_path.c ${CMAKE_SOURCE_DIR}/tests/unit/hsm_bench.c
  USES pki hsm_client base LIBS PkgConfig::CRYPTO PkgConfig::EVENT cmocka)
target_include_directories(sign_path PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
target_compile_definitions(sign_path PRIVATE TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}" TEST_BINARY_DIR="${CMAKE_BINARY_DIR}")
add_dependencies(sign_path inkan-signer inkan-token)

inkan_bench(revoke_trials SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/revoke_trials.c ${CMAKE_SOURCE_DIR}/tests/bench/figures.c
  ${CMAKE_SOURCE_DIR}/cli/admin_client.c USES base LIBS PkgConfig::JANSSON PkgConfig::CRYPTO Threads::Threads)
