#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The quick checkers; tests/checkers/run has all of them.
source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}

@test "cppcheck finds nothing" {
    run "$source_dir/tests/checkers/run" cppcheck --build "${INKAN_TEST_OUT:-$source_dir}/build-checkers"
    echo "$output"
    [ "$status" -eq 0 ]
}
