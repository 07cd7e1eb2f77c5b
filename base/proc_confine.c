/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System-call allow-lists, one per kind of process. What is not listed kills the process.
 *
 * Every list is COMMON plus the groups of its kind. No kind but the signers may make a socket, and none but the supervisor
 * may start a program or another process. clone3 is answered ENOSYS, because its flags lie in memory where a filter cannot
 * look: the C library then falls back to clone, which is allowed for threads only.
 *
 * The supervisor differs: what it starts inherits its filter, so its list holds every other list and what starting a
 * program takes. What is left out (mounts, kernel modules, tracing, name spaces, other processes' memory, the clock, the
 * kernel's keys, bpf, io_uring) is out of reach for the whole service, also before a child has loaded its own list.
 */
#include "base/proc_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>

#include "base/auto.h"

#define CALL(name) SCMP_SYS(name)

/* A TLS server on libevent and OpenSSL; messages and descriptors between our processes; logging. */
static const int common[] = {
    CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(recvmsg), CALL(sendmsg), CALL(sendmmsg), CALL(recvfrom), CALL(sendto),
    CALL(close), CALL(accept), CALL(accept4), CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_ctl), CALL(epoll_create1),
    CALL(poll), CALL(ppoll), CALL(getsockopt), CALL(setsockopt), CALL(getsockname), CALL(getpeername), CALL(shutdown),
    CALL(fcntl), CALL(dup), CALL(dup2), CALL(dup3), CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), CALL(futex),
    CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep), CALL(nanosleep), CALL(gettimeofday), CALL(time),
    CALL(getrandom), CALL(gettid), CALL(getpid), CALL(getppid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid),
    CALL(tgkill), CALL(rt_sigreturn), CALL(rt_sigprocmask), CALL(rt_sigaction), CALL(sigaltstack), CALL(sched_yield),
    CALL(sched_getaffinity), CALL(restart_syscall), CALL(fstat), CALL(newfstatat), CALL(statx), CALL(lseek),
    CALL(memfd_create), CALL(eventfd2), CALL(pipe2), CALL(getrusage), CALL(sysinfo), CALL(uname), CALL(exit),
    CALL(exit_group), CALL(rseq), CALL(membarrier),
};

/* Files of one's own: the configuration on reload, the server key and certificate, a file replaced atomically. */
static const int files[] = {
    CALL(openat), CALL(open), CALL(stat), CALL(lstat), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink),
    CALL(readlinkat), CALL(getcwd), CALL(fsync), CALL(fdatasync), CALL(rename), CALL(renameat), CALL(renameat2),
    CALL(unlink), CALL(unlinkat), CALL(fchmod), CALL(ftruncate), CALL(pread64), CALL(pwrite64), CALL(mkdir),
    CALL(mkdirat), CALL(chmod), CALL(fchmodat), CALL(getdents64), CALL(umask), CALL(fstatfs), CALL(statfs),
    CALL(flock), CALL(fallocate), CALL(fadvise64),
};

/* SQLite, backups, several threads. */
static const int store[] = {
    CALL(rmdir), CALL(fchown), CALL(utimensat), CALL(link), CALL(linkat), CALL(truncate), CALL(sync_file_range),
    CALL(copy_file_range), CALL(sendfile), CALL(msync), CALL(mincore), CALL(getgroups), CALL(set_robust_list),
    CALL(get_robust_list), CALL(prlimit64), CALL(sched_getparam), CALL(sched_getscheduler), CALL(prctl), CALL(setpriority),
};

/* A vendor's PKCS#11 module: its own files, locks, shared memory, sockets to a network HSM or to p11-kit. */
static const int module[] = {
    CALL(socket), CALL(connect), CALL(bind), CALL(socketpair), CALL(recvmmsg), CALL(select),
    CALL(pselect6), CALL(pipe), CALL(eventfd), CALL(epoll_create), CALL(ioctl), CALL(mlock), CALL(mlock2), CALL(munlock),
    CALL(mlockall), CALL(shmget), CALL(shmat), CALL(shmdt), CALL(shmctl), CALL(semget), CALL(semop), CALL(semctl),
    CALL(semtimedop), CALL(msgget), CALL(msgsnd), CALL(msgrcv), CALL(msgctl), CALL(timer_create), CALL(timer_settime),
    CALL(timer_delete), CALL(timerfd_create), CALL(timerfd_settime), CALL(setitimer), CALL(alarm), CALL(times),
    CALL(getpriority), CALL(getpgrp), CALL(getsid), CALL(getpgid), CALL(getresuid), CALL(getresgid), CALL(getrlimit),
    CALL(sched_setaffinity), CALL(sched_get_priority_max), CALL(sched_get_priority_min), CALL(readahead),
    CALL(mmap), CALL(mprotect), CALL(getcpu), CALL(rt_sigtimedwait), CALL(rt_sigpending), CALL(kill), CALL(symlink),
    CALL(chown), CALL(lchown), CALL(fchownat), CALL(preadv), CALL(pwritev), CALL(set_tid_address), CALL(inotify_init1),
    CALL(inotify_add_watch), CALL(inotify_rm_watch),
};

/* The supervisor: users and capabilities, programs, the listening sockets; and what a program does until its main. */
static const int starter[] = {
    CALL(execve), CALL(fork), CALL(vfork), CALL(wait4), CALL(waitid), CALL(setsid), CALL(capget), CALL(capset),
    CALL(setuid), CALL(setgid), CALL(setreuid), CALL(setregid), CALL(setresuid), CALL(setresgid), CALL(setfsuid),
    CALL(setfsgid), CALL(setgroups), CALL(listen), CALL(close_range), CALL(signalfd4), CALL(seccomp), CALL(prctl),
    CALL(arch_prctl), CALL(setrlimit), CALL(tkill), CALL(chdir),
};

#ifndef INKAN_SANITIZED
/* A client of others' services on the network and on this machine. */
static const int client[] = {
    CALL(socket), CALL(connect), CALL(bind), CALL(socketpair), CALL(recvmmsg), CALL(select), CALL(pselect6), CALL(pipe), CALL(eventfd),
    CALL(epoll_create), CALL(prctl), CALL(set_robust_list), CALL(wait4),
};
#endif

#ifdef INKAN_SANITIZED
/* Test builds only: what AddressSanitizer does at run time and its leak check at exit (it traces its own process). */
static const int sanitizer[] = {
    CALL(openat), CALL(open), CALL(readlink), CALL(readlinkat), CALL(getdents64), CALL(mmap), CALL(mprotect),
    CALL(clone), CALL(ptrace), CALL(wait4), CALL(prctl), CALL(prlimit64), CALL(getrlimit), CALL(set_robust_list),
    CALL(arch_prctl), CALL(personality), CALL(process_vm_readv), CALL(kill), CALL(pipe), CALL(sched_getparam),
    CALL(getdents), CALL(tkill), CALL(set_tid_address), CALL(rt_sigtimedwait), CALL(sched_getscheduler), CALL(socketpair),
};
#endif

static int allow(scmp_filter_ctx f, const int *calls, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        /* A call this architecture does not have cannot be made either. */
        if (calls[i] == __NR_SCMP_ERROR)
            continue;
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    }
    return rc;
}

#ifndef INKAN_SANITIZED
static const int ioctls[] = {FIONBIO, FIONREAD, TCGETS};

#define ALLOW(f, group) allow(f, group, ARRAY_LEN(group))

/* No new executable memory. Asked for politely (a name service wants to load a library), the answer is EACCES. */
static int allow_data_memory(scmp_filter_ctx f)
{
    static const int calls[] = {CALL(mmap), CALL(mprotect)};
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(calls) && rc == 0; i++) {
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (rc == 0)
            rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), calls[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    }
    for (size_t i = 0; i < ARRAY_LEN(ioctls) && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)ioctls[i]));
    return rc;
}

/* Name services try a daemon's socket first and go on to the files. */
static int refuse_sockets(scmp_filter_ctx f)
{
    return seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), CALL(socket), 0);
}

static int allow_threads(scmp_filter_ctx f)
{
    const scmp_datum_t thread = CLONE_VM | CLONE_THREAD;
    int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));

    return rc == 0 ? seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0) : rc;
}
#endif

#ifdef INKAN_SANITIZED
/* One list for every kind: the sanitizers' own calls overlap with what the conditions above restrict. */
static int add_rules(scmp_filter_ctx f, enum proc_kind kind)
{
    const struct {
        const int *calls;
        size_t n;
    } groups[] = {{common, ARRAY_LEN(common)}, {files, ARRAY_LEN(files)},         {store, ARRAY_LEN(store)},
                  {module, ARRAY_LEN(module)}, {sanitizer, ARRAY_LEN(sanitizer)}};
    int rc = kind == PROC_SUPERVISOR ? allow(f, starter, ARRAY_LEN(starter)) : 0;

    for (size_t i = 0; i < ARRAY_LEN(groups) && rc == 0; i++)
        rc = allow(f, groups[i].calls, groups[i].n);
    return rc == 0 ? seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0) : rc;
}
#else
/* No new name spaces: in a user's own one every right is had again. */
static int allow_processes(scmp_filter_ctx f)
{
    const scmp_datum_t spaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                                CLONE_NEWNET;
    int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, spaces, 0));

    return rc == 0 ? seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0) : rc;
}

static int add_supervisor_rules(scmp_filter_ctx f)
{
    int rc = ALLOW(f, common);

    if (rc == 0)
        rc = ALLOW(f, files);
    if (rc == 0)
        rc = ALLOW(f, store);
    if (rc == 0)
        rc = ALLOW(f, module);
    if (rc == 0)
        rc = ALLOW(f, starter);
    return rc == 0 ? allow_processes(f) : rc;
}

/* It speaks with the world: one thread, no database. */
static bool is_networked(enum proc_kind kind)
{
    return kind == PROC_FRONT || kind == PROC_ADMIN;
}

static int add_rules(scmp_filter_ctx f, enum proc_kind kind)
{
    bool signer = kind == PROC_SIGNER || kind == PROC_TOKEN;
    int rc;

    if (kind == PROC_SUPERVISOR)
        return add_supervisor_rules(f);
    rc = ALLOW(f, common);
    if (rc == 0)
        rc = ALLOW(f, files);
    if (rc == 0 && !is_networked(kind))
        rc = ALLOW(f, store);
    if (rc == 0 && !is_networked(kind))
        rc = allow_threads(f);
    if (rc == 0 && kind == PROC_ADMIN) /* pairs for its conversations with the core; no other socket */
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(socketpair), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    if (rc == 0)
        rc = signer ? ALLOW(f, module) : allow_data_memory(f);
    return rc == 0 && !signer ? refuse_sockets(f) : rc;
}

static int add_client_rules(scmp_filter_ctx f)
{
    int rc = ALLOW(f, common);

    if (rc == 0)
        rc = ALLOW(f, files);
    if (rc == 0)
        rc = ALLOW(f, client);
    if (rc == 0)
        rc = allow_threads(f);
    return rc == 0 ? allow_data_memory(f) : rc;
}
#endif

#define CLIENT PROC_KINDS /* instead of a kind: a program that belongs to no service */

static enum err_code load_filter(enum proc_kind kind, const char *name, struct err *e)
{
    scmp_filter_ctx f;
    int rc;

    /* The first certificate check would read the local time zone's file. */
    tzset();
    f = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!f)
        return err_set(e, E_INTERNAL, "seccomp_init");
#ifdef INKAN_SANITIZED
    rc = add_rules(f, kind);
#else
    rc = kind == CLIENT || kind == PROC_NOTIFY ? add_client_rules(f) : add_rules(f, kind);
#endif
    if (rc == 0) /* threads that run already, too */
        rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = seccomp_load(f);
    seccomp_release(f);
    if (rc == 0)
        return E_OK;
    errno = -rc;
    return err_errno(e, E_INTERNAL, "the system-call filter of %s could not be loaded", name);
}

enum err_code proc_confine_kind(enum proc_kind kind, struct err *e)
{
    return load_filter(kind, proc_kind_name(kind), e);
}

enum err_code proc_confine_client(struct err *e)
{
    return load_filter(CLIENT, "a client", e);
}
