# SPDX-License-Identifier: Apache-2.0
inkan_test(test_feed SOURCES tests/unit/test_feed.c USES base)
inkan_test(test_gate SOURCES tests/unit/test_gate.c USES gate)
inkan_test(test_gate_driver SOURCES tests/unit/test_gate_driver.c USES gate)
inkan_test(test_gate_list SOURCES tests/unit/test_gate_list.c USES gate)
inkan_test(test_notify SOURCES tests/unit/test_notify.c USES notify base)
