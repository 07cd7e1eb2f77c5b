# SPDX-License-Identifier: Apache-2.0
inkan_test(test_feed SOURCES tests/unit/test_feed.c USES base)
