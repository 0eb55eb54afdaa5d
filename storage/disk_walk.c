/* Walking the tree of the disk store: list, removal of a folder. */
#include "storage/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"

typedef struct walk {
    kv_disk_visit visit;
    void *arg;
    bool stopped;
    char path[KV_KEY_MAX +
              1]; /* of the folder in hand, with a slash at the end unless it is the root */
} walk;

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* File systems may leave d_type out. */
static unsigned char type_of(int dir_fd, const struct dirent *e)
{
    struct stat st;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type;
    if (fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return DT_UNKNOWN;
    return IFTODT(st.st_mode);
}

static DIR *open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

static kv_err walk_folder(walk *w, int at, const char *name, int depth)
{
    DIR *dir = open_dir(at, name);
    if (!dir)
        return errno == ENOENT || errno == ENOTDIR ? KV_OK : kv_err_from_errno(errno);
    size_t len = strlen(w->path);
    kv_err err = KV_OK;
    struct dirent *e;
    while (err == KV_OK && !w->stopped && (errno = 0, e = readdir(dir)) != NULL) {
        if (is_dots(e->d_name) || (len == 0 && strcmp(e->d_name, KV_DISK_TMP) == 0))
            continue;
        size_t room = sizeof w->path - len;
        unsigned char type = type_of(dirfd(dir), e);
        if (type == DT_REG && strlen(e->d_name) < room) {
            memcpy(w->path + len, e->d_name, strlen(e->d_name) + 1);
            w->stopped = !w->visit(w->arg, dirfd(dir), w->path, e);
        } else if (type == DT_DIR && depth < KV_DISK_DEPTH && strlen(e->d_name) + 1 < room) {
            snprintf(w->path + len, room, "%s/", e->d_name);
            err = walk_folder(w, dirfd(dir), e->d_name, depth + 1);
        }
        w->path[len] = '\0';
    }
    if (err == KV_OK && !w->stopped && errno != 0)
        err = kv_err_from_errno(errno);
    closedir(dir);
    return err;
}

kv_err kv_disk_walk(kv_store *store, const char *folder, kv_disk_visit visit, void *arg)
{
    walk w = {.visit = visit, .arg = arg};
    if (folder[0])
        snprintf(w.path, sizeof w.path, "%s/", folder);
    return walk_folder(&w, store->root_fd, folder[0] ? folder : ".", 0);
}

/* ---- list ---- */

typedef struct listing {
    bool (*fn)(void *arg, const char *key, const kv_object_info *i);
    void *arg;
    const char *prefix;
} listing;

static bool list_one(void *arg, int dir_fd, const char *key, const struct dirent *e)
{
    const listing *l = arg;
    struct stat st;
    if (strncmp(key, l->prefix, strlen(l->prefix)) != 0 || !kv_disk_key_valid(key))
        return true;
    if (fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return true; /* gone meanwhile */
    kv_object_info info = kv_disk_info(&st);
    return l->fn(l->arg, key, &info);
}

kv_err kv_store_list(kv_store *store, const char *prefix,
                     bool (*fn)(void *arg, const char *key, const kv_object_info *i), void *arg)
{
    char folder[KV_KEY_MAX + 1] = "";
    size_t len = (size_t)(kv_disk_base(prefix) - prefix);
    if (len > 0) { /* the folder whose slash comes last; the rest of the prefix only filters */
        if (!kv_disk_folder_valid(prefix, len - 1))
            return KV_E_BAD_PARAMETER;
        memcpy(folder, prefix, len - 1);
        folder[len - 1] = '\0';
    }
    listing l = {.fn = fn, .arg = arg, .prefix = prefix};
    return kv_disk_walk(store, folder, list_one, &l);
}

/* Objects lie in folders, and one that no database confirmed still has its name in .tmp, too. */
static bool look_for_confirmed(void *arg, int dir_fd, const char *key, const struct dirent *e)
{
    bool *found = arg;
    struct stat st;
    *found = strchr(key, '/') && kv_disk_key_valid(key) &&
             fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_nlink == 1;
    return !*found;
}

bool kv_store_outlived(const kv_config *cfg)
{
    bool found = false;
    walk w = {.visit = look_for_confirmed, .arg = &found};
    int fd = open(cfg->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    (void)walk_folder(&w, fd, KV_DISK_ROOT, 0);
    close(fd);
    return found;
}

/* ---- removing a folder ---- */

static kv_err remove_entries(DIR *dir, int depth);

static kv_err remove_entry(int dir_fd, const struct dirent *e, int depth)
{
    if (unlinkat(dir_fd, e->d_name, 0) == 0 || errno == ENOENT)
        return KV_OK;
    if (errno != EISDIR && errno != EPERM)
        return kv_err_from_errno(errno);
    if (depth >= KV_DISK_DEPTH)
        return KV_E_IO;
    DIR *dir = open_dir(dir_fd, e->d_name);
    if (!dir)
        return errno == ENOENT ? KV_OK : kv_err_from_errno(errno);
    kv_err err = remove_entries(dir, depth + 1);
    closedir(dir);
    if (err == KV_OK && unlinkat(dir_fd, e->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        err = errno == ENOTEMPTY ? KV_E_BUSY : kv_err_from_errno(errno);
    return err;
}

static kv_err remove_entries(DIR *dir, int depth)
{
    struct dirent *e;
    while ((errno = 0, e = readdir(dir)) != NULL) {
        if (!is_dots(e->d_name))
            KV_TRY(remove_entry(dirfd(dir), e, depth));
    }
    return errno == 0 ? KV_OK : kv_err_from_errno(errno);
}

kv_err kv_store_delete_prefix(kv_store *store, const char *prefix)
{
    size_t len = strlen(prefix);
    if (len < 2 || prefix[len - 1] != '/' || !kv_disk_folder_valid(prefix, len - 1))
        return KV_E_BAD_PARAMETER;
    char folder[KV_KEY_MAX + 1];
    memcpy(folder, prefix, len - 1);
    folder[len - 1] = '\0';
    kv_folders_forget_below(store, folder);
    DIR *dir = open_dir(store->root_fd, folder);
    if (!dir)
        return errno == ENOENT || errno == ENOTDIR ? KV_OK : kv_err_from_errno(errno);
    kv_err err = remove_entries(dir, 1);
    closedir(dir);
    if (err == KV_OK && unlinkat(store->root_fd, folder, AT_REMOVEDIR) != 0 && errno != ENOENT)
        err = errno == ENOTEMPTY ? KV_E_BUSY : kv_err_from_errno(errno);
    if (err != KV_OK)
        kv_log(KV_LOG_WARN, "delete_prefix_failed", KV_STR("prefix", prefix),
               KV_ERRNAME("code", err));
    return err;
}
