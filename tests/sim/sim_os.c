#include "tests/sim/sim_os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 4096, INODES = 16384 };

typedef struct inode {
    ino_t ino; /* 0: free */
    int64_t changed_ms;
} inode;

static struct {
    sim *s;
    int process; /* 0: none, calls are the machine's */
    uint64_t kill_at;
    unsigned failing;
    jmp_buf *back;
    int owner[FDS];
    inode inodes[INODES]; /* by ino, open addressing */
} os;

/* Of the leak checker, where there is one. */
__attribute__((weak)) void __lsan_disable(void);
__attribute__((weak)) void __lsan_enable(void);

void sim_os_start(sim *s)
{
    memset(&os, 0, sizeof os);
    os.s = s;
}

void sim_os_stop(void)
{
    os.s = NULL;
}

void sim_os_enter(int process, uint64_t kill_at, unsigned failing, jmp_buf *back)
{
    SIM_HOLDS(os.s, !os.process, "a process in a process");
    os.process = process;
    os.kill_at = kill_at;
    os.failing = failing;
    os.back = back;
    if (__lsan_disable)
        __lsan_disable();
}

void sim_os_leave(void)
{
    os.process = 0;
    if (__lsan_enable)
        __lsan_enable();
}

void sim_os_kill(int process)
{
    for (int fd = 0; fd < FDS; fd++) {
        if (os.owner[fd] != process)
            continue;
        os.owner[fd] = 0;
        close(fd);
    }
}

/* ---- what happens at a call ---- */

static bool fails(void)
{
    return os.failing && sim_pick(os.s, 1000) < os.failing;
}

/* A process may end before a call has done anything, and after it has done all. */
static void point(void)
{
    if (os.process && os.kill_at && --os.kill_at == 0)
        longjmp(*os.back, 1);
}

static inode *inode_at(ino_t ino)
{
    size_t at = (size_t)ino * 0x9e3779b97f4a7c15u >> 50;
    for (int i = 0; i < INODES; i++, at++) {
        inode *n = &os.inodes[at % INODES];
        if (n->ino == ino || !n->ino)
            return n;
    }
    abort();
}

static void changed(const struct stat *st)
{
    *inode_at(st->st_ino) = (inode){st->st_ino, os.s->clock.wall_ms_now};
}

static void tell_time(struct stat *st)
{
    const inode *n = os.process ? inode_at(st->st_ino) : NULL;
    if (!n || !n->ino)
        return;
    st->st_ctim.tv_sec = n->changed_ms / 1000;
    st->st_ctim.tv_nsec = n->changed_ms % 1000 * 1000000;
}

/* ---- the calls ---- */

#define REAL(type, name, ...)                                                                      \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

#define POINT_OR_FAIL(why)                                                                         \
    do {                                                                                           \
        point();                                                                                   \
        if (os.process && fails()) {                                                               \
            errno = why;                                                                           \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

static int own(int fd)
{
    if (fd >= 0 && fd < FDS && os.process)
        os.owner[fd] = os.process;
    return fd;
}

static bool owned(int fd)
{
    return os.process && fd >= 0 && fd < FDS && os.owner[fd] == os.process;
}

static void made(int fd)
{
    struct stat st;
    if (owned(fd) && fstat(fd, &st) == 0)
        changed(&st);
}

static mode_t mode_of(int flags, va_list list)
{
    return flags & O_CREAT ? va_arg(list, mode_t) : 0;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    int fd = __real_open(path, flags, mode);
    /* SQLite's handle outlives who is killed here, and would use the number for another file. */
    return strstr(path, "/kervan.db") ? fd : own(fd);
}

int __real_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    if (flags & O_CREAT)
        POINT_OR_FAIL(ENOSPC);
    int fd = own(__real_openat(at, path, flags, mode));
    if (flags & O_CREAT) {
        made(fd);
        point();
    }
    return fd;
}

REAL(int, close, int fd)
{
    if (fd >= 0 && fd < FDS)
        os.owner[fd] = 0;
    return __real_close(fd);
}

REAL(int, closedir, DIR *dir)
{
    int fd = dirfd(dir);
    if (fd >= 0 && fd < FDS)
        os.owner[fd] = 0;
    return __real_closedir(dir);
}

REAL(ssize_t, write, int fd, const void *from, size_t len)
{
    if (!owned(fd))
        return __real_write(fd, from, len);
    POINT_OR_FAIL(ENOSPC);
    ssize_t n = __real_write(fd, from, len);
    point();
    return n;
}

REAL(int, fsync, int fd)
{
    if (!owned(fd))
        return __real_fsync(fd);
    POINT_OR_FAIL(EIO);
    return 0; /* nobody cuts the power here */
}

REAL(int, sync_file_range, int fd, off_t from, off_t len, unsigned flags)
{
    (void)fd, (void)from, (void)len, (void)flags;
    POINT_OR_FAIL(EIO);
    return 0;
}

REAL(int, fstat, int fd, struct stat *st)
{
    int rc = __real_fstat(fd, st);
    if (rc == 0)
        tell_time(st);
    return rc;
}

REAL(int, fstatat, int at, const char *path, struct stat *st, int flags)
{
    int rc = __real_fstatat(at, path, st, flags);
    if (rc == 0)
        tell_time(st);
    return rc;
}

REAL(int, linkat, int from_at, const char *from, int at, const char *to, int flags)
{
    struct stat st;
    POINT_OR_FAIL(ENOSPC);
    int rc = __real_linkat(from_at, from, at, to, flags);
    if (rc == 0 && os.process && __real_fstatat(at, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
        changed(&st);
    point();
    return rc;
}

REAL(int, unlinkat, int at, const char *path, int flags)
{
    struct stat st;
    POINT_OR_FAIL(EIO);
    bool known = os.process && __real_fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int rc = __real_unlinkat(at, path, flags);
    int why = errno;
    if (rc == 0 && known && st.st_nlink > 1)
        changed(&st);
    else if (rc == 0 && known)
        inode_at(st.st_ino)->changed_ms = 0;
    point();
    errno = why;
    return rc;
}

REAL(int, utimensat, int at, const char *path, const struct timespec times[2], int flags)
{
    struct stat st;
    POINT_OR_FAIL(EIO);
    int rc = __real_utimensat(at, path, times, flags);
    if (rc == 0 && os.process && __real_fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        changed(&st);
    return rc;
}

REAL(int, clock_gettime, clockid_t which, struct timespec *ret)
{
    if (!os.process || which != CLOCK_REALTIME)
        return __real_clock_gettime(which, ret);
    ret->tv_sec = os.s->clock.wall_ms_now / 1000;
    ret->tv_nsec = os.s->clock.wall_ms_now % 1000 * 1000000;
    return 0;
}
