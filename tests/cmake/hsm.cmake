# SPDX-License-Identifier: Apache-2.0
add_library(p11shim MODULE ${CMAKE_SOURCE_DIR}/tests/shim/p11shim.c)
target_include_directories(p11shim PRIVATE ${P11KIT_INCLUDE_DIRS})
target_link_libraries(p11shim PRIVATE Threads::Threads dl)
# The module runs inside programs of every build kind; it is loaded, never linked.
target_compile_options(p11shim PRIVATE -fno-sanitize=all)
target_link_options(p11shim PRIVATE -fno-sanitize=all)
set_target_properties(p11shim PROPERTIES PREFIX "" OUTPUT_NAME p11shim
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)

inkan_test(test_signer_client SOURCES tests/unit/test_signer_client.c USES hsm_client base LIBS PkgConfig::EVENT)
inkan_test(test_pkcs11 SOURCES tests/unit/test_pkcs11.c tests/unit/hsm_bench.c USES hsm hsm_client base)
inkan_test(test_signer SOURCES tests/unit/test_signer.c tests/unit/hsm_bench.c USES hsm_client base
  LIBS PkgConfig::CRYPTO)
inkan_test(test_modules SOURCES tests/unit/test_modules.c USES base)

add_executable(try_module ${CMAKE_SOURCE_DIR}/tests/hsm/try_module.c)
target_link_libraries(try_module PRIVATE inkan_hsm inkan_hsm_client inkan_base)
set_target_properties(try_module PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
add_dependencies(test_modules try_module serve_module)

add_executable(serve_module ${CMAKE_SOURCE_DIR}/tests/hsm/serve_module.c ${CMAKE_SOURCE_DIR}/tests/unit/hsm_bench.c)
target_link_libraries(serve_module PRIVATE inkan_hsm_client inkan_base PkgConfig::CRYPTO cmocka)
target_include_directories(serve_module PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests/unit)
target_compile_definitions(serve_module PRIVATE TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}" TEST_BINARY_DIR="${CMAKE_BINARY_DIR}")
set_target_properties(serve_module PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
add_dependencies(serve_module inkan-signer inkan-token)

foreach(t test_pkcs11 test_signer)
  target_include_directories(${t} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit ${P11KIT_INCLUDE_DIRS})
  add_dependencies(${t} inkan-signer inkan-token p11shim)
endforeach()
