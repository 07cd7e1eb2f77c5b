#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The bench runs and judges by what it measured. How fast anything is, it says elsewhere: docs/benchmarks.md.

setup_file() {
    export source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
    export build=${INKAN_BUILD:-$(dirname "$INKAN_PROGRAMS")}
}

quick() {
    timeout 240 "$source_dir/tests/bench/bench" --quick --build "$build" "$@"
}

@test "one quick round of issuance and of its reference gives a ratio above that of doing nothing" {
    run quick --line 1
    echo "$output"
    [ "$status" = 0 ]
    ratio=$(sed -n 's/^line  1  [a-z]* *\([0-9.]*\) .*/\1/p' <<< "$output")
    # Issuance is a verify, a sign and more; sanitizers make it dearer, never cheaper.
    awk -v ratio="$ratio" 'BEGIN { exit !(ratio > 0.9 && ratio < 100) }'
    grep -q 'CPU per certificate .* us' <<< "$output"
    grep -q 'p50 .* p99 .* p99.9' <<< "$output"
}

@test "a round beside which somebody else works is marked" {
    timeout 240 sh -c 'while :; do :; done' 3>&- &
    busy=$!
    run quick --line 1
    kill "$busy"
    echo "$output"
    [ "$status" = 0 ]
    grep -q 'DISTURBED' <<< "$output"
}

@test "a line that does not exist is refused, and so is writing down what a quick round showed" {
    run quick --line 77
    [ "$status" = 1 ]
    run quick --line 1 --write
    [ "$status" = 2 ]
}

@test "a hundred revocations under load: soon visible to GET, POST and nonce, never good again, and in the list" {
    run quick --line 10
    echo "$output"
    [ "$status" = 0 ]
    grep -q '^line 10  holds .* 0 stale; listed in [0-9.]* s at most' <<< "$output"
    grep -q '100 trials with [0-9]\{3,\} questions in flight' <<< "$output"
}

@test "OCSP answers, kept and signed on demand, beside the responders they are compared with" {
    run quick --line 7 --line 8
    echo "$output"
    [ "$status" = 0 ]
    [ "$(grep -c '^line  [78]  [a-z]* *[0-9.]* ' <<< "$output")" = 4 ]
    grep -q 'cfssl POST: server CPU per answer' <<< "$output"
    grep -q 'openssl POST: server CPU per answer' <<< "$output"
    [ "$(grep -c 'judged by an OCSP client' <<< "$output")" = 4 ]
}
