# SPDX-License-Identifier: Apache-2.0
# Issuance and storage.
set(bench_dir ${CMAKE_SOURCE_DIR}/tests/bench)
inkan_bench(issue_core SOURCES ${bench_dir}/issue_core.c ${bench_dir}/issuing.c ${bench_dir}/figures.c USES core)
