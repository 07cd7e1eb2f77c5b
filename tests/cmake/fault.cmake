# SPDX-License-Identifier: Apache-2.0
add_executable(mkcsr ${CMAKE_SOURCE_DIR}/tests/fault/mkcsr.c)
target_link_libraries(mkcsr PRIVATE PkgConfig::CRYPTO)
