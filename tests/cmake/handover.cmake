# SPDX-License-Identifier: Apache-2.0
inkan_test(test_order_file SOURCES tests/unit/test_order_file.c USES handover base)
inkan_test(test_handover SOURCES tests/unit/test_handover.c USES handover base)
