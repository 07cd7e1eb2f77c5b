#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The quick checkers; tests/checkers/run has all of them.
source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}

finds_nothing() {
    run "$source_dir/tests/checkers/run" "$1" --build "${INKAN_TEST_OUT:-$source_dir}/build-checkers"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "cppcheck finds nothing" { finds_nothing cppcheck; }
@test "gcc -fanalyzer finds nothing" { finds_nothing analyzer; }
