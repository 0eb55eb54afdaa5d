/* Folders of the disk store: made on first use and kept open, so that linking and syncing cost no
 * path walk. */
#include "storage/disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"

kv_err kv_disk_mkdir(int parent_fd, const char *name, int *ret_fd)
{
    *ret_fd = -1;
    if (mkdirat(parent_fd, name, 0775) != 0 && errno != EEXIST)
        return kv_err_from_errno(errno);
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kv_err_from_errno(errno);
    /* Not only when we made it: a process may have died between the two calls. Others' folders are
     * theirs, and so is what a link leads to. */
    struct stat st, entry;
    bool good = fstat(fd, &st) == 0 && fstatat(parent_fd, name, &entry, AT_SYMLINK_NOFOLLOW) == 0 &&
                (st.st_uid != geteuid() || st.st_ino != entry.st_ino || st.st_dev != entry.st_dev ||
                 (st.st_mode & 0777) == 0775 || fchmod(fd, (st.st_mode & 07000) | 0775) == 0);
    if (!good) {
        kv_err err = kv_err_from_errno(errno);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return KV_OK;
}

/* ---- the list; the lock is held ---- */

static void list_remove(kv_store *s, kv_folder *f)
{
    *(f->prev ? &f->prev->next : &s->newest) = f->next;
    *(f->next ? &f->next->prev : &s->oldest) = f->prev;
    f->next = f->prev = NULL;
    f->cached = false;
    s->folders--;
}

static void list_add(kv_store *s, kv_folder *f)
{
    f->next = s->newest;
    *(s->newest ? &s->newest->prev : &s->oldest) = f;
    s->newest = f;
    f->cached = true;
    s->folders++;
}

static kv_folder *list_find(kv_store *s, const char *path, size_t len)
{
    for (kv_folder *f = s->newest; f; f = f->next) {
        if (strncmp(f->path, path, len) == 0 && f->path[len] == '\0')
            return f;
    }
    return NULL;
}

static void unref(kv_folder *f)
{
    while (f) {
        assert(f->refs > 0);
        if (--f->refs > 0 || f->cached)
            return;
        kv_folder *parent = f->parent;
        close(f->fd);
        pthread_cond_destroy(&f->sync_free);
        pthread_cond_destroy(&f->sync_over[0]);
        pthread_cond_destroy(&f->sync_over[1]);
        free(f);
        f = parent;
    }
}

static void evict(kv_store *s, kv_folder *f)
{
    list_remove(s, f);
    f->refs++;
    unref(f);
}

static void trim(kv_store *s)
{
    for (kv_folder *f = s->oldest; f && s->folders > KV_DISK_FOLDERS;) {
        kv_folder *prev = f->prev;
        if (f->refs == 0)
            evict(s, f); /* never frees `prev`: what is in the list stays */
        f = prev;
    }
}

/* ---- get and put ---- */

static kv_err open_folder(kv_store *s, kv_folder *parent, const char *path, size_t len, bool create,
                          kv_folder **ret)
{
    kv_folder *f = calloc(1, sizeof *f + len + 1);
    if (!f)
        return KV_E_NO_MEMORY;
    memcpy(f->path, path, len);
    f->parent = parent;
    f->refs = 1;
    kv_err err = KV_OK;
    if (!parent) {
        f->fd = fcntl(s->root_fd, F_DUPFD_CLOEXEC, 0);
        f->durable = true; /* kv_store_open_config saw to it */
    } else if (create) {
        err = kv_disk_mkdir(parent->fd, kv_disk_base(f->path), &f->fd);
    } else {
        f->fd = openat(parent->fd, kv_disk_base(f->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (f->fd < 0) {
        err = err != KV_OK ? err : kv_err_from_errno(errno);
        free(f);
        return err;
    }
    pthread_cond_init(&f->sync_free, NULL);
    pthread_cond_init(&f->sync_over[0], NULL);
    pthread_cond_init(&f->sync_over[1], NULL);
    *ret = f;
    return KV_OK;
}

static kv_folder *lookup(kv_store *s, const char *path, size_t len)
{
    pthread_mutex_lock(&s->lock);
    kv_folder *f = list_find(s, path, len);
    if (f) {
        f->refs++;
        list_remove(s, f);
        list_add(s, f);
    }
    pthread_mutex_unlock(&s->lock);
    return f;
}

kv_err kv_folder_get(kv_store *s, const char *path, size_t len, bool create, kv_folder **ret)
{
    *ret = lookup(s, path, len);
    if (*ret)
        return KV_OK;
    kv_folder *parent = NULL, *f = NULL;
    if (len > 0) {
        size_t up = len;
        while (up > 0 && path[up - 1] != '/')
            up--;
        KV_TRY(kv_folder_get(s, path, up > 0 ? up - 1 : 0, create, &parent));
    }
    kv_err err = open_folder(s, parent, path, len, create, &f);
    if (err != KV_OK) {
        if (parent && err == KV_E_NOT_FOUND && create)
            kv_folder_forget(s, parent); /* removed under us; the caller tries again */
        if (parent)
            kv_folder_put(s, parent);
        return err;
    }
    assert(f && f->refs > 0);
    pthread_mutex_lock(&s->lock);
    kv_folder *other = list_find(s, path, len); /* another thread was faster */
    if (other) {
        other->refs++;
        unref(f);
        f = other;
    } else {
        list_add(s, f);
        trim(s);
    }
    pthread_mutex_unlock(&s->lock);
    *ret = f;
    return KV_OK;
}

void kv_folder_put(kv_store *s, kv_folder *f)
{
    pthread_mutex_lock(&s->lock);
    unref(f);
    pthread_mutex_unlock(&s->lock);
}

void kv_folder_forget(kv_store *s, kv_folder *f)
{
    pthread_mutex_lock(&s->lock);
    if (f->cached)
        list_remove(s, f);
    pthread_mutex_unlock(&s->lock);
}

void kv_folders_forget_below(kv_store *s, const char *path)
{
    size_t len = strlen(path);
    pthread_mutex_lock(&s->lock);
    for (kv_folder *f = s->newest; f;) {
        bool below =
            strncmp(f->path, path, len) == 0 && (f->path[len] == '\0' || f->path[len] == '/');
        kv_folder *next = f->next;
        if (below)
            evict(s, f); /* never frees `next`: what is in the list stays */
        f = next;
    }
    pthread_mutex_unlock(&s->lock);
}

void kv_folders_close(kv_store *s)
{
    while (s->oldest) {
        kv_folder *f = s->oldest;
        evict(s, f);
        assert(s->oldest != f);
    }
}

/* ---- sync ---- */

/* Adds the folder and every parent whose entry for it is new. Takes over the reference to f. */
static void collect(kv_store *s, kv_folder **list, size_t *n, kv_folder *f)
{
    pthread_mutex_lock(&s->lock);
    for (kv_folder *each = f; each; each = each->durable ? NULL : each->parent) {
        size_t i = 0;
        while (i < *n && list[i] != each)
            i++;
        if (i < *n)
            continue;
        each->refs++;
        list[(*n)++] = each;
    }
    assert(f->refs >= 2); /* the list has one of its own: this never frees */
    f->refs--;
    pthread_mutex_unlock(&s->lock);
}

/* The lock is held, but not during the sync. */
static void sync_now(kv_store *s, kv_folder *f)
{
    kv_err err = KV_OK;
    uint64_t number = ++f->syncs_begun;
    f->syncing = true;
    pthread_mutex_unlock(&s->lock);
    if (fsync(f->fd) != 0) {
        err = kv_err_from_errno(errno);
        kv_log(KV_LOG_ERROR, "folder_sync_failed", KV_STR("folder", f->path),
               KV_STR("error", strerror(errno)));
    }
    pthread_mutex_lock(&s->lock);
    f->syncing = false;
    f->syncs_over = number;
    if (err != KV_OK) {
        f->sync_failed = number;
        f->sync_err = err;
    }
    pthread_cond_broadcast(&f->sync_over[number & 1]);
    pthread_cond_signal(&f->sync_free);
}

/* A sync that begins from now on covers what the caller has done. One that runs already may not:
 * the first who comes meanwhile waits for it and begins the next one, for all who come until then.
 */
static kv_err sync_folder(kv_store *s, kv_folder *f)
{
    pthread_mutex_lock(&s->lock);
    uint64_t mine = f->syncs_begun + 1;
    if (f->next_waits) {
        while (f->syncs_over < mine)
            pthread_cond_wait(&f->sync_over[mine & 1], &s->lock);
    } else {
        f->next_waits = true;
        while (f->syncing)
            pthread_cond_wait(&f->sync_free, &s->lock);
        f->next_waits = false;
        sync_now(s, f);
    }
    kv_err err = mine <= f->sync_failed ? f->sync_err : KV_OK;
    pthread_mutex_unlock(&s->lock);
    return err;
}

kv_err kv_store_sync_folders(kv_store *s, const char *const *keys, size_t n)
{
    if (s->relaxed)
        return KV_OK;
    size_t len = 0;
    kv_err err = KV_OK;
    kv_folder **list = n > SIZE_MAX / sizeof *list / KV_DISK_DEPTH
                           ? NULL
                           : calloc(n * KV_DISK_DEPTH, sizeof *list);
    if (n > 0 && !list)
        return KV_E_NO_MEMORY;
    for (size_t i = 0; i < n && err == KV_OK; i++) {
        kv_folder *f;
        const char *base = kv_disk_base(keys[i]);
        if (!kv_disk_key_valid(keys[i]))
            err = KV_E_BAD_PARAMETER;
        else
            err = kv_folder_get(s, keys[i], base == keys[i] ? 0 : (size_t)(base - keys[i]) - 1,
                                false, &f);
        if (err == KV_OK)
            collect(s, list, &len, f);
        else if (err == KV_E_NOT_FOUND)
            err = KV_OK; /* removed meanwhile: there is no entry to keep */
    }
    for (size_t i = 0; i < len && err == KV_OK; i++)
        err = sync_folder(s, list[i]);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < len; i++) {
        list[i]->durable |= err == KV_OK;
        unref(list[i]);
    }
    pthread_mutex_unlock(&s->lock);
    free(list);
    return err;
}
