# SPDX-License-Identifier: Apache-2.0
inkan_test(test_http SOURCES tests/unit/test_http.c USES front)
inkan_test(test_basic SOURCES tests/unit/test_basic.c USES front)
inkan_test(test_ocsp_get SOURCES tests/unit/test_ocsp_get.c USES front)
inkan_test(test_ocsp_cache SOURCES tests/unit/test_ocsp_cache.c USES front)
inkan_test(test_front SOURCES tests/scenario/test_front.c USES front LIBS Threads::Threads)
add_dependencies(test_front inkan-front)
target_compile_definitions(test_front PRIVATE FRONT_PROGRAM="$<TARGET_FILE:inkan-front>")
