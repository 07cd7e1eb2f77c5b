/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a running process make one system call, as code that took it over would:
 *
 *     inject_call PID NUMBER|NAME [ARGUMENT...]       prints "returned VALUE", "errno NAME" or "killed by SIGNAL"
 *
 * The process is stopped where it waits, its registers are changed to that call, the "syscall" instruction it stands on runs
 * once, and its registers are put back. Its filter judges the call as any other. For x86-64.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <seccomp.h>

#ifndef __x86_64__
#error "the registers of this machine are not known here"
#endif

#define SYSCALL_INSTRUCTION 0x050f /* 0f 05 */

static int fail(const char *what)
{
    fprintf(stderr, "inject_call: %s: %s\n", what, strerror(errno));
    return 2;
}

/* Points the stopped process at a syscall instruction: the one it waits in, or one written over its next instruction. */
static int aim(pid_t pid, struct user_regs_struct *at, long *overwritten, int *wrote)
{
    long word;

    errno = 0;
    word = ptrace(PTRACE_PEEKTEXT, pid, (void *)(at->rip - 2), NULL);
    if (errno == 0 && (word & 0xffff) == SYSCALL_INSTRUCTION) {
        at->rip -= 2;
        return 0;
    }
    errno = 0;
    *overwritten = ptrace(PTRACE_PEEKTEXT, pid, (void *)at->rip, NULL);
    if (errno)
        return -1;
    *wrote = 1;
    return (int)ptrace(PTRACE_POKETEXT, pid, (void *)at->rip, (void *)((*overwritten & ~0xffffL) | SYSCALL_INSTRUCTION));
}

/* The registers to go on with: a call that was interrupted is made again. */
static struct user_regs_struct going_on(const struct user_regs_struct *stopped)
{
    struct user_regs_struct r = *stopped;
    long result = (long)r.rax;

    if ((long)r.orig_rax >= 0 && result <= -512 && result >= -516) {
        r.rax = r.orig_rax;
        r.rip -= 2;
    }
    r.orig_rax = (unsigned long long)-1;
    return r;
}

static int report(pid_t pid, int status)
{
    struct user_regs_struct after;

    if (WIFSIGNALED(status)) {
        printf("killed by SIG%s\n", sigabbrev_np(WTERMSIG(status)));
        return 0;
    }
    if (!WIFSTOPPED(status) || ptrace(PTRACE_GETREGS, pid, NULL, &after) != 0)
        return fail("after the call");
    if ((long)after.rax < 0 && (long)after.rax > -4096)
        printf("errno %s\n", strerrorname_np(-(int)(long)after.rax));
    else
        printf("returned %lld\n", (long long)after.rax);
    return 0;
}

static int inject(pid_t pid, int call, const unsigned long long arg[6])
{
    struct user_regs_struct stopped, r;
    long overwritten = 0;
    int status, wrote = 0, code;

    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0 ||
        waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
        return fail("stop");
    if (ptrace(PTRACE_GETREGS, pid, NULL, &stopped) != 0)
        return fail("registers");
    r = stopped;
    if (aim(pid, &r, &overwritten, &wrote) != 0)
        return fail("syscall instruction");
    r.rax = (unsigned long long)call;
    r.orig_rax = (unsigned long long)-1; /* no restart of the call it was in */
    r.rdi = arg[0];
    r.rsi = arg[1];
    r.rdx = arg[2];
    r.r10 = arg[3];
    r.r8 = arg[4];
    r.r9 = arg[5];
    if (ptrace(PTRACE_SETREGS, pid, NULL, &r) != 0 || ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 ||
        waitpid(pid, &status, __WALL) != pid)
        return fail("the call");
    code = report(pid, status);
    if (WIFSIGNALED(status))
        return code;
    r = going_on(&stopped);
    if ((wrote && ptrace(PTRACE_POKETEXT, pid, (void *)stopped.rip, (void *)overwritten) != 0) ||
        ptrace(PTRACE_SETREGS, pid, NULL, &r) != 0 || ptrace(PTRACE_DETACH, pid, NULL, NULL) != 0)
        return fail("going on");
    return code;
}

int main(int argc, char **argv)
{
    unsigned long long arg[6] = {0};
    int call;

    if (argc < 3 || argc > 9) {
        fprintf(stderr, "usage: inject_call PID NUMBER|NAME [ARGUMENT...]\n");
        return 2;
    }
    call = argv[2][0] >= '0' && argv[2][0] <= '9' ? atoi(argv[2]) : seccomp_syscall_resolve_name(argv[2]);
    if (call < 0) {
        fprintf(stderr, "inject_call: no system call %s\n", argv[2]);
        return 2;
    }
    for (int i = 3; i < argc; i++)
        arg[i - 3] = strtoull(argv[i], NULL, 0);
    return inject((pid_t)atol(argv[1]), call, arg);
}
