# SPDX-License-Identifier: Apache-2.0
inkan_test(test_feed SOURCES tests/unit/test_feed.c USES base)
inkan_test(test_gate SOURCES tests/unit/test_gate.c USES gate)
