# SPDX-License-Identifier: Apache-2.0
# Issuance and storage.
set(bench_dir ${CMAKE_SOURCE_DIR}/tests/bench)
inkan_bench(issue_core SOURCES ${bench_dir}/issue_core.c ${bench_dir}/issuing.c ${bench_dir}/figures.c USES core)
inkan_bench(store_rows SOURCES ${bench_dir}/store_rows.c ${bench_dir}/figures.c USES store LIBS dl)
# Its fdatasync and fsync must be found before libc's.
set_target_properties(store_rows PROPERTIES ENABLE_EXPORTS ON)
