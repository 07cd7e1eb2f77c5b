#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The faults that tests/mutants/run puts into the source must still fit it; running them is a command of its own.

@test "every known fault fits the source, and there are at least 40" {
    run "$BATS_TEST_DIRNAME/run" --check
    echo "$output" | grep -A 1 '^not ok' || true
    [ "$status" -eq 0 ]
    [ "$(grep -c '^ok' <<< "$output")" -ge 40 ]
}
