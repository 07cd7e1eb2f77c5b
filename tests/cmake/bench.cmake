# SPDX-License-Identifier: Apache-2.0
# The tools of tests/bench/, built into <build>/bench. `bench_tools` builds them and the programs they measure.
add_custom_target(bench_tools)
add_dependencies(bench_tools inkan inkand inkan-core inkan-front inkan-status inkan-signer inkan-token inkan-device inkan-station inkan-simdevice)

# inkan_bench(name SOURCES ... USES modules ... LIBS imported targets ...)
function(inkan_bench name)
  inkan_executable(${name} ${ARGN})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  add_dependencies(bench_tools ${name})
endfunction()

inkan_bench(verify_cost SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/verify_cost.c LIBS PkgConfig::CRYPTO)
