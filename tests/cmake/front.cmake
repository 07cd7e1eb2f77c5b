# SPDX-License-Identifier: Apache-2.0
inkan_test(test_http SOURCES tests/unit/test_http.c USES front)
inkan_test(test_basic SOURCES tests/unit/test_basic.c USES front)
inkan_test(test_ocsp_get SOURCES tests/unit/test_ocsp_get.c USES front)
inkan_test(test_ocsp_cache SOURCES tests/unit/test_ocsp_cache.c USES front)
