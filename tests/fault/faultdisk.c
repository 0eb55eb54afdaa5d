/* A disk that fails when told to, for tests: LD_PRELOAD this.
 *
 * FAULTDISK names a control file of 4096 bytes, mapped by every process under test; the test writes
 * into it at any time:
 *   byte 0       what fails: 0 nothing, 'S' syncs with EIO, 'W' writes with ENOSPC, 'H' half of a
 *                write goes through, the rest fails with ENOSPC, 'D' syncs take a second, 'B' syncs
 *                hang until it says otherwise, 'L' no hard links (names do not matter)
 *   bytes 8…15   how often something failed so far (counted here)
 *   bytes 64…    names, each ended by 0: files whose path contains one of them, or ends in it where
 *                it ends in '$'. None: all
 * As after a real failed sync, what was written stays in the page cache: it can be read, and nobody
 * knows whether it lasts. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CONTROL_BYTES = 4096, NAMES_AT = 64, HALF_MIN = 2 };

typedef struct control {
    _Atomic char what;
    char pad[7];
    _Atomic uint64_t failures;
    char unused[NAMES_AT - 16];
    char names[CONTROL_BYTES - NAMES_AT];
} control;

static control *told;
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_linkat)(int, const char *, int, const char *, int);

static void in_child(void)
{
    told = NULL; /* a forked picture process: it may be inside a sandbox */
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTDISK");
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_linkat = (int (*)(int, const char *, int, const char *, int))dlsym(RTLD_NEXT, "linkat");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED && pthread_atfork(NULL, NULL, in_child) == 0)
        told = at;
}

static bool matches(const char *path, const char *name)
{
    size_t len = strlen(name), path_len = strlen(path);
    if (name[len - 1] != '$')
        return strstr(path, name) != NULL;
    return path_len >= len - 1 && strncmp(path + path_len - (len - 1), name, len - 1) == 0;
}

static bool named(int fd)
{
    char self[64], path[PATH_MAX];
    struct stat st;
    if (fstat(fd, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        return false;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(self, path, sizeof path - 1);
    if (n < 0)
        return false;
    path[n] = 0;
    if (!told->names[0])
        return true;
    for (const char *name = told->names; *name; name += strlen(name) + 1) {
        if (matches(path, name))
            return true;
    }
    return false;
}

/* Whether this call is hit. */
static bool hit(int fd, const char *kinds, char *ret_what)
{
    int kept = errno;
    *ret_what = told ? told->what : 0;
    bool yes = *ret_what && strchr(kinds, *ret_what) && named(fd);
    if (yes)
        told->failures++;
    errno = kept;
    return yes;
}

static int fail(int e)
{
    errno = e;
    return -1;
}

ssize_t write(int fd, const void *data, size_t len)
{
    char what;
    if (!hit(fd, "WH", &what))
        return real_write(fd, data, len);
    return what == 'H' && len >= HALF_MIN ? real_write(fd, data, len / 2) : fail(ENOSPC);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    char what;
    if (!hit(fd, "WH", &what))
        return real_pwrite(fd, data, len, at);
    return what == 'H' && len >= HALF_MIN ? real_pwrite(fd, data, len / 2, at) : fail(ENOSPC);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return pwrite64(fd, data, len, at);
}

static int sync_with(int (*real)(int), int fd)
{
    const struct timespec second = {.tv_sec = 1}, moment = {.tv_nsec = 5000000};
    char what;
    if (!hit(fd, "SDB", &what))
        return real(fd);
    if (what == 'S')
        return fail(EIO);
    if (what == 'D')
        nanosleep(&second, NULL);
    while (told->what == 'B')
        nanosleep(&moment, NULL);
    return real(fd);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    if (!told || told->what != 'L')
        return real_linkat(from_fd, from, to_fd, to, flags);
    told->failures++;
    return fail(EPERM);
}

int fsync(int fd)
{
    return sync_with(real_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_with(real_fdatasync, fd);
}
