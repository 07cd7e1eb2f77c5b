# SPDX-License-Identifier: Apache-2.0
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  add_executable(inject_call ${CMAKE_SOURCE_DIR}/tests/fault/inject_call.c)
  target_link_libraries(inject_call PRIVATE PkgConfig::SECCOMP)
  set_target_properties(inject_call PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
endif()
