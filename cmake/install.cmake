# SPDX-License-Identifier: Apache-2.0
# Beside the programs in libexec/inkan: what people type in the path, manual pages, units, examples, documents.
set(tree ${CMAKE_BINARY_DIR}/installed)
file(MAKE_DIRECTORY ${tree}/bin ${tree}/sbin ${tree}/lib/systemd/system)
foreach(command inkan inkan-device inkan-gate inkan-station inkan-simdevice)
  file(CREATE_LINK ../libexec/inkan/${command} ${tree}/bin/${command} SYMBOLIC)
endforeach()
file(CREATE_LINK ../libexec/inkan/inkand ${tree}/sbin/inkand SYMBOLIC)
# The units name the programs where this installation has them.
install(CODE "
  foreach(unit inkand inkan-gate inkan-sync)
    file(READ ${CMAKE_SOURCE_DIR}/deploy/\${unit}.service text)
    string(REPLACE /usr/libexec \${CMAKE_INSTALL_PREFIX}/libexec text \"\${text}\")
    file(WRITE ${tree}/lib/systemd/system/\${unit}.service \"\${text}\")
  endforeach()")
install(DIRECTORY ${tree}/ DESTINATION .)
install(PROGRAMS deploy/create-users DESTINATION libexec/inkan)
foreach(section 1 8)
  install(DIRECTORY docs/man/ DESTINATION share/man/man${section} FILES_MATCHING PATTERN *.${section})
endforeach()
install(DIRECTORY docs/ DESTINATION share/doc/inkan FILES_MATCHING PATTERN *.md PATTERN *.yaml PATTERN man EXCLUDE)
install(DIRECTORY deploy/recipes deploy/prometheus deploy/grafana DESTINATION share/doc/inkan USE_SOURCE_PERMISSIONS)
install(FILES README.md CHANGELOG.md LICENSE deploy/inkan.example.yaml deploy/gate.example.yaml deploy/linebox.example.yaml
        DESTINATION share/doc/inkan)
