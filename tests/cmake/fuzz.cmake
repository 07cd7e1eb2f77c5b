# SPDX-License-Identifier: Apache-2.0
# Every fuzz entry point runs over its corpus as an ordinary test. With INKAN_FUZZ (tests/fuzz/run sets it, with clang and
# the sanitizers in the C flags) it is also a libFuzzer program fuzz_NOUN.
option(INKAN_FUZZ "libFuzzer programs; needs clang" OFF)

function(inkan_fuzz noun)
  if(NOT TARGET test_fuzz_${noun})
    inkan_test(test_fuzz_${noun} SOURCES tests/fuzz/fuzz_${noun}.c tests/fuzz/run_corpus.c USES ${ARGN})
    target_compile_definitions(test_fuzz_${noun} PRIVATE FUZZ_CORPUS="${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${noun}")
  endif()
  if(INKAN_FUZZ)
    inkan_test(fuzz_${noun} SOURCES tests/fuzz/fuzz_${noun}.c USES ${ARGN})
    set_target_properties(fuzz_${noun} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz EXCLUDE_FROM_ALL ON)
    target_link_options(fuzz_${noun} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()

inkan_fuzz(http front)
inkan_fuzz(csr pki)
inkan_fuzz(cert pki lint)
inkan_fuzz(crl pki lint wire)
inkan_fuzz(ocsp pki lint wire)
inkan_fuzz(msg base)
inkan_fuzz(svc wire)
inkan_fuzz(config base)
