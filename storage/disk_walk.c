/* Walking the tree of the disk store: list, removal of a folder. */
#include "storage/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"

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

/* A folder that vanished meanwhile is nothing. */
static kv_err enter(kv_disk_walker *w, int at, const char *name)
{
    DIR *dir = open_dir(at, name);
    if (!dir)
        return errno == ENOENT || errno == ENOTDIR ? KV_OK : kv_err_from_errno(errno);
    w->dirs[w->depth] = dir;
    w->len[w->depth++] = strlen(w->path);
    return KV_OK;
}

static void leave(kv_disk_walker *w)
{
    closedir(w->dirs[--w->depth]);
}

static kv_err begin_at(kv_disk_walker *w, int at, const char *name, kv_disk_visit visit, void *arg)
{
    w->visit = visit;
    w->arg = arg;
    w->depth = 0;
    return enter(w, at, name);
}

static kv_err look_at(kv_disk_walker *w, DIR *dir, size_t len, const struct dirent *e)
{
    if (is_dots(e->d_name) || (len == 0 && strcmp(e->d_name, KV_DISK_TMP) == 0))
        return KV_OK;
    size_t room = sizeof w->path - len;
    unsigned char type = type_of(dirfd(dir), e);
    if (type == DT_REG && strlen(e->d_name) < room) {
        memcpy(w->path + len, e->d_name, strlen(e->d_name) + 1);
        if (!w->visit(w->arg, dirfd(dir), w->path, e))
            kv_disk_walk_end(w);
    } else if (type == DT_DIR && w->depth <= KV_DISK_DEPTH && strlen(e->d_name) + 1 < room) {
        snprintf(w->path + len, room, "%s/", e->d_name);
        return enter(w, dirfd(dir), e->d_name);
    }
    return KV_OK;
}

kv_err kv_disk_walk_begin(kv_disk_walker *w, kv_store *store, const char *folder,
                          kv_disk_visit visit, void *arg)
{
    w->path[0] = '\0';
    if (folder[0])
        snprintf(w->path, sizeof w->path, "%s/", folder);
    return begin_at(w, store->root_fd, folder[0] ? folder : ".", visit, arg);
}

kv_err kv_disk_walk_on(kv_disk_walker *w, int entries)
{
    kv_err err = KV_OK;
    for (; err == KV_OK && w->depth > 0 && entries > 0; entries--) {
        DIR *dir = w->dirs[w->depth - 1];
        size_t len = w->len[w->depth - 1];
        w->path[len] = '\0';
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e)
            err = look_at(w, dir, len, e);
        else if (errno != 0)
            err = kv_err_from_errno(errno);
        else
            leave(w);
    }
    return err;
}

void kv_disk_walk_end(kv_disk_walker *w)
{
    while (w->depth > 0)
        leave(w);
}

static kv_err walk_all(kv_disk_walker *w)
{
    kv_err err = KV_OK;
    while (err == KV_OK && w->depth > 0)
        err = kv_disk_walk_on(w, INT_MAX);
    kv_disk_walk_end(w);
    return err;
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
    kv_disk_walker w;
    KV_TRY(kv_disk_walk_begin(&w, store, folder, list_one, &l));
    return walk_all(&w);
}

/* ---- without a database ---- */

typedef struct file_id {
    dev_t dev;
    ino_t ino;
} file_id;

typedef struct search {
    kv_buf begun; /* file_id, of what is named in .tmp */
    bool found;
} search;

static bool id_of(int dir_fd, const struct dirent *e, file_id *ret)
{
    struct stat st;
    memset(ret, 0, sizeof *ret);
    if (fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    ret->dev = st.st_dev;
    ret->ino = st.st_ino;
    return true;
}

static bool add_begun(void *arg, int dir_fd, const char *key, const struct dirent *e)
{
    search *s = arg;
    file_id id;
    (void)key;
    if (id_of(dir_fd, e, &id))
        kv_buf_add(&s->begun, &id, sizeof id);
    return true;
}

/* Objects lie in folders, and one that no database confirmed still has its name in .tmp, too. How
 * many names it has says nothing: a backup may have given it one more. */
static bool look_for_confirmed(void *arg, int dir_fd, const char *key, const struct dirent *e)
{
    search *s = arg;
    file_id id;
    if (!strchr(key, '/') || !kv_disk_key_valid(key) || !id_of(dir_fd, e, &id))
        return true;
    s->found = true;
    for (size_t i = 0; i < s->begun.len && s->found; i += sizeof id)
        s->found = memcmp(s->begun.data + i, &id, sizeof id) != 0;
    return !s->found;
}

bool kv_store_outlived(const kv_config *cfg)
{
    search s = {.found = false};
    kv_disk_walker w = {.depth = 0};
    int fd = open(cfg->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* opened by its name, for it may be a link to another disk */
    int root = fd < 0 ? -1 : openat(fd, KV_DISK_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kv_buf_init(&s.begun, 0);
    if (root >= 0 && begin_at(&w, root, KV_DISK_TMP, add_begun, &s) == KV_OK)
        (void)walk_all(&w);
    w.path[0] = '\0';
    if (root >= 0 && begin_at(&w, root, ".", look_for_confirmed, &s) == KV_OK)
        (void)walk_all(&w);
    if (root >= 0)
        close(root);
    if (fd >= 0)
        close(fd);
    kv_buf_release(&s.begun);
    return s.found;
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
