/* The sweep: temporary files of processes that died.
 *
 * A live writer holds flock on its file, so a file whose lock can be had belongs to nobody. If it
 * has no other name it goes. If it was linked to a key, its upload died between that and the
 * answer: the row decides. Another upload of the same bytes may be relying on that key without a
 * row yet; it has set the mtime (disk_put.c). So the key is taken away first, then the mtime is
 * looked at again, and the key is put back if it was claimed in between.
 *
 * A mark is a name of an object that was here before its upload. Nobody holds its lock; the judge
 * knows the uploads that live. */
#include "storage/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

enum { BATCH = 64 }; /* files with a link looked up in one walk of the tree */

typedef struct leftover {
    int fd; /* holds the lock */
    struct stat st;
    char name[32];
    bool mark;
    bool undecided; /* one of its keys */
} leftover;

struct kv_sweep {
    kv_store *store;
    DIR *tmp;
    int64_t min_age_ms;
    kv_key_fate (*judge)(void *arg, const char *key);
    void *arg;
    kv_sweep_result result;
    leftover batch[BATCH];
    size_t batched;
    bool all;            /* names of `tmp` were seen */
    bool walking;        /* for the batch */
    kv_disk_walker walk; /* of the objects */
};

static int64_t ms_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool is_young(const kv_sweep *s, const struct stat *st)
{
    return kv_wall_ms(&kv_clock_real) - ms_of(st->st_ctim) < s->min_age_ms;
}

static void drop_name(kv_sweep *s, const char *name)
{
    if (unlinkat(s->store->tmp_fd, name, 0) == 0)
        s->result.removed++;
    else if (errno != ENOENT)
        kv_log(KV_LOG_ERROR, "sweep_failed", KV_STR("name", name),
               KV_STR("error", strerror(errno)));
}

/* ---- linked ones ---- */

/* Takes the key away unless somebody claims it. Where that fails the temporary name stays, for the
 * next sweep to try again. */
static void remove_orphan(kv_sweep *s, leftover *l, int dir_fd, const char *key, const char *base)
{
    struct stat now;
    if (unlinkat(dir_fd, base, 0) != 0) {
        if (errno == ENOENT)
            return;
        l->undecided = true;
        kv_log(KV_LOG_ERROR, "orphan_left", KV_STR("key", key), KV_STR("error", strerror(errno)));
        return;
    }
    bool claimed = fstat(l->fd, &now) != 0 || now.st_mtim.tv_sec != l->st.st_mtim.tv_sec ||
                   now.st_mtim.tv_nsec != l->st.st_mtim.tv_nsec;
    if (claimed && linkat(s->store->tmp_fd, l->name, dir_fd, base, 0) != 0 && errno != EEXIST) {
        kv_log(KV_LOG_ERROR, "orphan_relink_failed", KV_STR("key", key),
               KV_STR("error", strerror(errno)));
        return;
    }
    /* What is durable of this must not be the end of the temporary name alone. */
    if (!s->store->relaxed && fsync(dir_fd) != 0)
        l->undecided = true;
    if (claimed) {
        l->undecided |= l->mark; /* it may have been another key of that object */
        return;
    }
    s->result.orphans++;
    kv_log(KV_LOG_INFO, "orphan_removed", KV_STR("key", key), KV_STR("uploadId", l->name));
}

static bool look_at_key(void *arg, int dir_fd, const char *key, const struct dirent *e)
{
    kv_sweep *s = arg;
    for (size_t i = 0; i < s->batched; i++) {
        leftover *l = &s->batch[i];
        struct stat st;
        if (e->d_ino != l->st.st_ino || fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (st.st_ino != l->st.st_ino || st.st_dev != l->st.st_dev)
            continue;
        kv_key_fate fate = s->judge(s->arg, key);
        l->undecided |= fate == KV_KEY_LATER;
        if (fate == KV_KEY_GOES)
            remove_orphan(s, l, dir_fd, key, e->d_name);
    }
    return true;
}

/* The walk has been everywhere, or failed. */
static void settle_batch(kv_sweep *s, bool walked)
{
    for (size_t i = 0; i < s->batched; i++) {
        if (!walked || s->batch[i].undecided) /* the next sweep looks again */
            s->result.later++;
        else
            drop_name(s, s->batch[i].name);
        close(s->batch[i].fd);
    }
    s->batched = 0;
    s->walking = false;
}

static kv_err walk_on(kv_sweep *s, int entries)
{
    kv_err err = KV_OK;
    if (!s->walking)
        err = kv_disk_walk_begin(&s->walk, s->store, "", look_at_key, s);
    s->walking = err == KV_OK;
    if (err == KV_OK)
        err = kv_disk_walk_on(&s->walk, entries);
    if (err != KV_OK || s->walk.depth == 0) {
        kv_disk_walk_end(&s->walk);
        settle_batch(s, err == KV_OK);
    }
    return err;
}

/* ---- the folder ---- */

static void sweep_one(kv_sweep *s, const char *name)
{
    struct stat st;
    int fd = openat(s->store->tmp_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return; /* gone, or nothing of ours */
    bool mark = name[strlen(name) - 1] == KV_DISK_MARK;
    bool ours =
        (mark || flock(fd, LOCK_EX | LOCK_NB) == 0) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (ours && st.st_nlink >= 2 && is_young(s, &st)) {
        s->result.later++;
    } else if (ours && st.st_nlink >= 2) {
        leftover *l = &s->batch[s->batched++];
        l->fd = fd;
        l->st = st;
        l->mark = mark;
        l->undecided = false;
        memcpy(l->name, name, strlen(name) + 1);
        return;
    } else if (ours && st.st_nlink == 1) {
        drop_name(s, name);
    }
    close(fd);
}

static kv_err next_name(kv_sweep *s)
{
    errno = 0;
    const struct dirent *e = readdir(s->tmp);
    s->all = !e;
    if (!e)
        return errno ? kv_err_from_errno(errno) : KV_OK;
    if (e->d_name[0] != '.' && strlen(e->d_name) < sizeof s->batch[0].name)
        sweep_one(s, e->d_name);
    return KV_OK;
}

kv_err kv_sweep_begin(kv_store *store, int64_t min_age_ms,
                      kv_key_fate (*judge)(void *arg, const char *key), void *arg, kv_sweep **ret)
{
    kv_sweep *s = *ret = calloc(1, sizeof *s);
    if (!s)
        return KV_E_NO_MEMORY;
    s->store = store;
    s->min_age_ms = min_age_ms;
    s->judge = judge;
    s->arg = arg;
    int fd = openat(store->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    s->tmp = fd >= 0 ? fdopendir(fd) : NULL;
    if (s->tmp)
        return KV_OK;
    kv_err err = kv_err_from_errno(errno);
    if (fd >= 0)
        close(fd);
    free(s);
    *ret = NULL;
    return err;
}

kv_err kv_sweep_on(kv_sweep *s, int entries, bool *ret_done)
{
    kv_err err = KV_OK;
    for (; err == KV_OK && entries > 0 && s->batched < BATCH && !s->all; entries--)
        err = next_name(s);
    if (err == KV_OK && entries > 0 && s->batched > 0)
        err = walk_on(s, entries);
    *ret_done = err != KV_OK || (s->all && s->batched == 0);
    return err;
}

void kv_sweep_end(kv_sweep **self, kv_sweep_result *ret)
{
    kv_sweep *s = *self;
    if (s->walking)
        kv_disk_walk_end(&s->walk);
    settle_batch(s, false);
    closedir(s->tmp);
    *ret = s->result;
    free(s);
    *self = NULL;
}
