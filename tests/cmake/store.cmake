# SPDX-License-Identifier: Apache-2.0
foreach(noun store store_life selector store_factory audit marks checkpoint people)
  inkan_test(test_${noun} SOURCES tests/unit/test_${noun}.c tests/unit/ledger_fixture.c USES store)
endforeach()
target_link_options(test_checkpoint PRIVATE -Wl,--wrap=pthread_create -Wl,--wrap=pthread_cond_signal -Wl,--wrap=pthread_cond_wait)
inkan_test(test_unit_rule SOURCES tests/unit/test_unit_rule.c USES store)
