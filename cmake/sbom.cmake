# SPDX-License-Identifier: Apache-2.0
# The bill of materials of the programs, made from the programs: <build>/inkan.cdx.json (CycloneDX) and inkan.spdx.json (SPDX).
find_program(PYTHON3 python3 REQUIRED)
get_property(programs GLOBAL PROPERTY INKAN_PROGRAMS)
list(TRANSFORM programs REPLACE "(.+)" "$<TARGET_FILE:\\1>" OUTPUT_VARIABLE program_files)
add_custom_command(
  OUTPUT ${CMAKE_BINARY_DIR}/inkan.cdx.json ${CMAKE_BINARY_DIR}/inkan.spdx.json
  COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/deploy/sbom.py --version ${PROJECT_VERSION} --out ${CMAKE_BINARY_DIR} ${program_files}
  DEPENDS ${programs} ${CMAKE_SOURCE_DIR}/deploy/sbom.py
  COMMENT "Bill of materials" VERBATIM)
# Builds for tests are not handed out: `ninja sbom` makes theirs.
if(INKAN_SANITIZE OR INKAN_TSAN OR INKAN_TEST_HOOKS)
  add_custom_target(sbom DEPENDS ${CMAKE_BINARY_DIR}/inkan.cdx.json)
else()
  add_custom_target(sbom ALL DEPENDS ${CMAKE_BINARY_DIR}/inkan.cdx.json)
  install(FILES ${CMAKE_BINARY_DIR}/inkan.cdx.json ${CMAKE_BINARY_DIR}/inkan.spdx.json DESTINATION share/doc/inkan)
endif()
