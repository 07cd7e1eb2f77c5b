# SPDX-License-Identifier: Apache-2.0
inkan_test(test_wire SOURCES tests/unit/test_wire.c USES wire base)
inkan_test(test_replica SOURCES tests/unit/test_replica.c USES status)
inkan_test(test_responder SOURCES tests/unit/test_responder.c USES status LIBS PkgConfig::CRYPTO)
