/* An object being written on disk: .tmp/<id>, early write-back, sync, link to its keys. While an
 * object that was here before gets one more key, .tmp/<id>= is a name of that one. */
#include "storage/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/log.h"

/* Write-back begins every 8 MB. 1 GB with its fsync, ext4 on a virtual disk: 1,020..1,040 MB/s
 * without, 1,600..1,770 with. Not done, because measured: waiting for an earlier window, to bound
 * dirty pages (730..1,660 MB/s; they stay near 120 MB without); fallocate of the whole length
 * (1,760..2,060 MB/s but 380 MB of dirty pages, and a cost for each small file). */
#define WRITE_BACK_EVERY ((uint64_t)8 << 20)

enum { LOOK_US = 50000 }; /* at the name of the media folder */

struct kv_put {
    kv_store *store;
    int fd;
    uint64_t size, written_back; /* written_back: write-back was begun up to here */
    bool synced;                 /* nothing was written since the last sync */
    atomic_bool marked;          /* there is .tmp/<id>=; another thread may finish the put */
    kv_err failed;               /* the first error; the object is of no use after it */
    char name[KV_ID_TEXT + 1];
};

static kv_err put_failed(kv_put *put, int e, const char *what)
{
    if (put->failed == KV_OK) {
        put->failed = e == ENOENT ? KV_E_IO : kv_err_from_errno(e); /* 404 says nothing here */
        kv_log(KV_LOG_ERROR, "store_failed", KV_STR("uploadId", put->name), KV_STR("what", what),
               KV_STR("error", strerror(e)), KV_U64("size", put->size),
               KV_ERRNAME("code", put->failed));
    }
    return put->failed;
}

/* Makes and locks the temporary file. A sweep may hold its lock, or have removed it, before we have
 * ours: then once more. */
static kv_err make_temporary(kv_put *put)
{
    for (;;) {
        struct stat st;
        int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
        put->fd = openat(put->store->tmp_fd, put->name, flags, 0644);
        if (put->fd < 0 && errno == ENOENT) { /* .tmp is gone */
            if (kv_disk_renew_tmp(put->store) != KV_OK)
                return put_failed(put, ENOENT, "open");
            put->fd = openat(put->store->tmp_fd, put->name, flags, 0644);
        }
        if (put->fd < 0)
            return errno == EEXIST ? KV_E_CONFLICT : put_failed(put, errno, "open");
        int locked;
        while ((locked = flock(put->fd, LOCK_EX)) != 0 && errno == EINTR)
            ;
        /* under a tight umask the mode is another one */
        if (locked != 0 || fstat(put->fd, &st) != 0 ||
            ((st.st_mode & 0777) != 0644 && fchmod(put->fd, 0644) != 0))
            return put_failed(put, errno, "open");
        if (st.st_nlink > 0)
            return KV_OK;
        close(put->fd);
    }
}

static kv_err look_in_place(kv_store *s)
{
    int64_t now = kv_mono_us(&kv_clock_real);
    if (now - atomic_load(&s->looked_us) < LOOK_US)
        return KV_OK;
    KV_TRY(kv_store_in_place(s));
    atomic_store(&s->looked_us, now);
    return KV_OK;
}

kv_err kv_put_begin(kv_store *store, uint64_t id, uint64_t length_hint, kv_put **ret)
{
    (void)length_hint; /* see WRITE_BACK_EVERY */
    *ret = NULL;
    KV_TRY(look_in_place(store));
    kv_put *put = calloc(1, sizeof *put);
    if (!put)
        return KV_E_NO_MEMORY;
    put->store = store;
    kv_id_format(id, put->name);
    kv_err err = make_temporary(put);
    if (err == KV_OK) {
        *ret = put;
        return KV_OK;
    }
    if (put->fd >= 0)
        kv_put_abort(&put);
    free(put);
    return err;
}

/* ---- bytes ---- */

kv_err kv_put_start_sync(kv_put *put)
{
    if (put->failed != KV_OK || put->store->relaxed || put->written_back == put->size)
        return put->failed;
    off_t from = (off_t)put->written_back, len = (off_t)(put->size - put->written_back);
    if (sync_file_range(put->fd, from, len, SYNC_FILE_RANGE_WRITE) != 0)
        return put_failed(put, errno, "write-back");
    put->written_back = put->size;
    return KV_OK;
}

kv_err kv_put_write(kv_put *put, const void *bytes, size_t len)
{
    if (put->failed != KV_OK)
        return put->failed;
    const char *at = bytes;
    put->synced = false;
    while (len > 0) {
        ssize_t n = write(put->fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return put_failed(put, n < 0 ? errno : ENOSPC, "write");
        at += n;
        len -= (size_t)n;
        put->size += (uint64_t)n;
    }
    return put->size - put->written_back >= WRITE_BACK_EVERY ? kv_put_start_sync(put) : KV_OK;
}

kv_err kv_put_sync(kv_put *put)
{
    if (put->failed != KV_OK || put->store->relaxed || put->synced)
        return put->failed;
    if (fsync(put->fd) != 0)
        return put_failed(put, errno, "sync");
    put->synced = true;
    return KV_OK;
}

uint64_t kv_put_size(const kv_put *put)
{
    return put->size;
}

/* ---- keys ---- */

/* Our file takes the place of the one under this key. */
static int replace(kv_put *put, kv_folder *folder, const char *base)
{
    char name[sizeof put->name + 1];
    snprintf(name, sizeof name, "%s+", put->name);
    if (linkat(put->store->tmp_fd, put->name, put->store->tmp_fd, name, 0) != 0)
        return -1;
    int rc = renameat(put->store->tmp_fd, name, folder->fd, base);
    int e = errno;
    if (rc != 0)
        unlinkat(put->store->tmp_fd, name, 0);
    errno = e;
    return rc;
}

/* A file that cannot hold these bytes: left by a power cut under DURABILITY=relaxed. */
static int replace_torn(kv_put *put, kv_folder *folder, const char *base)
{
    kv_log(KV_LOG_WARN, "torn_object_replaced", KV_STR("folder", folder->path),
           KV_STR("name", base));
    return replace(put, folder, base);
}

static void mark_name(const kv_put *put, char name[sizeof put->name + 1])
{
    snprintf(name, sizeof put->name + 1, "%s%c", put->name, KV_DISK_MARK);
}

static void unmark(kv_put *put)
{
    char name[sizeof put->name + 1];
    mark_name(put, name);
    if (put->marked && unlinkat(put->store->tmp_fd, name, 0) != 0 && errno != ENOENT)
        kv_log(KV_LOG_ERROR, "temporary_file_left", KV_STR("uploadId", put->name),
               KV_STR("error", strerror(errno)));
    put->marked = false;
}

/* Should we die before the key has its row, a sweep finds it by this name: its bytes are in another
 * file than ours. */
static int mark(kv_put *put, int folder_fd, const char *base)
{
    char name[sizeof put->name + 1];
    unmark(put);
    mark_name(put, name);
    int rc = linkat(folder_fd, base, put->store->tmp_fd, name, 0);
    put->marked = rc == 0;
    return rc;
}

/* The key is there already, which is success. While another temporary name holds that inode its
 * upload may fail and take that name along, so it gets one of ours; and a sweep may be about to
 * judge it: the new mtime tells it that the key has been claimed again (disk_sweep.c). A file that
 * has all the names it may have (65,000 on ext4) gets none: ours, once it is durable, takes its
 * place. -1: ENOENT, it has just gone. */
static int claim_existing(kv_put *put, kv_folder *folder, const char *base, bool *existed)
{
    struct stat st;
    if (fstatat(folder->fd, base, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != put->size)
        return replace_torn(put, folder, base);
    *existed = true;
    if (st.st_nlink < 2)
        return 0;
    if (mark(put, folder->fd, base) == 0)
        return utimensat(folder->fd, base, NULL, AT_SYMLINK_NOFOLLOW);
    *existed = false;
    return errno == EMLINK && (put->synced || put->store->relaxed) ? replace(put, folder, base)
                                                                   : -1;
}

/* What gets the new name: the temporary file, or a key that holds the same bytes. */
typedef struct link_source {
    int folder_fd;
    const char *name;
} link_source;

static int link_once(kv_put *put, link_source from, kv_folder *folder, const char *base,
                     bool *existed)
{
    *existed = false;
    if (linkat(from.folder_fd, from.name, folder->fd, base, 0) == 0)
        return 0;
    return errno == EEXIST ? claim_existing(put, folder, base, existed) : -1;
}

static kv_err link_source_to(kv_put *put, link_source from, const char *key, bool *existed)
{
    *existed = false;
    if (!kv_disk_key_valid(key))
        return KV_E_BAD_PARAMETER;
    if (put->failed != KV_OK)
        return put->failed;
    const char *base = kv_disk_base(key);
    size_t len = base == key ? 0 : (size_t)(base - key) - 1;
    /* A folder may be removed between finding it and linking into it; each round forgets one that
     * was. */
    for (int tries = 0; tries < 4 * KV_DISK_DEPTH; tries++) {
        kv_folder *folder;
        kv_err err = kv_folder_get(put->store, key, len, true, &folder);
        if (err == KV_E_NOT_FOUND)
            continue;
        if (err != KV_OK) {
            kv_log(KV_LOG_ERROR, "folder_failed", KV_STR("key", key), KV_ERRNAME("code", err));
            return err;
        }
        int rc = link_once(put, from, folder, base, existed), e = errno;
        if (rc != 0 && e == ENOENT)
            kv_folder_forget(put->store, folder);
        kv_folder_put(put->store, folder);
        if (rc == 0)
            return KV_OK;
        if (e != ENOENT) {
            kv_log(KV_LOG_ERROR, "link_failed", KV_STR("key", key), KV_STR("error", strerror(e)));
            return kv_err_from_errno(e);
        }
    }
    kv_log(KV_LOG_ERROR, "link_failed", KV_STR("key", key), KV_STR("uploadId", put->name));
    return KV_E_IO;
}

kv_err kv_put_link(kv_put *put, const char *key, bool *ret_existed)
{
    bool existed;
    kv_err err = link_source_to(put, (link_source){put->store->tmp_fd, put->name}, key, &existed);
    if (ret_existed)
        *ret_existed = err == KV_OK && existed;
    return err;
}

static kv_err link_by_mark(kv_put *put, int folder_fd, const char *base, const char *key,
                           bool *existed)
{
    char name[sizeof put->name + 1];
    if (mark(put, folder_fd, base) != 0)
        return kv_err_from_errno(errno);
    mark_name(put, name);
    return link_source_to(put, (link_source){put->store->tmp_fd, name}, key, existed);
}

kv_err kv_put_link_same(kv_put *put, const char *from_key, const char *key, bool *ret_existed)
{
    if (!kv_disk_key_valid(from_key))
        return KV_E_BAD_PARAMETER;
    const char *base = kv_disk_base(from_key);
    kv_folder *folder;
    if (base == from_key ||
        kv_folder_get(put->store, from_key, (size_t)(base - from_key) - 1, false, &folder) != KV_OK)
        return KV_E_NOT_FOUND;
    struct stat st;
    bool existed = false;
    kv_err err = KV_E_NOT_FOUND;
    if (fstatat(folder->fd, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        (uint64_t)st.st_size == put->size)
        err = link_by_mark(put, folder->fd, base, key, &existed);
    kv_folder_put(put->store, folder);
    if (ret_existed)
        *ret_existed = err == KV_OK && existed;
    return err;
}

static void put_close(kv_put **putp)
{
    close((*putp)->fd);
    free(*putp);
    *putp = NULL;
}

void kv_put_finish(kv_put **putp)
{
    kv_put *put = *putp;
    if (!put)
        return;
    /* The name goes first, then (closing) the lock. */
    if (unlinkat(put->store->tmp_fd, put->name, 0) != 0 && errno != ENOENT)
        kv_log(KV_LOG_ERROR, "temporary_file_left", KV_STR("uploadId", put->name),
               KV_STR("error", strerror(errno)));
    unmark(put);
    put_close(putp);
}

void kv_put_leave(kv_put **putp)
{
    kv_put *put = *putp;
    struct stat st;
    if (!put || fstat(put->fd, &st) != 0 || (st.st_nlink < 2 && !put->marked))
        kv_put_finish(putp);
    else
        put_close(putp);
}

void kv_put_abort(kv_put **put)
{
    kv_put_finish(put);
}
