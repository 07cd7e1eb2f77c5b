# SPDX-License-Identifier: Apache-2.0
add_executable(mkcsr ${CMAKE_SOURCE_DIR}/tests/fault/mkcsr.c)
target_link_libraries(mkcsr PRIVATE PkgConfig::CRYPTO)

add_executable(abuse ${CMAKE_SOURCE_DIR}/tests/fault/abuse.c)
target_link_libraries(abuse PRIVATE PkgConfig::SSL PkgConfig::CRYPTO)

# Loaded before the service's processes, so without sanitizers of their own.
foreach(shim io_fault write_log alloc_fails)
  add_library(${shim} MODULE ${CMAKE_SOURCE_DIR}/tests/shim/${shim}.c)
  target_link_libraries(${shim} PRIVATE Threads::Threads dl)
  target_compile_options(${shim} PRIVATE -fno-sanitize=all)
  target_link_options(${shim} PRIVATE -fno-sanitize=all)
  set_target_properties(${shim} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
endforeach()

add_executable(ledger_probe ${CMAKE_SOURCE_DIR}/tests/fault/ledger_probe.c)
target_link_libraries(ledger_probe PRIVATE inkan_store)
set_target_properties(ledger_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test/children)

add_executable(replica_probe ${CMAKE_SOURCE_DIR}/tests/fault/replica_probe.c)
target_link_libraries(replica_probe PRIVATE inkan_status)
set_target_properties(replica_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test/children)
