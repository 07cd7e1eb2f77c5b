# SPDX-License-Identifier: Apache-2.0
add_executable(mkcsr ${CMAKE_SOURCE_DIR}/tests/fault/mkcsr.c)
target_link_libraries(mkcsr PRIVATE PkgConfig::CRYPTO)

add_library(sync_fails MODULE ${CMAKE_SOURCE_DIR}/tests/shim/sync_fails.c)
target_link_libraries(sync_fails PRIVATE dl)
target_compile_options(sync_fails PRIVATE -fno-sanitize=all)
target_link_options(sync_fails PRIVATE -fno-sanitize=all)
set_target_properties(sync_fails PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)

add_executable(abuse ${CMAKE_SOURCE_DIR}/tests/fault/abuse.c)
target_link_libraries(abuse PRIVATE PkgConfig::SSL PkgConfig::CRYPTO)
