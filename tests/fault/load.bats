#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# tests/fault/load with its short numbers, one scenario a test. The programs are those of the release build: memory and latency of
# a build with sanitizers say nothing.

load_scenario() {
    "$source_dir/tests/fault/load" --only "$1" --programs "$side/bin" --tools "$tools"
}

setup_file() {
    source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
    tools=${INKAN_PROGRAMS:?}
    side=$(mktemp -d "${INKAN_TEST_OUT:-/var/tmp}/load.XXXXXX")
    cp -r "${INKAN_RELEASE:-$(dirname "$tools")}/bin" "$side/bin"
    chmod -R a+rX "$side"
    export source_dir tools side
    # Real deadlines take their time and no processor: this scenario runs beside the others, the last test looks at it.
    { load_scenario slow > "$side/slow" 2>&1 && echo 0 > "$side/slow.status" || echo 1 > "$side/slow.status"; } 3>&- 4>&- &
}
teardown_file() {
    wait
    rm -rf "$side"
}

@test "L2: idle TLS connections neither slow an enrollment down nor take more than 64 KiB each" { load_scenario idle; }
@test "L4: floods from one and from a thousand addresses, and a full limit, fail no enrollment" { load_scenario flood; }
@test "L5: without a descriptor left the front rests, and is back at once" { load_scenario files; }
@test "L6: a front of 128 MiB refuses hostile bodies and too many connections, and lives" { load_scenario memory; }
@test "L7: while the signer stands still a bounded queue answers 503 with Retry-After; then all is normal again" { load_scenario paused; }
@test "L3: slow handshakes, heads, bodies and readers are closed at their deadlines; every enrollment beside them succeeds" {
    for _ in {1..1800}; do
        [ ! -e "$side/slow.status" ] || break
        sleep 0.1
    done
    cat "$side/slow"
    [ "$(cat "$side/slow.status")" = 0 ]
}
