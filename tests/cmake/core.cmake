# SPDX-License-Identifier: Apache-2.0
inkan_test(test_clock_rule SOURCES tests/unit/test_clock_rule.c USES core)
inkan_test(test_guess_limit SOURCES tests/unit/test_guess_limit.c USES core)
inkan_test(test_repeat_rule SOURCES tests/unit/test_repeat_rule.c USES core)
inkan_test(test_admin_args SOURCES tests/unit/test_admin_args.c USES core)
inkan_test(test_anchor SOURCES tests/unit/test_anchor.c USES core)
inkan_test(test_enroll_policy SOURCES tests/unit/test_enroll_policy.c tests/unit/ledger_fixture.c USES core)
inkan_test(test_revoke SOURCES tests/unit/test_revoke.c tests/unit/ledger_fixture.c USES core)
inkan_test(test_reader SOURCES tests/unit/test_reader.c tests/unit/ledger_fixture.c USES core LIBS Threads::Threads)
