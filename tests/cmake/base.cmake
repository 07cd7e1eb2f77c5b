# SPDX-License-Identifier: Apache-2.0
foreach(noun bytes text der jws msg conf)
  inkan_test(test_${noun} SOURCES tests/unit/test_${noun}.c USES base)
endforeach()

inkan_test(test_libctx SOURCES tests/unit/test_libctx.c USES base LIBS PkgConfig::SSL)

# The supervisor, with one small program in the place of each process of the service.
inkan_test(test_inkand SOURCES tests/unit/test_inkand.c USES base)
# One program under five names: links, so that `ninja inkan-core` still means the real one.
add_executable(inkand_child tests/unit/inkand_child.c)
target_include_directories(inkand_child PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(inkand_child PRIVATE inkan_base)
set_target_properties(inkand_child PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test/children)
foreach(kind core status signer token front)
  add_custom_command(TARGET inkand_child POST_BUILD
    COMMAND ${CMAKE_COMMAND} -E create_symlink inkand_child ${CMAKE_BINARY_DIR}/test/children/inkan-${kind})
endforeach()
add_dependencies(test_inkand inkand inkand_child)
inkan_test(test_spare SOURCES tests/unit/test_spare.c USES base)
target_link_options(test_spare PRIVATE -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=free)
