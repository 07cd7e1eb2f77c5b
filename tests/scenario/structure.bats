#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What keeps the structure true: direction of includes, what the front links, SPDX lines, what the programs say.
source_dir=${INKAN_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
programs=${INKAN_PROGRAMS:?}

# no COMMAND...: fails the test when the command succeeds. A line that begins with ! does not: errexit passes over it.
no() {
    ! "$@"
}

# includes FOLDER... : files of these folders with the folders their includes name
includes() {
    grep -rhoE --include='*.[ch]' '^#include "(base|hsm|ca|enroll|cli)/[^"]*"' "$@" | sed 's/^#include "//; s/"$//' | sort -u
}

@test "includes go one way: base, hsm, ca, enroll, cli" {
    cd "$source_dir"
    includes base | no grep -vE '^base/'
    includes hsm | no grep -vE '^(base|hsm)/'
    includes ca | no grep -vE '^(base|ca)/|^hsm/(signer|token_admin)\.h$'
    includes enroll/*.c enroll/*.h enroll/gate | no grep -vE '^(base|enroll)/|^ca/service\.h$'
}

@test "the device library includes no other code of the project" {
    cd "$source_dir"
    includes enroll/client cli/inkan-device.c cli/inkan-station.c cli/inkan-simdevice.c | no grep -vE '^enroll/client/'
}

@test "the front maps neither a database nor PKCS#11, the core no PKCS#11, only signer and token programs do" {
    ldd "$programs/inkan-front" | no grep -E 'sqlite|p11|softhsm'
    nm "$programs/inkan-front" | no grep -E ' (sqlite3_open|C_GetFunctionList)'
    ldd "$programs/inkan-core" | no grep -E 'p11|softhsm'
    ldd "$programs/inkan-status" | no grep -E 'p11|softhsm'
    nm "$programs/inkan-core" "$programs/inkan-status" "$programs/inkan-front" "$programs/inkand" | no grep -w dlopen
}

@test "every source file has its SPDX line" {
    cd "$source_dir"
    missing=$(find . -name 'build*' -prune -o -type f \( -name '*.[ch]' -o -name '*.cmake' -o -name '*.bats' -o -name '*.bash' -o -name '*.sql' -o -name '*.py' \
        -o -name '*.sh' -o -name CMakeLists.txt -o -path './deploy/*' -o -path './docs/man/*' \) -print0 | xargs -0 grep -L 'SPDX-License-Identifier: Apache-2.0' || true)
    echo "$missing"
    [ -z "$missing" ]
}

@test "every program says its version and its usage" {
    for program in inkand inkan inkan-device inkan-gate inkan-station inkan-simdevice; do
        "$programs/$program" --version
        "$programs/$program" --help | grep -q -i usage
    done
    run "$programs/inkan" nonsense
    [ "$status" -eq 2 ]
    run "$programs/inkan" cert nonsense
    [ "$status" -eq 2 ]
    run "$programs/inkan" cert list --nonsense
    [ "$status" -eq 2 ]
    "$programs/inkan" fleet --help | grep -q '^  fleet *undo '
    run "$programs/inkan" fleet
    [ "$status" -eq 2 ]
    [[ $output == *"fleet      undo "* ]]
}

@test "the completion script is bash" {
    "$programs/inkan" completion > "$BATS_TEST_TMPDIR/completion"
    bash -n "$BATS_TEST_TMPDIR/completion"
}

@test "without a service the CLI says so and what to do" {
    run "$programs/inkan" --socket "$BATS_TEST_TMPDIR/nothing.sock" status
    [ "$status" -eq 1 ]
    [[ $output == *"is inkand running"* ]]
}

@test "release programs contain no test hook" {
    [ -d "${INKAN_RELEASE:-/nowhere}/bin" ] || skip "no release build here"
    for program in "$INKAN_RELEASE"/bin/*; do
        no grep -q INKAN_TEST_ "$program" || { echo "$program"; false; }
    done
}

@test "every log event is in docs/operations.md" {
    cd "$source_dir"
    missing=
    for event in $(grep -rhoE '(log_begin\([^;]*"[a-z0-9-]+"|log_note\([^;]*, "[a-z0-9-]+", "|log_failure(_of)?\("[a-z0-9-]+"|proc_die\("[a-z0-9-]+")' \
        base hsm ca enroll cli --include='*.c' | grep -oE '"[a-z0-9]+(-[a-z0-9]+)+"' | tr -d '"' | sort -u); do
        grep -qw -- "$event" docs/operations.md || missing="$missing $event"
    done
    echo "missing:$missing"
    [ -z "$missing" ]
}

@test "every program and every command has its manual page" {
    cd "$source_dir"
    for program in inkand.8 inkan-core.8 inkan-front.8 inkan-signer.8 inkan-status.8 inkan-token.8 inkan-admin.8 inkan-notify.8 inkan.1 inkan-device.1 inkan-sync.1 inkan-gate.1 inkan-station.1 inkan-simdevice.1; do
        [ -s "docs/man/$program" ]
    done
    "$programs/inkan" --help | sed -n 's/^  \([a-z]*\) *\([a-z-]*\) .*/\1 \2/p' | while read -r noun verb; do
        sed 's/\\-/-/g; s/\\fP//g; s/\\fI//g' docs/man/inkan.1 | grep -qE "$noun .*${verb}|$noun\|?.*${verb}|^.B $noun" || { echo "$noun $verb"; exit 1; }
    done
}

@test "every option of every command is in the manual page, and the pages render without a warning" {
    cd "$source_dir"
    sed 's/\\-/-/g; s/\\f[A-Z]//g' docs/man/inkan.1 > "$BATS_TEST_TMPDIR/page"
    options=$("$programs/inkan" completion | grep -oE -- '--[a-z-]+' | sort -u)
    [ "$(wc -l <<< "$options")" -gt 60 ]
    missing=
    for option in $options; do
        grep -qE -- "$option([^a-z-]|\$)" "$BATS_TEST_TMPDIR/page" || missing="$missing $option"
    done
    echo "missing:$missing"
    [ -z "$missing" ]
    for page in docs/man/*; do
        groff -t -man -Tutf8 -ww -rLL=78n "$page" 2>> "$BATS_TEST_TMPDIR/warnings" > /dev/null
    done
    cat "$BATS_TEST_TMPDIR/warnings"
    [ ! -s "$BATS_TEST_TMPDIR/warnings" ]
}

@test "every command that the documents name exists" {
    cd "$source_dir"
    "$programs/inkan" completion | sed -n "s/^    '\([a-z]* [a-z-]*\)'\*)/\1/p" > "$BATS_TEST_TMPDIR/commands"
    grep -qx 'cert list' "$BATS_TEST_TMPDIR/commands"
    grep -rhoE --include='*.md' --include='*.yaml' --include=quickstart --include='*.rules.yml' '(`|^|[#$] +)(\$INKAN|inkan) [a-z]+( [a-z-]+)?' README.md docs deploy |
        sed -E 's/.*(\$INKAN|inkan) //' | sort -u > "$BATS_TEST_TMPDIR/named"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/named")" -gt 50 ]
    missing=
    while read -r noun verb; do
        grep -qe "^$noun ${verb:+$verb\$}" -e "^$noun \$" "$BATS_TEST_TMPDIR/commands" || missing="$missing, $noun $verb"
    done < "$BATS_TEST_TMPDIR/named"
    echo "missing$missing"
    [ -z "$missing" ]
}

@test "what is installed is whole: units that systemd accepts, programs and pages where they say" {
    [ -d "${INKAN_RELEASE:-/nowhere}/bin" ] || skip "no release build here"
    root=$BATS_TEST_TMPDIR/root
    cmake --install "$INKAN_RELEASE" --prefix "$root" > /dev/null
    for unit in inkand inkan-gate inkan-sync; do
        grep -q "^ExecStart=$root/libexec/inkan/" "$root/lib/systemd/system/$unit.service"
        said=$(systemd-analyze --man=no verify "$root/lib/systemd/system/$unit.service" 2>&1)
        echo "$said"
        no grep -q "$unit" <<< "$said"
    done
    "$root/bin/inkan" --version
    "$root/sbin/inkand" --version
    cmp "$source_dir/docs/man/inkand.8" "$root/share/man/man8/inkand.8"
    [ -s "$root/share/doc/inkan/inkan.example.yaml" ]
}
