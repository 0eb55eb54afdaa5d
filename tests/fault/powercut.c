/* A power cut for tests: LD_PRELOAD this, and what was not synced is forgotten.
 *
 * kill -9 leaves the page cache in place, so it cannot show a missing fsync. This library keeps a
 * second copy of the data folder that changes only when a sync asks for it: fsync and fdatasync of
 * a file bring its bytes there, those of a directory its names. A file whose name was synced and
 * whose bytes were not is empty there; one whose bytes were synced and whose name was not is
 * missing. After everything was killed, POWERCUT_SHADOW/names is what a disk would hold that kept
 * nothing else.
 *
 * POWERCUT_ROOT: the data folder. POWERCUT_SHADOW: an empty folder. sync_file_range promises
 * nothing and does nothing here; mapped writes are not seen (SQLite maps only its -shm, which lasts
 * for nobody). Files are told apart by inode and birth time, since inode numbers come again. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { TABLE = 4096, RANGES_MAX = 4096, PIECE = 1 << 16 };

typedef struct range {
    off_t from, to;
} range;

/* Bytes of an inode that were written and not synced. */
typedef struct dirty {
    struct dirty *next;
    ino_t ino;
    size_t n, cap;
    bool all;
    range *ranges;
} dirty;

static char root[PATH_MAX], shadow[PATH_MAX];
static dev_t root_dev;
static bool active;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dirty *table[TABLE];

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

static void fail(const char *what, const char *name)
{
    fprintf(stderr, "powercut: %s %s: %s\n", what, name, strerror(errno));
    abort();
}

static void in_child(void)
{
    active = false; /* a forked picture process: it may be inside a sandbox, and syncs nothing */
}

__attribute__((constructor)) static void begin(void)
{
    struct stat st;
    const char *r = getenv("POWERCUT_ROOT"), *s = getenv("POWERCUT_SHADOW");
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    if (!r || !s || stat(r, &st) != 0 || !realpath(r, root) || !realpath(s, shadow))
        return;
    root_dev = st.st_dev;
    active = pthread_atfork(NULL, NULL, in_child) == 0;
}

/* ---- what was written ---- */

static dirty *dirty_of(ino_t ino, bool make)
{
    dirty **at = &table[ino % TABLE];
    for (dirty *d = *at; d; d = d->next) {
        if (d->ino == ino)
            return d;
    }
    dirty *d = make ? calloc(1, sizeof *d) : NULL;
    if (!d)
        return NULL;
    d->ino = ino;
    d->next = *at;
    return *at = d;
}

static void add_range(dirty *d, off_t from, off_t to)
{
    if (d->all)
        return;
    if (d->n && d->ranges[d->n - 1].to == from) {
        d->ranges[d->n - 1].to = to;
        return;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 8;
        range *more = cap <= RANGES_MAX ? realloc(d->ranges, cap * sizeof *more) : NULL;
        if (!more) {
            d->all = true;
            return;
        }
        d->ranges = more;
        d->cap = cap;
    }
    d->ranges[d->n++] = (range){from, to};
}

static void wrote(int fd, off_t from, ssize_t n)
{
    struct stat st;
    int kept = errno;
    if (active && n > 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == root_dev) {
        pthread_mutex_lock(&lock);
        dirty *d = dirty_of(st.st_ino, true);
        if (d)
            add_range(d, from, from + n);
        pthread_mutex_unlock(&lock);
    }
    errno = kept;
}

ssize_t write(int fd, const void *data, size_t len)
{
    ssize_t n = real_write(fd, data, len);
    if (active && n > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= n)
            wrote(fd, end - n, n);
    }
    return n;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    ssize_t n = real_pwrite(fd, data, len, at);
    wrote(fd, at, n);
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return pwrite64(fd, data, len, at);
}

/* ---- bytes that last ---- */

static bool inode_path(int dir_fd, const char *name, char out[PATH_MAX])
{
    struct statx sx;
    int flags = AT_SYMLINK_NOFOLLOW | (name[0] ? 0 : AT_EMPTY_PATH);
    if (statx(dir_fd, name, flags, STATX_BTIME | STATX_INO, &sx) != 0)
        return false;
    snprintf(out, PATH_MAX, "%.2000s/inodes/%llu-%lld.%09u", shadow, (unsigned long long)sx.stx_ino,
             (long long)sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec);
    return true;
}

static void copy_range(int from_fd, int to_fd, range r)
{
    char piece[PIECE];
    while (r.from < r.to) {
        size_t want = r.to - r.from < PIECE ? (size_t)(r.to - r.from) : PIECE;
        ssize_t n = pread(from_fd, piece, want, r.from);
        if (n <= 0)
            return; /* shorter meanwhile */
        if (real_pwrite(to_fd, piece, (size_t)n, r.from) != n)
            fail("write", "shadow");
        r.from += n;
    }
}

/* A descriptor that may be write-only gives no bytes: read through another. */
static int readable(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void sync_file(int fd, const struct stat *st)
{
    char path[PATH_MAX];
    if (!inode_path(fd, "", path))
        fail("statx", "file");
    pthread_mutex_lock(&lock);
    dirty *d = dirty_of(st->st_ino, false), taken = {.n = 0};
    if (d) {
        taken = *d;
        d->n = d->cap = 0;
        d->all = false;
        d->ranges = NULL;
    }
    pthread_mutex_unlock(&lock);
    bool had = access(path, F_OK) == 0;
    int to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), from = readable(fd);
    if (to < 0 || from < 0)
        fail("open", path);
    range whole = {0, st->st_size};
    if (!had || taken.all)
        copy_range(from, to, whole);
    else
        for (size_t i = 0; i < taken.n; i++)
            copy_range(from, to, taken.ranges[i]);
    if (ftruncate(to, st->st_size) != 0)
        fail("truncate", path);
    close(from);
    close(to);
    free(taken.ranges);
}

/* ---- names that last ---- */

static void place_name(int dir_fd, const char *name, const char *at)
{
    char inode[PATH_MAX], fresh[PATH_MAX];
    struct stat a, b;
    if (!inode_path(dir_fd, name, inode))
        return; /* gone meanwhile */
    int fd = open(inode, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        fail("create", inode);
    close(fd);
    if (stat(at, &a) == 0 && stat(inode, &b) == 0 && a.st_ino == b.st_ino)
        return;
    snprintf(fresh, sizeof fresh, "%.4000s.%ld", inode, (long)gettid());
    if (link(inode, fresh) != 0 || rename(fresh, at) != 0)
        fail("link", at);
    unlink(fresh); /* rename leaves it where both were one file already */
}

static void remove_tree(const char *path)
{
    char below[PATH_MAX];
    DIR *dir = opendir(path);
    if (!dir) {
        unlink(path);
        return;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            snprintf(below, sizeof below, "%.3000s/%.255s", path, e->d_name);
            remove_tree(below);
        }
    }
    closedir(dir);
    rmdir(path);
}

static void forget_names(int dir_fd, const char *at)
{
    char path[PATH_MAX];
    struct stat st;
    DIR *dir = opendir(at);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.' && (!e->d_name[1] || strcmp(e->d_name, "..") == 0))
            continue;
        if (fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
            continue;
        snprintf(path, sizeof path, "%.3000s/%.255s", at, e->d_name);
        remove_tree(path);
    }
    if (dir)
        closedir(dir);
}

static void sync_dir(int fd)
{
    char self[64], real[PATH_MAX], at[PATH_MAX], path[PATH_MAX];
    struct stat st;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(self, real, sizeof real - 1);
    size_t root_len = strlen(root);
    if (n < 0)
        fail("readlink", self);
    real[n] = 0;
    if (strncmp(real, root, root_len) != 0 || (real[root_len] && real[root_len] != '/'))
        return;
    snprintf(at, sizeof at, "%.2000s/names%.2000s", shadow, real + root_len);
    if (access(at, F_OK) != 0)
        return; /* its own name does not last yet, so nothing in it does */
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again >= 0 ? fdopendir(again) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        snprintf(path, sizeof path, "%.3000s/%.255s", at, e->d_name);
        if (S_ISDIR(st.st_mode))
            mkdir(path, 0775);
        else if (S_ISREG(st.st_mode))
            place_name(fd, e->d_name, path);
    }
    if (dir)
        closedir(dir);
    forget_names(fd, at);
}

static int make_last(int fd)
{
    static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
    struct stat st;
    if (!active)
        return 0;
    if (fstat(fd, &st) != 0)
        return -1;
    if (S_ISREG(st.st_mode) && st.st_dev == root_dev) {
        sync_file(fd, &st);
    } else if (S_ISDIR(st.st_mode)) {
        pthread_mutex_lock(&names);
        sync_dir(fd);
        pthread_mutex_unlock(&names);
    }
    return 0;
}

int fsync(int fd)
{
    return make_last(fd);
}

int fdatasync(int fd)
{
    return make_last(fd);
}
