# SPDX-License-Identifier: Apache-2.0
foreach(noun bytes der msg)
  inkan_test(test_${noun} SOURCES tests/unit/test_${noun}.c USES base)
endforeach()
