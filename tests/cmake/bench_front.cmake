# SPDX-License-Identifier: Apache-2.0
# Load and references for what goes through the front.
foreach(tool make_devices chain_cost)
  inkan_bench(${tool} SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/${tool}.c LIBS PkgConfig::CRYPTO)
endforeach()
foreach(tool enroll_load bare_tls)
  inkan_bench(${tool} SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/${tool}.c LIBS PkgConfig::SSL PkgConfig::CRYPTO)
endforeach()
inkan_bench(decision_load SOURCES ${CMAKE_SOURCE_DIR}/tests/bench/decision_load.c)
