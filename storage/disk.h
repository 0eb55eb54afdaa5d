/* What the files of the disk store share; nobody else includes this. */
#ifndef KV_STORAGE_DISK_H
#define KV_STORAGE_DISK_H

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "storage/object.h"

enum {
    KV_KEY_MAX = 400,
    KV_DISK_FOLDERS = 256, /* open folders kept */
    KV_DISK_DEPTH = 16     /* folders inside one another, at most */
};
#define KV_DISK_ROOT "media" /* in the data folder */
#define KV_DISK_TMP  ".tmp"
#define KV_DISK_MARK '=' /* at the end of a name there: not a file that is written (disk_put.c) */

/* A folder that is there, held open. Free of `refs` it stays in the cache until others push it out.
 */
typedef struct kv_folder {
    struct kv_folder *next, *prev; /* newest first; both NULL outside the cache */
    struct kv_folder *parent;      /* counted in its refs; NULL for the root */
    int fd;
    unsigned refs;
    bool cached, durable; /* durable: its entry in the parent is on the medium */
    /* syncs of it are counted: those who come while one runs share the next one */
    bool syncing, next_waits; /* next_waits: somebody will begin the one behind it */
    uint64_t syncs_begun, syncs_over;
    pthread_cond_t sync_free, sync_over[2]; /* for that one; for others, by the number's last bit */
    uint64_t sync_failed;                   /* number of the last one that did; 0: none */
    kv_err sync_err;                        /* of that one */
    char path[];                            /* "banners/2026"; "" is the root */
} kv_folder;

struct kv_store {
    int root_fd, tmp_fd;
    char *root_path;
    struct stat root;       /* what it was when it was opened */
    atomic_llong looked_us; /* when it was last seen in its place by a put */
    bool relaxed;
    pthread_mutex_t lock; /* what follows, and refs, flags and counts of folders */
    kv_folder *newest, *oldest;
    unsigned folders;
};

/* Whether `key` names an object: parts of [a-z0-9._-], not in .tmp. */
bool kv_disk_key_valid(const char *key);
/* The same for a folder, without a slash at the end. */
bool kv_disk_folder_valid(const char *path, size_t len);
/* Where the last part of a key begins. */
const char *kv_disk_base(const char *key);

/* .tmp was removed under us: a new one, for all who hold it. */
kv_err kv_disk_renew_tmp(kv_store *store);

kv_object_info kv_disk_info(const struct stat *st);

/* disk_folders.c. Takes a reference to the folder `path[0..len)`. `create` makes what is missing,
 * mode 0775; else NOT_FOUND. */
kv_err kv_folder_get(kv_store *store, const char *path, size_t len, bool create, kv_folder **ret);
void kv_folder_put(kv_store *store, kv_folder *f);
/* It was found to be gone: nobody gets it from the cache again. */
void kv_folder_forget(kv_store *store, kv_folder *f);
void kv_folders_forget_below(kv_store *store,
                             const char *path); /* it and what is in it is being removed */
void kv_folders_close(kv_store *store);
/* Makes or finds a folder of media, mode 0775 whatever the umask, and opens it. */
kv_err kv_disk_mkdir(int parent_fd, const char *name, int *ret_fd);

/* disk_walk.c. Calls `visit` for each regular file below `folder` ("" the root, .tmp left out)
 * until it returns false. Any order; folders that vanish meanwhile are nothing. */
typedef bool (*kv_disk_visit)(void *arg, int dir_fd, const char *key, const struct dirent *entry);
typedef struct kv_disk_walker {
    kv_disk_visit visit;
    void *arg;
    DIR *dirs[KV_DISK_DEPTH + 1]; /* the folders that we are in */
    size_t len[KV_DISK_DEPTH + 1];
    int depth; /* of them; 0: the walk is over */
    char path[KV_KEY_MAX + 1];
} kv_disk_walker;
kv_err kv_disk_walk_begin(kv_disk_walker *w, kv_store *store, const char *folder,
                          kv_disk_visit visit, void *arg);
kv_err kv_disk_walk_on(kv_disk_walker *w, int entries); /* so many more; after an error: end it */
void kv_disk_walk_end(kv_disk_walker *w);

#endif
