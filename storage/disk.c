/* The disk store: opening it, keys, reading and deleting objects. */
#include "storage/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/log.h"

/* ---- keys ---- */

static bool key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* Parts of 1..255 characters joined by "/", no "..", the first one not ".tmp". */
bool kv_disk_folder_valid(const char *path, size_t len)
{
    size_t part = 0, parts = 1;
    if (len == 0 || len > KV_KEY_MAX)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && path[i] != '/') {
            if (!key_char(path[i]) || (path[i] == '.' && i > part && path[i - 1] == '.'))
                return false;
            continue;
        }
        size_t n = i - part;
        if (n == 0 || n > 255 || (n == 1 && path[part] == '.'))
            return false;
        if (part == 0 && n == sizeof KV_DISK_TMP - 1 && memcmp(path, KV_DISK_TMP, n) == 0)
            return false;
        parts += i < len;
        part = i + 1;
    }
    return parts < KV_DISK_DEPTH;
}

bool kv_disk_key_valid(const char *key)
{
    return kv_disk_folder_valid(key, strnlen(key, KV_KEY_MAX + 1));
}

const char *kv_disk_base(const char *key)
{
    const char *slash = strrchr(key, '/');
    return slash ? slash + 1 : key;
}

/* ---- open and close ---- */

/* Every upload gets its name by a hard link. What only a missing disk space or a full folder
 * hinders is no reason not to start. */
static kv_err check_links(const kv_store *s, const char *data)
{
    char name[32], other[33];
    snprintf(name, sizeof name, "links%d", (int)gettid());
    snprintf(other, sizeof other, "%s+", name);
    int fd = openat(s->tmp_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return KV_OK;
    close(fd);
    bool none = linkat(s->tmp_fd, name, s->tmp_fd, other, 0) != 0 &&
                (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS);
    (void)unlinkat(s->tmp_fd, other, 0); /* a sweep takes what is left */
    (void)unlinkat(s->tmp_fd, name, 0);
    if (none)
        kv_log(KV_LOG_ERROR, "no_hard_links", KV_STR("path", data),
               KV_STR("what", "its file system has no hard links: put KERVAN_DATA on ext4, XFS, "
                              "Btrfs or the like"));
    return none ? KV_E_UNSUPPORTED : KV_OK;
}

static kv_err open_root(kv_store *s, const char *data)
{
    int data_fd = -1;
    kv_err err = KV_OK;
    /* its mode says who may look into it, and is not ours to change */
    if ((mkdir(data, 0755) != 0 && errno != EEXIST) ||
        (data_fd = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        err = kv_err_from_errno(errno);
    if (err == KV_OK)
        err = kv_disk_mkdir(data_fd, KV_DISK_ROOT, &s->root_fd);
    if (err == KV_OK)
        err = kv_disk_mkdir(s->root_fd, KV_DISK_TMP, &s->tmp_fd);
    if (err == KV_OK && fstat(s->root_fd, &s->root) != 0)
        err = kv_err_from_errno(errno);
    /* From here on only folders below the root are new. */
    if (err == KV_OK && !s->relaxed && (fsync(data_fd) != 0 || fsync(s->root_fd) != 0))
        err = kv_err_from_errno(errno);
    if (err != KV_OK)
        kv_log(KV_LOG_ERROR, "media_folder", KV_STR("path", data), KV_ERRNAME("code", err),
               KV_STR("error", strerror(errno)));
    if (data_fd >= 0)
        close(data_fd);
    return err;
}

kv_err kv_store_open_config(const kv_config *cfg, kv_store **ret)
{
    *ret = NULL;
    if (cfg->use_s3)
        return KV_E_UNSUPPORTED;
    kv_store *s = calloc(1, sizeof *s);
    if (!s)
        return KV_E_NO_MEMORY;
    s->root_fd = s->tmp_fd = -1;
    s->relaxed = kv_slice_is(kv_slice_str(cfg->durability), "relaxed");
    pthread_mutex_init(&s->lock, NULL);
    kv_err err =
        asprintf(&s->root_path, "%s/%s", cfg->data, KV_DISK_ROOT) > 0 ? KV_OK : KV_E_NO_MEMORY;
    if (err == KV_OK)
        err = open_root(s, cfg->data);
    else
        s->root_path = NULL;
    if (err == KV_OK)
        err = check_links(s, cfg->data);
    if (err != KV_OK) {
        kv_store_close(&s);
        return err;
    }
    *ret = s;
    return KV_OK;
}

void kv_store_close(kv_store **store)
{
    kv_store *s = *store;
    if (!s)
        return;
    kv_folders_close(s);
    if (s->tmp_fd >= 0)
        close(s->tmp_fd);
    if (s->root_fd >= 0)
        close(s->root_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->root_path);
    free(s);
    *store = NULL;
}

kv_err kv_store_in_place(kv_store *s)
{
    struct stat st;
    if (stat(s->root_path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? KV_E_MEDIA_MOVED : kv_err_from_errno(errno);
    return st.st_dev == s->root.st_dev && st.st_ino == s->root.st_ino ? KV_OK : KV_E_MEDIA_MOVED;
}

kv_err kv_disk_renew_tmp(kv_store *s)
{
    int fd = -1;
    pthread_mutex_lock(&s->lock);
    kv_err err = kv_disk_mkdir(s->root_fd, KV_DISK_TMP, &fd);
    if (err == KV_OK && ((!s->relaxed && fsync(s->root_fd) != 0) ||
                         dup3(fd, s->tmp_fd, O_CLOEXEC) < 0)) /* the number stays */
        err = kv_err_from_errno(errno);
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0)
        close(fd);
    kv_log(KV_LOG_WARN, "tmp_folder_renewed", KV_STR("path", s->root_path),
           KV_ERRNAME("code", err));
    return err;
}

unsigned kv_store_flags(const kv_store *store)
{
    (void)store;
    return KV_STORE_LINKS | KV_STORE_LOCAL_FD;
}

kv_space kv_store_space(kv_store *store)
{
    struct statvfs v;
    return fstatvfs(store->root_fd, &v) == 0 ? kv_space_of(&v) : (kv_space){-1, -1};
}

/* ---- objects ---- */

kv_object_info kv_disk_info(const struct stat *st)
{
    return (kv_object_info){.size = (uint64_t)st->st_size,
                            .mtime_ms =
                                (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000};
}

static kv_err lookup_error(int e)
{
    return e == ENOENT || e == ENOTDIR || e == ELOOP ? KV_E_NOT_FOUND : kv_err_from_errno(e);
}

/* What is not there is no news: it may have been deleted a moment ago. */
static kv_err read_failed(const char *key, int e)
{
    kv_err err = lookup_error(e);
    if (err != KV_E_NOT_FOUND)
        kv_log(KV_LOG_ERROR, "object_unreadable", KV_STR("key", key), KV_STR("error", strerror(e)));
    return err;
}

kv_err kv_store_head(kv_store *store, const char *key, kv_object_info *ret)
{
    struct stat st;
    if (!kv_disk_key_valid(key))
        return KV_E_BAD_PARAMETER;
    if (fstatat(store->root_fd, key, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return read_failed(key, errno);
    if (!S_ISREG(st.st_mode))
        return KV_E_NOT_FOUND;
    *ret = kv_disk_info(&st);
    return KV_OK;
}

kv_err kv_store_open(kv_store *store, const char *key, int *ret_fd, kv_object_info *ret)
{
    *ret_fd = -1;
    if (!kv_disk_key_valid(key))
        return KV_E_BAD_PARAMETER;
    int fd = openat(store->root_fd, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return read_failed(key, errno);
    struct stat st;
    kv_err err = fstat(fd, &st) != 0   ? read_failed(key, errno)
                 : S_ISREG(st.st_mode) ? KV_OK
                                       : KV_E_NOT_FOUND;
    if (err != KV_OK) {
        close(fd);
        return err;
    }
    *ret = kv_disk_info(&st);
    *ret_fd = fd;
    return KV_OK;
}

kv_err kv_store_read(kv_store *store, const char *key, uint64_t offset, void *buf, size_t len,
                     size_t *ret_len)
{
    *ret_len = 0;
    int fd;
    kv_object_info info;
    KV_TRY(kv_store_open(store, key, &fd, &info));
    kv_err err = offset > INT64_MAX - len ? KV_E_BAD_PARAMETER : KV_OK;
    while (err == KV_OK && *ret_len < len) {
        ssize_t n = pread(fd, (char *)buf + *ret_len, len - *ret_len, (off_t)(offset + *ret_len));
        if (n > 0)
            *ret_len += (size_t)n;
        else if (n == 0)
            break;
        else if (errno != EINTR)
            err = read_failed(key, errno);
    }
    close(fd);
    return err;
}

kv_err kv_store_delete(kv_store *store, const char *key)
{
    if (!kv_disk_key_valid(key))
        return KV_E_BAD_PARAMETER;
    if (unlinkat(store->root_fd, key, 0) == 0 || errno == ENOENT || errno == ENOTDIR)
        return KV_OK;
    kv_err err = kv_err_from_errno(errno);
    kv_log(KV_LOG_ERROR, "delete_failed", KV_STR("key", key), KV_STR("error", strerror(errno)));
    return err;
}
