# SPDX-License-Identifier: Apache-2.0
# Issuance and storage.
set(bench_dir ${CMAKE_SOURCE_DIR}/tests/bench)
inkan_bench(issue_core SOURCES ${bench_dir}/issue_core.c ${bench_dir}/issuing.c ${bench_dir}/figures.c USES core)
inkan_bench(store_rows SOURCES ${bench_dir}/store_rows.c ${bench_dir}/figures.c USES store LIBS dl)
# Its fdatasync and fsync must be found before libc's.
set_target_properties(store_rows PROPERTIES ENABLE_EXPORTS ON)
inkan_bench(issue_signer
  SOURCES ${bench_dir}/issue_signer.c ${bench_dir}/issuing.c ${bench_dir}/figures.c ${CMAKE_SOURCE_DIR}/tests/unit/hsm_bench.c
  USES core LIBS cmocka dl)
target_include_directories(issue_signer PRIVATE ${P11KIT_INCLUDE_DIRS})
target_compile_definitions(issue_signer PRIVATE TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}" TEST_BINARY_DIR="${CMAKE_BINARY_DIR}")
add_dependencies(issue_signer inkan-signer inkan-token)
