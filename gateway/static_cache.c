#include "gateway/static_cache.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/json_scan.h"
#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/base/media_name.h"
#include "proto/base/metrics.h"
#include "storage/read/media.h"
#include "storage/read/variants.h"

#define BUCKETS 8192 /* power of two */

struct kv_static_cache {
    kv_loop *loop;
    kv_static_file *bucket[BUCKETS];
    kv_static_file *newest, *oldest;
    size_t count, bytes, budget;
    size_t open, open_max; /* files of which the descriptor is kept */
    uint64_t seed;
};

/* ---- the table ---- */

/* All paths of one blob share a tag: it comes from the first 16 digits of its hash. */
static bool tag_of_hash(const struct kv_static_cache *c, kv_slice hash_hex, uint64_t *ret)
{
    uint64_t a, b;
    if (hash_hex.len < 64)
        return false;
    memcpy(&a, hash_hex.ptr, 8);
    memcpy(&b, hash_hex.ptr + 8, 8);
    uint64_t h = (a ^ c->seed) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29) ^ b) * 0xbf58476d1ce4e5b9u;
    *ret = h ^ (h >> 32);
    return true;
}

static bool tag_of_path(const struct kv_static_cache *c, kv_slice path, uint64_t *ret)
{
    const char *slash = path.len != 0 ? memrchr(path.ptr, '/', path.len) : NULL;
    if (slash == NULL || path.len >= KV_STATIC_PATH_MAX)
        return false;
    return tag_of_hash(c, kv_slice_of(slash + 1, (size_t)(path.ptr + path.len - slash - 1)), ret);
}

static void lru_unlink(struct kv_static_cache *c, kv_static_file *f)
{
    assert((f->newer == NULL) == (f == c->newest) && (f->older == NULL) == (f == c->oldest));
    *(f->newer != NULL ? &f->newer->older : &c->newest) = f->older;
    *(f->older != NULL ? &f->older->newer : &c->oldest) = f->newer;
    f->newer = f->older = NULL;
}

static void lru_push(struct kv_static_cache *c, kv_static_file *f)
{
    f->newer = NULL;
    f->older = c->newest;
    *(c->newest != NULL ? &c->newest->newer : &c->oldest) = f;
    c->newest = f;
}

static void drop(struct kv_static_cache *c, kv_static_file *f)
{
    kv_static_file **at = &c->bucket[f->tag & (BUCKETS - 1)];
    while (*at != f) {
        assert(*at != NULL);
        at = &(*at)->next_in_bucket;
    }
    *at = f->next_in_bucket;
    f->next_in_bucket = NULL;
    lru_unlink(c, f);
    c->count--;
    c->open -= f->fd >= 0;
    c->bytes -= f->cost;
    kv_metric_add(KV_M_STATIC_CACHE_BYTES, -(int64_t)f->cost);
    h2o_mem_release_shared(f);
}

static void insert(struct kv_static_cache *c, kv_static_file *f)
{
    f->cost =
        sizeof(*f) + f->variant_count * sizeof(*f->variants) + (f->body != NULL ? f->size : 0);
    kv_static_file **head = &c->bucket[f->tag & (BUCKETS - 1)];
    f->next_in_bucket = *head;
    *head = f;
    lru_push(c, f);
    c->count++;
    c->open += f->fd >= 0;
    c->bytes += f->cost;
    kv_metric_add(KV_M_STATIC_CACHE_BYTES, (int64_t)f->cost);
    while (c->oldest != f &&
           (c->count > KV_STATIC_ROWS_MAX || (c->budget != 0 && c->bytes > c->budget)))
        drop(c, c->oldest);
}

static kv_static_file *lookup(struct kv_static_cache *c, uint64_t tag, kv_slice path)
{
    for (kv_static_file *f = c->bucket[tag & (BUCKETS - 1)]; f != NULL; f = f->next_in_bucket)
        if (f->tag == tag && f->path_len == path.len && memcmp(f->path, path.ptr, path.len) == 0)
            return f;
    return NULL;
}

/* ---- deletes on other loops ---- */

/* Hashes that begin alike share a counter: the delete of one has the others read once more. */
static unsigned deletes_at(const uint8_t hash[32])
{
    return (hash[0] | (unsigned)hash[1] << 8) & (KV_DELETES - 1);
}

static uint32_t deletes_now(const struct kv_static_cache *c, const kv_static_file *f)
{
    return atomic_load_explicit(&c->loop->gw->deletes[f->deletes_at], memory_order_acquire);
}

void kv_static_cache_deleted(struct kv_static_cache *c, kv_slice stored_hash_hex)
{
    uint8_t hash[32];
    bool known =
        stored_hash_hex.len == 64 && kv_hex_decode(stored_hash_hex.ptr, 64, hash, sizeof(hash));
    unsigned first = known ? deletes_at(hash) : 0;
    for (unsigned i = first; i < (known ? first + 1 : KV_DELETES); i++)
        atomic_fetch_add(&c->loop->gw->deletes[i], 1);
}

/* ---- filling ---- */

static void file_dispose(void *p)
{
    kv_static_file *f = p;
    if (f->fd >= 0)
        close(f->fd);
    free(f->body);
    free(f->disposition);
    free(f->variants);
}

/* How many there are. */
static unsigned read_variants(kv_slice json, kv_static_variant list[KV_VARIANTS_MAX])
{
    kv_slice one, format, params;
    unsigned n = 0;
    for (size_t pos = 0; n < KV_VARIANTS_MAX && kv_scan_next(json, &pos, &one);) {
        kv_static_variant *v = &list[n];
        uint64_t width, size;
        if (!kv_scan_text(one, "format", &format) || !kv_scan_text(one, "params", &params) ||
            !kv_scan_u64(one, "width", &width) || width > UINT32_MAX ||
            !kv_scan_u64(one, "size", &size) || params.len >= sizeof(v->params))
            continue;
        *v = (kv_static_variant){.size = size};
        if (kv_slice_is(format, "webp"))
            v->pick.format = KV_PICK_WEBP;
        else if (kv_slice_is(format, "avif"))
            v->pick.format = KV_PICK_AVIF;
        else
            continue;
        v->pick.width = (uint32_t)width;
        kv_scan_bool(one, "full", &v->pick.full);
        if (params.len != 0)
            memcpy(v->params, params.ptr, params.len);
        n++;
    }
    return n;
}

static const char *variant_ext(const kv_static_variant *v)
{
    return v->pick.format == KV_PICK_AVIF ? "avif" : "webp";
}

static const kv_static_variant *variant_of(const kv_static_variant *list, unsigned n,
                                           const kv_static_path *p)
{
    for (unsigned i = 0; i < n; i++) {
        const kv_static_variant *v = &list[i];
        uint32_t width = v->pick.full ? 0 : v->pick.width;
        if (width == p->width && kv_slice_is(p->params, v->params) &&
            kv_slice_is(p->ext, variant_ext(v)))
            return v;
    }
    return NULL;
}

static kv_err read_body(kv_store *store, kv_static_file *f)
{
    size_t done = 0;
    f->body = malloc(f->size != 0 ? f->size : 1);
    if (f->body == NULL)
        return KV_E_NO_MEMORY;
    while (done < f->size) {
        size_t got = 0;
        kv_err err = kv_store_read(store, f->key, done, f->body + done, f->size - done, &got);
        if (err != KV_OK)
            return err;
        if (got == 0)
            return KV_E_IO; /* shorter than it was a moment ago */
        done += got;
    }
    return KV_OK;
}

static kv_err keep_open(struct kv_static_cache *c, kv_static_file *f)
{
    kv_object_info info;
    return c->open < c->open_max ? kv_store_open(c->loop->gw->store, f->key, &f->fd, &info) : KV_OK;
}

static kv_err fill_variant(kv_static_file *f, const kv_static_path *p, const kv_media_file *row,
                           const kv_static_variant *v, kv_buf *key)
{
    if (v == NULL)
        return KV_E_NOT_FOUND;
    f->size = v->size;
    kv_variant_key(key, row->blob, p->width, p->params, p->ext);
    snprintf(f->mime, sizeof(f->mime), "image/%.*s", KV_SLICE_FMT(p->ext));
    if (p->width != 0)
        snprintf(f->etag, sizeof(f->etag), "\"%s-w%u-%.*s.%.*s\"", f->hash_hex, p->width,
                 KV_SLICE_FMT(p->params), KV_SLICE_FMT(p->ext));
    else
        snprintf(f->etag, sizeof(f->etag), "\"%s-full-%.*s.%.*s\"", f->hash_hex,
                 KV_SLICE_FMT(p->params), KV_SLICE_FMT(p->ext));
    return KV_OK;
}

static kv_err fill_original(kv_static_file *f, const kv_static_path *p, const kv_media_file *row,
                            const kv_static_variant *list, unsigned n, kv_buf *key)
{
    if (!kv_slice_is(p->ext, row->ext))
        return KV_E_NOT_FOUND;
    f->size = row->size;
    kv_media_key(key, p->folder, f->hash_hex, p->ext);
    snprintf(f->mime, sizeof(f->mime), "%s", row->mime);
    snprintf(f->etag, sizeof(f->etag), "\"%s\"", f->hash_hex);
    if (n == 0)
        return KV_OK;
    f->variants = malloc(n * sizeof(*list));
    if (f->variants == NULL)
        return KV_E_NO_MEMORY;
    memcpy(f->variants, list, n * sizeof(*list));
    f->variant_count = n;
    return KV_OK;
}

/* What the row says: key, type, size, ETag, variants. */
static kv_err fill_from_row(kv_static_file *f, const kv_static_path *p, const kv_media_file *row,
                            kv_slice variants)
{
    kv_buf key;
    kv_static_variant list[KV_VARIANTS_MAX];
    unsigned n = read_variants(variants, list);
    f->ready = row->status == KV_STATUS_READY;
    f->modified_s = row->created_at / 1000;
    f->width = row->width;
    f->is_variant = p->is_variant;
    kv_buf_init(&key, KV_STATIC_PATH_MAX);
    kv_err err = p->is_variant ? fill_variant(f, p, row, variant_of(list, n, p), &key)
                               : fill_original(f, p, row, list, n, &key);
    snprintf(f->key, sizeof(f->key), "%s", kv_buf_str(&key));
    if (err == KV_OK && !kv_buf_ok(&key))
        err = KV_E_NOT_FOUND;
    kv_buf_release(&key);
    return err;
}

/* A file that is not as long as its row says is damaged: clients would keep it for a year. */
static kv_err check_object(kv_store *store, const kv_static_file *f)
{
    kv_object_info info;
    kv_err err = kv_store_head(store, f->key, &info);
    if (err == KV_E_NOT_FOUND) /* its row is there */
        kv_log(KV_LOG_ERROR, "object_missing", KV_STR("key", f->key));
    if (err != KV_OK || info.size == f->size)
        return err;
    kv_log(KV_LOG_ERROR, "object_damaged", KV_STR("key", f->key), KV_U64("size", info.size),
           KV_U64("expected", f->size));
    return KV_E_IO;
}

static kv_err load(struct kv_static_cache *c, kv_slice path, kv_static_file *f)
{
    kv_static_path p;
    uint8_t hash[32];
    if (!kv_static_path_parse(path, &p) || p.hash_hex.len != 64 ||
        p.folder.len >= sizeof(f->folder) || !kv_hex_decode(p.hash_hex.ptr, 64, hash, sizeof(hash)))
        return KV_E_NOT_FOUND;
    kv_db *db = kv_loop_db(c->loop);
    if (db == NULL)
        return KV_E_BROKER_AWAY;
    f->deletes_at = deletes_at(hash);
    f->deletes = deletes_now(c, f);
    memcpy(f->path, path.ptr, path.len);
    f->path_len = path.len;
    memcpy(f->hash_hex, p.hash_hex.ptr, 64);
    memcpy(f->folder, p.folder.ptr, p.folder.len);
    kv_media_file row;
    kv_buf variants;
    kv_buf_init(&variants, 0);
    kv_err err = kv_media_file_find(db, p.folder, hash, &row, &variants);
    if (err == KV_OK)
        err = fill_from_row(f, &p, &row, kv_buf_slice(&variants));
    kv_buf_release(&variants);
    if (err != KV_OK)
        return err;
    KV_TRY(check_object(c->loop->gw->store, f));
    KV_TRY(kv_static_file_describe(f, kv_slice_str(row.filename), p.ext));
    if (c->budget == 0 || f->size > KV_STATIC_SMALL)
        return KV_OK;
    return f->size <= KV_STATIC_COPIED ? read_body(c->loop->gw->store, f) : keep_open(c, f);
}

kv_err kv_static_find(struct kv_static_cache *c, h2o_mem_pool_t *pool, kv_slice path,
                      kv_static_file **ret)
{
    uint64_t tag;
    if (!tag_of_path(c, path, &tag))
        return KV_E_NOT_FOUND;
    kv_static_file *f = lookup(c, tag, path);
    if (f != NULL && f->deletes != deletes_now(c, f)) {
        drop(c, f);
        f = NULL;
    }
    if (f != NULL) {
        if (c->newest != f) {
            lru_unlink(c, f);
            lru_push(c, f);
        }
        h2o_mem_link_shared(pool, f);
        *ret = f;
        return KV_OK;
    }
    f = h2o_mem_alloc_shared(NULL, sizeof(*f), file_dispose);
    *f = (kv_static_file){.fd = -1};
    kv_err err = load(c, path, f);
    if (err != KV_OK) {
        h2o_mem_release_shared(f);
        return err;
    }
    f->tag = tag;
    h2o_mem_link_shared(pool, f);
    insert(c, f);
    *ret = f;
    return KV_OK;
}

kv_slice kv_static_variant_path(const kv_static_file *o, const kv_static_variant *v, kv_buf *out)
{
    static const char prefix[] = "/api/static/";
    kv_variant_url(out, "", kv_slice_str(o->folder), o->hash_hex, v->pick.full ? 0 : v->pick.width,
                   kv_slice_str(v->params), kv_slice_str(variant_ext(v)));
    kv_slice url = kv_buf_slice(out);
    size_t n = sizeof(prefix) - 1;
    if (url.len < n || memcmp(url.ptr, prefix, n) != 0)
        return kv_slice_of(NULL, 0);
    return kv_slice_of(url.ptr + n, url.len - n);
}

/* ---- forgetting ---- */

void kv_static_forget(struct kv_static_cache *c, kv_static_file *file)
{
    for (kv_static_file *f = c->bucket[file->tag & (BUCKETS - 1)]; f != NULL; f = f->next_in_bucket)
        if (f == file) {
            drop(c, f);
            return;
        }
}

void kv_static_cache_drop(struct kv_static_cache *c, kv_slice stored_hash_hex)
{
    uint64_t tag;
    if (!tag_of_hash(c, stored_hash_hex, &tag))
        return;
    for (kv_static_file *f = c->bucket[tag & (BUCKETS - 1)], *next; f != NULL; f = next) {
        next = f->next_in_bucket;
        if (f->tag == tag)
            drop(c, f);
    }
}

void kv_static_cache_drop_all(struct kv_static_cache *c)
{
    while (c->oldest != NULL)
        drop(c, c->oldest);
}

size_t kv_static_cache_count(const struct kv_static_cache *c)
{
    return c->count;
}

/* ---- life ---- */

kv_err kv_static_cache_new(kv_loop *loop, struct kv_static_cache **ret)
{
    struct kv_static_cache *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return KV_E_NO_MEMORY;
    unsigned loops = loop->gw->loops != 0 ? loop->gw->loops : 1;
    c->loop = loop;
    c->budget = (size_t)loop->gw->cfg->static_cache_mb * 1024 * 1024 / loops;
    c->open_max = loop->gw->files_kept / loops;
    c->seed = (uint64_t)kv_id_random_node() * 0x2545f4914f6cdd1du ^ (uint64_t)kv_id_random_node()
                                                                        << 32;
    *ret = c;
    return KV_OK;
}

void kv_static_cache_destroy(struct kv_static_cache **cache)
{
    if (*cache == NULL)
        return;
    kv_static_cache_drop_all(*cache);
    free(*cache);
    *cache = NULL;
}
