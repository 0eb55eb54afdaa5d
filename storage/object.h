/* Objects: bytes under a key. Disk now; S3 fits behind the same header and the same test suite.
 *
 * Keys are relative paths ("banners/<hash>.jpg", ".variants/<id>/w640-….webp"): parts of
 * [a-z0-9._-], no "..", at most 400 bytes. Any thread may use one store; one kv_put belongs to one
 * thread at a time (it may be handed on). Disk: root $KERVAN_DATA/media, temporary files in
 * $KERVAN_DATA/media/.tmp (same file system, never served), files 0644, folders 0775 whatever the
 * umask. A temporary file is held with flock(2), so a sweep can tell a live one from one left by a
 * dead process. */
#ifndef KV_STORAGE_OBJECT_H
#define KV_STORAGE_OBJECT_H

#include <stdint.h>
#include <sys/types.h>

#include "proto/base/config.h"
#include "proto/base/error.h"
#include "proto/base/slice.h"
#include "storage/room.h"

typedef struct kv_store kv_store;
typedef struct kv_put kv_put; /* an object being written */

/* What the medium promises, so callers need not assume disk and S3 alike. */
enum {
    KV_STORE_LINKS = 1,   /* a second key to the same bytes costs no copy */
    KV_STORE_LOCAL_FD = 2 /* kv_store_open gives a file descriptor that can be sent from */
};

kv_err kv_store_open_config(const kv_config *cfg, kv_store **ret); /* makes the folders */
void kv_store_close(kv_store **store);
unsigned kv_store_flags(const kv_store *store);

/* begin → write… → sync → link (one or more keys, EEXIST is success: keys hold their hash) →
 * sync_folder → finish; abort at any time drops all. Early write-back starts every 8 MiB. `id`
 * names the temporary file; CONFLICT if there is one of that name. length_hint 0: not known. After
 * an error the put stays failed with it. */
kv_err kv_put_begin(kv_store *store, uint64_t id, uint64_t length_hint, kv_put **ret);
kv_err kv_put_write(kv_put *put, const void *bytes, size_t len); /* DISK_FULL, IO */
kv_err kv_put_start_sync(kv_put *put); /* begins writing back, does not wait */
kv_err kv_put_sync(kv_put *put);       /* bytes are durable (nothing with DURABILITY=relaxed) */
kv_err kv_put_link(kv_put *put, const char *key, bool *ret_existed);
/* The same, but the new key becomes another name of `from_key`, which holds these very bytes (a
 * second folder: one physical file). NOT_FOUND when from_key is not there or has another size: use
 * kv_put_link then. */
kv_err kv_put_link_same(kv_put *put, const char *from_key, const char *key, bool *ret_existed);
void kv_put_finish(kv_put **put); /* removes the temporary name, closes */
void kv_put_abort(kv_put **put);  /* the same; links that were made stay */
/* Closes. Where a key was linked the temporary name stays: a later sweep judges both. */
void kv_put_leave(kv_put **put);
uint64_t kv_put_size(const kv_put *put);
/* Folder entries of these keys are durable, removals too (after kv_store_delete_prefix name the
 * prefix without its slash); each distinct folder (and new parents) once. */
kv_err kv_store_sync_folders(kv_store *store, const char *const *keys, size_t n);

typedef struct kv_object_info {
    uint64_t size;
    int64_t mtime_ms;
} kv_object_info;
/* NOT_FOUND: it is not there. What is there and cannot be read is logged, too. */
kv_err kv_store_head(kv_store *store, const char *key, kv_object_info *ret);
kv_err kv_store_open(kv_store *store, const char *key, int *ret_fd,
                     kv_object_info *ret); /* caller closes; LOCAL_FD only */
kv_err kv_store_read(kv_store *store, const char *key, uint64_t offset, void *buf, size_t len,
                     size_t *ret_len);
kv_err kv_store_delete(kv_store *store, const char *key); /* KV_OK also when it is not there */
kv_err kv_store_delete_prefix(kv_store *store,
                              const char *prefix); /* "…/": that folder and what is in it; BUSY:
                                                      somebody wrote there meanwhile */
/* Calls `fn` for every object below prefix ("" all, .tmp never); stops when fn returns false. */
kv_err kv_store_list(kv_store *store, const char *prefix,
                     bool (*fn)(void *arg, const char *key, const kv_object_info *i), void *arg);

/* Sweep of .tmp: temporary files of dead processes. Those never linked are removed at once; those
 * with a link are shown to `judge` once they are `min_age_ms` old (key is the linked one, found by
 * inode). `removed` counts temporary names, `orphans` keys, `later` what was too young or not
 * decided: repeat it while there is some. */
typedef enum kv_key_fate {
    KV_KEY_STAYS, /* a row refers to it */
    KV_KEY_GOES,  /* none does: key and temporary name are removed */
    KV_KEY_LATER  /* nobody can tell now: both stay */
} kv_key_fate;
typedef struct kv_sweep_result {
    uint32_t removed, later, orphans;
} kv_sweep_result;
/* In slices, for there may be very many objects. */
typedef struct kv_sweep kv_sweep;
kv_err kv_sweep_begin(kv_store *store, int64_t min_age_ms,
                      kv_key_fate (*judge)(void *arg, const char *key), void *arg, kv_sweep **ret);
/* So many folder entries more. *ret_done: that was all; with an error, too, only the end is left.
 */
kv_err kv_sweep_on(kv_sweep *s, int entries, bool *ret_done);
void kv_sweep_end(kv_sweep **s, kv_sweep_result *ret); /* what it has not come to stays */

/* Whether objects lie there that only a database can have confirmed: without one it is lost. The
 * store need not be open, nothing is made. */
bool kv_store_outlived(const kv_config *cfg);

/* MEDIA_MOVED: the media folder is another one than that which was opened, or gone. What is stored
 * then is not there after the next start, so no put begins (50 ms later at the latest). */
kv_err kv_store_in_place(kv_store *store);
kv_space kv_store_space(kv_store *store); /* on the medium */

#endif
