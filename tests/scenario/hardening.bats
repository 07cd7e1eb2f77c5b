#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What limits a process that was taken over: read out of the released programs and out of the live processes of a service made
# of them, and tried: a call that is not on a process's list is made inside that process and ends it.
load ../lib/instance
load ../lib/fault

setup_file() {
    side_dir
    [ -d "${INKAN_RELEASE:-/nowhere}/bin" ] || return 0
    # The service's users must reach them. Sanitizers need calls of their own, so builds for tests have wider lists.
    cp -r "$INKAN_RELEASE/bin" "$side/bin"
    chmod -R a+rX "$side/bin"
    INKAN_PROGRAMS=$side/bin instance_up fronts=2 people=yes "notify=  - {name: nobody, to: \"udp:127.0.0.1:9\", send: [alarms]}"
    group_secret 'hard-*'
    [ "$(enroll hard-known)" = 200 ]
}
teardown_file() {
    instance_down
    side_dir_remove
}
setup() {
    side=$(cat "$BATS_FILE_TMPDIR/side")
    [ -d "${INKAN_RELEASE:-/nowhere}/bin" ] || skip "no release build here"
    fault_load
    processes="inkand core status front-0 front-1 signer-issuing signer-ocsp admin notify"
    inject=${INKAN_BUILD:-$(dirname "$INKAN_PROGRAMS")}/test/inject_call
}

user_of() {
    case $1 in
        inkand) echo inkan ;;
        *) echo "inkan-${1%%-*}" ;;
    esac
}

# status_of PROCESS FIELD: of /proc/PID/status
status_of() {
    sed -n "s/^$2:[[:space:]]*//p" "/proc/$(pid_of "$1")/status"
}

# expect WHAT SEEN WANTED
expect() {
    [ "$2" = "$3" ] && return 0
    echo "$1: $2 instead of $3"
    return 1
}

# ---- the programs ----

@test "the released programs have every hardening flag, in every unit" {
    python3 "$source_dir/tests/lib/binary_hardening.py" "$INKAN_RELEASE"/bin/inkan*
}

# built_without WORD FLAGS...: a small program with every flag but one; the reader must name what it lacks
built_without() {
    local word=$1 at=$BATS_TEST_TMPDIR/program
    shift
    gcc -g -O2 -fPIE -fstack-protector-strong -fno-strict-overflow -fno-delete-null-pointer-checks -fstack-clash-protection -fcf-protection=full \
        -D_FORTIFY_SOURCE=2 -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code "$@" -o "$at" "$at.c" 2> /dev/null
    run python3 "$source_dir/tests/lib/binary_hardening.py" "$at"
    echo "without $word: $status, $output"
    if [ "$word" = nothing ]; then
        [ "$status" -eq 0 ]
    else
        [ "$status" -eq 1 ] && [[ $output == *"lacks $word:"* ]]
    fi
}

@test "a program that lacks one flag is found" {
    [ "$(uname -m)" = x86_64 ] || skip "flags of another architecture"
    cat > "$BATS_TEST_TMPDIR/program.c" <<'C'
#include <stdio.h>
int main(int argc, char **argv) { char text[64]; int n = snprintf(text, sizeof text, "%s", argv[argc - 1]); return printf("%s %d\n", text, n) < 0; }
C
    built_without nothing
    built_without PIE -no-pie -fno-pie
    built_without RELRO -Wl,-z,norelro
    built_without BIND_NOW -Wl,-z,lazy
    built_without noexecstack -Wl,-z,execstack
    built_without separate-code -Wl,-z,noseparate-code
    built_without no-search-path -Wl,-rpath,/tmp
    built_without FORTIFY -U_FORTIFY_SOURCE
    built_without stack-protector -fno-stack-protector
    built_without -fstack-protector-strong -fno-stack-protector -fstack-protector-all
    built_without -fno-strict-overflow -fstrict-overflow
    built_without -fno-delete-null-pointer-checks -fdelete-null-pointer-checks
    built_without -fstack-clash-protection -fno-stack-clash-protection
    built_without -fcf-protection=full -fcf-protection=none
}

# ---- the live processes ----

@test "each live process: filtered in all its threads, no new privileges, no capabilities, no core dump, its own user" {
    [ "$(id -u)" -eq 0 ] || skip "needs root for users"
    for process in $processes; do
        pid=$(pid_of "$process")
        for task in /proc/"$pid"/task/*; do
            expect "$process $task" "$(sed -n 's/^Seccomp:\t//p' "$task/status")" 2
        done
        expect "$process NoNewPrivs" "$(status_of "$process" NoNewPrivs)" 1
        expect "$process core limit" "$(awk '/^Max core file size/ { print $5 "/" $6 }' "/proc/$pid/limits")" 0/0
        # What cannot be dumped belongs to root, whatever user it runs as: no other process of that user can trace it.
        expect "$process dumpable" "$(stat -c %U "/proc/$pid/mem")" root
        id=$(id -u "$(user_of "$process")")
        expect "$process user" "$(status_of "$process" Uid | tr '\t' ' ')" "$id $id $id $id"
        id=$(id -g "$(user_of "$process")")
        expect "$process group" "$(status_of "$process" Gid | tr '\t' ' ')" "$id $id $id $id"
        expect "$process inheritable" "$(status_of "$process" CapInh)" 0000000000000000
        expect "$process ambient" "$(status_of "$process" CapAmb)" 0000000000000000
        # Kill, setgid, setuid: what the supervisor starts and ends programs with. Its children may never have more.
        expect "$process bounding" "$(status_of "$process" CapBnd)" 00000000000000e0
        [ "$process" = inkand ] && caps=00000000000000e0 || caps=0000000000000000
        expect "$process permitted" "$(status_of "$process" CapPrm)" $caps
        expect "$process effective" "$(status_of "$process" CapEff)" $caps
    done
}

@test "the filter of each kind is its own, on top of what it inherits from the supervisor" {
    supervisor=$(status_of inkand Seccomp_filters)
    for process in core status front-0 front-1 signer-issuing signer-ocsp admin; do
        waits_for 60 confined "$process"
        expect "$process" "$(status_of "$process" Seccomp_filters)" $((supervisor + 1))
    done
}

@test "only processes that map a token's module may have executable memory of their own making" {
    for process in inkand core status front-0 admin; do
        no grep -q 'rwx' "/proc/$(pid_of "$process")/maps"
    done
}

# ---- a forbidden call ----

injects() {
    [ -x "$inject" ] || skip "calls can be injected on x86-64 only"
    [ "$(id -u)" -eq 0 ] || skip "needs root to stop a process that cannot be traced"
}

# dies PROCESS CALL [ARGUMENT...]: that call ends it, the supervisor says by which signal, and another takes its place
dies() {
    local process=$1 pid lines
    waits_for 60 confined "$process"
    pid=$(pid_of "$process")
    lines=$(log_lines)
    expect "$*" "$("$inject" "$pid" "${@:2}")" "killed by SIGSYS"
    waits_for 60 sh -c "tail -n +$((lines + 1)) '$dir/log/inkan.log' | grep 'event=process-ended' | grep 'process=$process ' | grep -q 'signal=31'"
    waits_for 60 replaced "$process" "$pid"
    waits_for 60 health_is_ready
}

# A process that was just started puts its filter on top of the supervisor's before it serves.
confined() {
    [ "$(status_of "$1" Seccomp_filters)" -gt "$(status_of inkand Seccomp_filters)" ]
}

replaced() {
    [ -e "$dir/run/$1.pid" ] && [ "$(pid_of "$1")" != "$2" ]
}

# answers_with PROCESS ANSWER CALL...: the process lives on
answers_with() {
    local pid
    [ "$1" = inkand ] || waits_for 60 confined "$1"
    pid=$(pid_of "$1")
    expect "${*:3}" "$("$inject" "$pid" "${@:3}")" "$2"
    kill -0 "$pid"
}

@test "an injected call is really made: an allowed one answers, outside a filter a forbidden one is only refused" {
    injects
    for process in $processes; do
        answers_with "$process" "returned $(pid_of "$process")" getpid
        answers_with "$process" "errno EBADF" close 9999
    done
    sleep 60 3>&- &
    for call in execve ptrace; do
        [[ $("$inject" $! $call) != killed* ]]
    done
    kill $!
    [ "$(enroll hard-after)" = 200 ]
}

@test "the front dies of a forbidden call" {
    injects
    # A program, another process's memory, another process, a file's second name; a socket is refused.
    dies front-0 execve
    dies front-0 ptrace
    dies front-0 clone 17
    dies front-0 link
    answers_with front-0 "errno EACCES" socket 2 1 0
    answers_with front-0 "errno EACCES" mmap 0 4096 5 0x22 -1 0
}

@test "the process of administration over the network dies of a forbidden call" {
    injects
    dies admin execve
    dies admin ptrace
    dies admin clone 17
    dies admin link
    answers_with admin "errno EACCES" socket 2 1 0
    answers_with admin "errno EACCES" socket 1 5 0
    dies admin socketpair 2 1 0 0
}

@test "the process that tells others dies of a forbidden call" {
    injects
    # It alone of the service makes sockets to others; it starts nothing and maps no code.
    dies notify execve
    dies notify ptrace
    dies notify clone 17
    dies notify link
    answers_with notify "errno EACCES" mmap 0 4096 5 0x22 -1 0
}

@test "the status process dies of a forbidden call" {
    injects
    dies status execve
    dies status process_vm_readv
    dies status kill "$(pid_of core)" 0
    answers_with status "errno EACCES" socket 2 1 0
}

@test "the core dies of a forbidden call" {
    injects
    dies core execve
    dies core fork
    answers_with core "errno EACCES" socket 2 1 0
    answers_with core "errno EACCES" mmap 0 4096 5 0x22 -1 0
}

@test "the signers die of a forbidden call" {
    injects
    dies signer-issuing execve
    dies signer-issuing clone 17
    dies signer-ocsp ptrace
}

@test "after all that the service enrols and answers" {
    waits_for 60 enrolls hard-later
    answers good "$units/hard-later.pem"
}

@test "the supervisor may not become root, and dies of what no program of the service does" {
    injects
    for call in setuid setgid setresuid setregid setfsuid; do
        answers_with inkand "errno EPERM" $call 0 0 0
    done
    # The clone is of a process with a user name space of its own.
    for call in unshare ptrace mount io_uring_setup "clone 0x10000011"; do
        expect "inkand $call" "$("$inject" "$(pid_of inkand)" $call)" "killed by SIGSYS"
        # Its children leave when it is gone; a new one starts everything again.
        waits_for 60 processes_gone
        start_again
    done
    waits_for 60 health_is_ready
    waits_for 60 enrolls hard-last
}
