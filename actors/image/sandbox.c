#include "actors/image/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/base/error.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { OPEN_FILES = 32 };

static int trap_report = -1;

/* Never above what the worker itself is bound to, which only root could raise. */
static bool limit_between(int what, uint64_t soft, uint64_t hard)
{
    struct rlimit is;
    if (getrlimit(what, &is))
        return false;
    hard = hard < is.rlim_max ? hard : is.rlim_max;
    return setrlimit(what, &(struct rlimit){soft < hard ? soft : hard, hard}) == 0;
}

static bool limit(int what, uint64_t value)
{
    return limit_between(what, value, value);
}

/* Bytes of address space in use, from /proc/self/statm. 0: not known. */
static uint64_t address_space(void)
{
    char text[128] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    unsigned long pages = 0;
    if (n <= 0 || sscanf(text, "%lu", &pages) != 1)
        return 0;
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* DATA bounds what is allocated; AS closes the way around it (shared mappings) and leaves room for
 * libraries and the address ranges that malloc only reserves. The number of processes needs no
 * limit: seccomp lets none be made. That of threads has none here: NPROC counts all that the user
 * has anywhere, so the container's or the unit's limit has to hold it. */
static bool limit_resources(const kv_image_settings *s)
{
    uint64_t in_use = address_space();
    if (!SANITIZED) { /* sanitizers reserve terabytes */
        if (in_use == 0 || !limit(RLIMIT_DATA, s->memory_bytes) ||
            !limit(RLIMIT_AS, in_use + s->memory_bytes + (1u << 30)))
            return false;
    }
    /* One second between soft and hard limit: SIGXCPU says what happened, SIGKILL would not. */
    return limit_between(RLIMIT_CPU, s->timeout_s, s->timeout_s + 1) &&
           limit(RLIMIT_FSIZE, KV_IMAGE_OUTPUT_MAX) && limit(RLIMIT_NOFILE, OPEN_FILES) &&
           limit(RLIMIT_CORE, 0);
}

/* Synchronous: raised at the very call, so write(2) is all it needs. */
static void on_forbidden_call(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    kv_image_report report = {
        .what = KV_IMAGE_FAILED, .error = KV_E_IMAGE_CRASH, .size = (uint64_t)info->si_syscall};
    ssize_t n = write(trap_report, &report, sizeof report);
    (void)n;
    _exit(1);
}

static const int allowed[] = {
    /* the descriptors it has */
    SCMP_SYS(read),
    SCMP_SYS(pread64),
    SCMP_SYS(readv),
    SCMP_SYS(write),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    /* memory; executable mappings are refused below */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    /* threads */
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(sigaltstack),
    /* signals */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    /* time, random seeds of hash tables, machine size */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(getrandom),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrusage),
};

/* Asked for by libraries out of habit; they live with a no. */
static const struct {
    int call, answer;
} answered[] = {
    {SCMP_SYS(open), EACCES},       {SCMP_SYS(openat), EACCES},
    {SCMP_SYS(access), EACCES},     {SCMP_SYS(faccessat), EACCES},
    {SCMP_SYS(faccessat2), EACCES}, {SCMP_SYS(readlink), EACCES},
    {SCMP_SYS(readlinkat), EACCES}, {SCMP_SYS(stat), EACCES},
    {SCMP_SYS(lstat), EACCES},      {SCMP_SYS(statx), ENOSYS},
    {SCMP_SYS(clone3), ENOSYS},     {SCMP_SYS(ioctl), ENOTTY},
    {SCMP_SYS(prctl), EPERM},       {SCMP_SYS(sched_setscheduler), EPERM},
    {SCMP_SYS(setpriority), EPERM}, {SCMP_SYS(getpriority), EPERM},
    {SCMP_SYS(mbind), EPERM},       {SCMP_SYS(get_mempolicy), EPERM},
};

/* Calls that are harmless with some arguments only. */
static int add_conditional(scmp_filter_ctx ctx)
{
    int failed = 0;
    /* Threads, never processes (clone3 hides its flags in memory: ENOSYS makes the C library use
     * clone). */
    failed |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    /* abort() raises in its own process. SIGKILL would pass for the machine's want of memory. */
    failed |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 2,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0),
                               SCMP_A2(SCMP_CMP_EQ, SIGABRT, 0));
    /* What lies above takes root, and pages away from the machine. */
    failed |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(madvise), 1,
                               SCMP_A2(SCMP_CMP_LT, MADV_HWPOISON, 0));
    /* fstat of the C library */
    failed |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                               SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
    failed |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(newfstatat), 1,
                               SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, 0));
    const unsigned fcntls[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL};
    for (size_t i = 0; i < sizeof fcntls / sizeof fcntls[0]; i++)
        failed |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                   SCMP_A1(SCMP_CMP_EQ, fcntls[i], 0));
    const int maps[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        failed |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, maps[i], 1,
                                   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        failed |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), maps[i], 1,
                                   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    }
    return failed;
}

static bool add_rules(scmp_filter_ctx ctx)
{
    int failed = add_conditional(ctx);
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        failed |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; i < sizeof answered / sizeof answered[0]; i++)
        failed |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint32_t)answered[i].answer),
                                   answered[i].call, 0);
    return failed == 0;
}

bool kv_image_sandbox(const kv_image_settings *s, int report)
{
    trap_report = report;
    struct sigaction trap = {.sa_sigaction = on_forbidden_call, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGSYS, &trap, NULL) || !limit_resources(s) ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return false;
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
    if (!ctx)
        return false;
    bool ok = add_rules(ctx) && seccomp_load(ctx) == 0;
    seccomp_release(ctx);
    return ok;
}
