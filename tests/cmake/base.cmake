# SPDX-License-Identifier: Apache-2.0
foreach(noun bytes der msg conf)
  inkan_test(test_${noun} SOURCES tests/unit/test_${noun}.c USES base)
endforeach()

# The supervisor, with one small program in the place of each process of the service.
inkan_test(test_inkand SOURCES tests/unit/test_inkand.c USES base)
foreach(kind core status signer token front)
  add_executable(child_${kind} tests/unit/inkand_child.c)
  target_include_directories(child_${kind} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(child_${kind} PRIVATE inkan_base)
  set_target_properties(child_${kind} PROPERTIES OUTPUT_NAME inkan-${kind}
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test/children)
  add_dependencies(test_inkand child_${kind})
endforeach()
add_dependencies(test_inkand inkand)
