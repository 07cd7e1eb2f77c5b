# SPDX-License-Identifier: Apache-2.0
inkan_test(test_http SOURCES tests/unit/test_http.c USES front)
inkan_test(test_identity SOURCES tests/unit/test_identity.c USES front)
inkan_test(test_basic SOURCES tests/unit/test_basic.c USES front)
inkan_test(test_no_memory SOURCES tests/unit/test_no_memory.c USES front core LIBS Threads::Threads)
target_link_options(test_no_memory PRIVATE -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=sha256)
inkan_test(test_ocsp_get SOURCES tests/unit/test_ocsp_get.c USES front)
inkan_test(test_ocsp_cache SOURCES tests/unit/test_ocsp_cache.c USES front)
inkan_test(test_front SOURCES tests/scenario/test_front.c USES front LIBS Threads::Threads)
add_dependencies(test_front inkan-front)
target_compile_definitions(test_front PRIVATE FRONT_PROGRAM="$<TARGET_FILE:inkan-front>")

# A corpus as an ordinary test; tests/fuzz/run_corpus.c is the main of every fuzz entry point.
inkan_test(test_fuzz_http SOURCES tests/fuzz/fuzz_http.c tests/fuzz/run_corpus.c USES front)
target_compile_definitions(test_fuzz_http PRIVATE FUZZ_CORPUS="${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/http")
inkan_test(test_https SOURCES tests/unit/test_https.c USES https)
