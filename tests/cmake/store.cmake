# SPDX-License-Identifier: Apache-2.0
foreach(noun store audit marks)
  inkan_test(test_${noun} SOURCES tests/unit/test_${noun}.c tests/unit/ledger_fixture.c USES store)
endforeach()
