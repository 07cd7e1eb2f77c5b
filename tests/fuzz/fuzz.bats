#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Each fuzz target for a second under libFuzzer; the longer run is tests/fuzz/run SECONDS.
source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}

@test "no fuzz target finds anything in a second" {
    [ -z "${INKAN_TEST_OUT:-}" ] || export INKAN_FUZZ_BUILD=$INKAN_TEST_OUT/build-fuzz
    run "$source_dir/tests/fuzz/run" 1
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "every fuzz target is in the list that is run, and has seeds" {
    for target in "$source_dir"/tests/fuzz/fuzz_*.c; do
        noun=$(basename "$target" .c)
        noun=${noun#fuzz_}
        grep -q "^\[ .*nouns=(.*\b$noun\b" "$source_dir/tests/fuzz/run"
        grep -q "^inkan_fuzz($noun " "$source_dir/tests/cmake/fuzz.cmake"
        [ -n "$(ls "$source_dir/tests/fuzz/corpus/$noun")" ]
    done
}
