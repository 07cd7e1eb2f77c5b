#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The short versions of tests/fault/nth, tests/fault/alloc, tests/fault/power_loss and tests/fault/power_replica; whole: without arguments.

source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}

@test "killed, torn or failing at the N-th write, sync and send: nothing acknowledged is lost" {
    "$source_dir/tests/fault/nth" --hits 1
}

@test "a power cut at any sync, writes reordered and torn: nothing acknowledged is lost" {
    "$source_dir/tests/fault/power_loss" --requests 6 --variants 1 --step 6 --starts 1
}

@test "the same cuts find out a core that does not sync" {
    "$source_dir/tests/fault/power_loss" --unsafe --requests 6 --variants 1 --step 12
}

@test "a power cut at any sync of the replica: older, never wrong; and a disk that leaves out a flush is found out" {
    "$source_dir/tests/fault/power_replica" --step 10 --between 1000 --variants 1
}

no_asan() { [ "$(ldd "$INKAN_PROGRAMS/inkan-core" | grep -c libasan)" = 0 ]; }

@test "no memory at the N-th allocation of a request in the core: nobody crashes, nothing acknowledged is lost, the next request is answered" {
    no_asan || skip "the address sanitizer has the allocator: needs a build with test hooks and without sanitizers"
    "$source_dir/tests/fault/alloc" --only "core, " --hits 2 --seed 1
}

@test "no memory for a message between processes: the link is made again" {
    no_asan || skip "as above"
    "$source_dir/tests/fault/alloc" --only "signer-issuing, " --from 1 --to 1 --seed 1
}
