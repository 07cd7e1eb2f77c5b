# SPDX-License-Identifier: Apache-2.0
inkan_test(test_order_file SOURCES tests/unit/test_order_file.c USES handover base)
