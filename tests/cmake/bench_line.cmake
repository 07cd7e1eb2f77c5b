# SPDX-License-Identifier: Apache-2.0
# The load of a factory line.
inkan_bench(line_load SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/line_load.c ${CMAKE_SOURCE_DIR}/tests/bench/figures.c
  USES base LIBS PkgConfig::SSL PkgConfig::CRYPTO Threads::Threads)
target_compile_definitions(line_load PRIVATE _GNU_SOURCE)
