# SPDX-License-Identifier: Apache-2.0
# The ledger. Its schema is part of the program.
set(schema_c ${CMAKE_BINARY_DIR}/ca/store/schema.c)
file(GLOB schema_sql CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/ca/store/schema/sqlite/*.sql)
add_custom_command(
  OUTPUT ${schema_c}
  COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_SOURCE_DIR}/ca/store/schema/sqlite -DOUTPUT=${schema_c}
          -P ${CMAKE_SOURCE_DIR}/ca/store/embed.cmake
  DEPENDS ${schema_sql} ${CMAKE_SOURCE_DIR}/ca/store/embed.cmake
  VERBATIM)
inkan_module(store
  SOURCES store/sql.c store/open.c store/checkpoint.c store/registry.c store/life.c store/issued.c store/trail.c store/request.c store/capture.c store/factory.c unit_rule.c store/linebox.c store/kek.c store/people.c store/restore.c audit.c audit_verify.c marks.c ${schema_c}
          store/select.c store/batch.c store/tally.c store/alarm.c selector.c
  USES base wire signed pki
  LIBS PkgConfig::SQLITE PkgConfig::JANSSON PkgConfig::CRYPTO)
