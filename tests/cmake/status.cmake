# SPDX-License-Identifier: Apache-2.0
inkan_test(test_wire SOURCES tests/unit/test_wire.c USES wire base)
inkan_test(test_replica SOURCES tests/unit/test_replica.c USES status)
inkan_test(test_responder SOURCES tests/unit/test_responder.c USES status LIBS PkgConfig::CRYPTO)
inkan_test(test_status SOURCES tests/unit/test_status.c tests/unit/hsm_bench.c USES hsm_client pki wire base
  LIBS PkgConfig::CRYPTO)
target_include_directories(test_status PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
add_dependencies(test_status inkan-status inkan-signer inkan-token)
inkan_test(test_access SOURCES tests/unit/test_access.c USES status LIBS PkgConfig::CRYPTO)
inkan_test(test_decider SOURCES tests/unit/test_decider.c USES status LIBS PkgConfig::CRYPTO PkgConfig::EVENT)
