/* What serving remembers: a file per public path, with its headers ready made and, if small, its
 * bytes or a descriptor to send them from.
 *
 * Files are counted references (h2o's shared chunks): a request links the file to its pool, so an
 * evicted or deleted one lives until the answers that use it are written. One loop, one thread. */
#ifndef KV_GATEWAY_STATIC_CACHE_H
#define KV_GATEWAY_STATIC_CACHE_H

#include "gateway/negotiate.h"
#include "gateway/static.h"

#define KV_STATIC_COPIED   4096         /* bytes; up to it a copy is cheaper than sendfile */
#define KV_STATIC_SMALL    (256 * 1024) /* bytes; larger files are opened for each answer */
#define KV_STATIC_PATH_MAX 512
#define KV_STATIC_ROWS_MAX 4096 /* files a loop remembers, and descriptors all loops keep open */

typedef struct kv_static_variant {
    kv_pick_variant pick;
    uint64_t size;
    char params[32];
} kv_static_variant;

enum { /* of kv_static_file.headers; those up to H_ALWAYS go out with a 304 too */
       KV_H_LAST_MODIFIED, /* first: negotiated answers have none */
       KV_H_CACHE_CONTROL,
       KV_H_ETAG,
       KV_H_NOSNIFF,
       KV_H_CORP,
       KV_H_ALWAYS,
       KV_H_CONTENT_TYPE = KV_H_ALWAYS,
       KV_H_DISPOSITION,
       KV_H_ACCEPT_RANGES,
       KV_H_CSP, /* last: images have none */
       KV_H_COUNT
};

typedef struct kv_static_file {
    struct kv_static_file *next_in_bucket, *newer, *older;
    uint64_t tag;     /* of the hash in the path: finds all paths of a blob */
    uint32_t deletes; /* what the hash's counter said before this was read */
    unsigned deletes_at;
    char path[KV_STATIC_PATH_MAX];
    size_t path_len;
    char hash_hex[65];
    char key[KV_STATIC_PATH_MAX];
    uint64_t size;
    int64_t modified_s;
    char *body; /* NULL: not in memory */
    int fd;     /* -1: not kept open */
    size_t cost;
    bool is_variant, ready;
    char etag[128], modified[32], mime[128];
    char *disposition;
    h2o_header_t headers[KV_H_COUNT];
    size_t header_count;
    /* of an original */
    char folder[256];
    uint32_t width;
    kv_static_variant *variants;
    unsigned variant_count;
} kv_static_file;

/* The file behind `path` (what follows /api/static/, decoded), linked to the pool. NOT_FOUND: no
 * such public file; BROKER_AWAY: no database yet; else what went wrong. */
kv_err kv_static_find(struct kv_static_cache *cache, h2o_mem_pool_t *pool, kv_slice path,
                      kv_static_file **ret);
/* The file is gone from the disk: forget it. */
void kv_static_forget(struct kv_static_cache *cache, kv_static_file *file);
/* Files and bytes held, for tests. */
size_t kv_static_cache_count(const struct kv_static_cache *cache);

/* The path of variant `v` of an original, into `out`. */
kv_slice kv_static_variant_path(const kv_static_file *original, const kv_static_variant *v,
                                kv_buf *out);

/* Fills size, mime, etag, disposition and headers from the rest (static_file.c). `filename` is the
 * client's name. */
kv_err kv_static_file_describe(kv_static_file *f, kv_slice filename, kv_slice ext);
/* `inline; filename="…"; filename*=UTF-8''…`: safe in a header whatever the name holds. */
void kv_disposition(kv_buf *out, bool attachment, kv_slice filename);

#endif
