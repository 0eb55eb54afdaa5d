/* The hasher: SHA-256 of an upload as received and as kept. One computation while the two are the
 * same; at the first difference it is copied and goes on as two. Every UPLOAD_BEGIN is answered
 * with exactly one UPLOAD_HASHED. A WHOLE_JUDGED goes on to dedup with its digests in it. */
#include <assert.h>
#include <openssl/evp.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "actors/ingest_actors.h"

#define HASH_LEN 32

typedef struct kv_hash {
    uint64_t upload; /* first: the key of the tree */
    kv_header head;
    EVP_MD_CTX *received;
    EVP_MD_CTX *kept; /* NULL while the bytes are the same */
    bool failed;      /* out of memory */
} kv_hash;

typedef struct kv_hasher_actor {
    kv_ingest_state *state;
    EVP_MD *sha256; /* fetched once: a fetch a file costs more than hashing a small one */
    void *hashes;   /* tsearch(3) tree of kv_hash */
    EVP_MD_CTX *whole;
    struct {
        uint64_t upload;
        uint8_t hash[HASH_LEN];
        bool ok;
    } received; /* digest of the last WHOLE_RECEIVED: its WHOLE_JUDGED comes next */
} kv_hasher_actor;

static int by_upload(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static kv_hash *find(kv_hasher_actor *a, uint64_t upload)
{
    kv_hash **node = tfind(&upload, &a->hashes, by_upload);
    return node ? *node : NULL;
}

static void free_hash(void *hash)
{
    kv_hash *h = hash;
    EVP_MD_CTX_free(h->received);
    EVP_MD_CTX_free(h->kept);
    free(h);
}

static void forget(kv_hasher_actor *a, kv_hash *h)
{
    tdelete(h, &a->hashes, by_upload);
    free_hash(h);
}

static void answer(kv_hasher_actor *a, kv_out *out, const kv_header *head,
                   const kv_upload_hashed *hashed)
{
    kv_msg m = {.code = KV_UPLOAD_HASHED, .upload_hashed = *hashed};
    if (!atomic_load(&a->state->halted))
        kv_out_send(out, KV_HASHER_TO_DEDUP, head, &m, NULL);
}

static void on_begin(void *self, const kv_in *in, kv_out *out)
{
    kv_hasher_actor *a = self;
    kv_hash *h = calloc(1, sizeof *h);
    if (h) {
        h->upload = in->msg->upload_begin.upload;
        h->head = *in->head;
        h->received = EVP_MD_CTX_new();
        if (h->received && EVP_DigestInit_ex2(h->received, a->sha256, NULL) == 1 &&
            tsearch(h, &a->hashes, by_upload))
            return;
        free_hash(h);
    }
    answer(a, out, in->head,
           &(kv_upload_hashed){.upload = in->msg->upload_begin.upload, .number = KV_E_NO_MEMORY});
}

/* Goes on as two, from before the first byte that differs. */
static void part_ways(kv_hash *h)
{
    h->kept = EVP_MD_CTX_new();
    if (!h->kept || EVP_MD_CTX_copy_ex(h->kept, h->received) != 1)
        h->failed = true;
}

static void update(EVP_MD_CTX *ctx, zmq_msg_t *payload)
{
    if (ctx && payload)
        EVP_DigestUpdate(ctx, zmq_msg_data(payload), zmq_msg_size(payload));
}

static void on_hash(void *self, const kv_in *in, kv_out *out)
{
    (void)out;
    kv_hash *h = find(self, in->msg->upload_hash.upload);
    if (!h)
        return;
    if (!in->msg->upload_hash.same && !h->kept)
        part_ways(h);
    update(h->received, in->payload);
    if (in->msg->upload_hash.same)
        update(h->kept, in->payload);
}

static void on_kept(void *self, const kv_in *in, kv_out *out)
{
    (void)out;
    kv_hash *h = find(self, in->msg->upload_kept.upload);
    if (h)
        update(h->kept, in->payload);
}

static void on_end(void *self, const kv_in *in, kv_out *out)
{
    kv_hasher_actor *a = self;
    kv_hash *h = find(a, in->msg->upload_end.upload);
    if (!h)
        return;
    uint8_t received[EVP_MAX_MD_SIZE], kept[EVP_MAX_MD_SIZE];
    bool ok = !h->failed && EVP_DigestFinal_ex(h->received, received, NULL) == 1;
    if (ok && h->kept)
        ok = EVP_DigestFinal_ex(h->kept, kept, NULL) == 1;
    kv_upload_hashed hashed = {.upload = h->upload, .number = ok ? KV_OK : KV_E_NO_MEMORY};
    if (ok) {
        hashed.hash = kv_slice_of((const char *)received, HASH_LEN);
        hashed.stored_hash = kv_slice_of((const char *)(h->kept ? kept : received), HASH_LEN);
    }
    answer(a, out, &h->head, &hashed);
    forget(a, h);
}

static void on_abort(void *self, const kv_in *in, kv_out *out)
{
    const kv_upload_abort *m = &in->msg->upload_abort;
    kv_hash *h = find(self, m->upload);
    if (!h)
        return;
    uint64_t number = m->number ? m->number : KV_E_CLIENT_GONE;
    answer(self, out, &h->head, &(kv_upload_hashed){.upload = h->upload, .number = number});
    forget(self, h);
}

/* ---- whole uploads ---- */

static bool digest(kv_hasher_actor *a, zmq_msg_t *payload, uint8_t out[HASH_LEN])
{
    return payload && EVP_DigestInit_ex2(a->whole, a->sha256, NULL) == 1 &&
           EVP_DigestUpdate(a->whole, zmq_msg_data(payload), zmq_msg_size(payload)) == 1 &&
           EVP_DigestFinal_ex(a->whole, out, NULL) == 1;
}

static void on_whole_received(void *self, const kv_in *in, kv_out *out)
{
    kv_hasher_actor *a = self;
    (void)out;
    a->received.upload = in->msg->whole_received.upload;
    a->received.ok = digest(a, in->payload, a->received.hash);
}

static void on_whole_judged(void *self, const kv_in *in, kv_out *out)
{
    kv_hasher_actor *a = self;
    uint8_t hash[HASH_LEN], stored_hash[HASH_LEN];
    kv_msg m = *in->msg;
    kv_whole_judged *j = &m.whole_judged;
    bool ok = digest(a, in->payload, stored_hash);
    if (j->same) {
        memcpy(hash, stored_hash, HASH_LEN);
    } else {
        assert(a->received.upload == j->upload);
        memcpy(hash, a->received.hash, HASH_LEN);
        ok = ok && a->received.ok;
    }
    if (ok) {
        j->hash = kv_slice_of((const char *)hash, HASH_LEN);
        j->stored_hash = kv_slice_of((const char *)stored_hash, HASH_LEN);
    } else {
        j->number = KV_E_NO_MEMORY;
    }
    if (!atomic_load(&a->state->halted))
        kv_out_send(out, KV_HASHER_TO_DEDUP, in->head, &m, ok ? in->payload : NULL);
}

/* ---- birth and death ---- */

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    (void)cfg;
    const kv_ingest_arg *ingest = arg;
    kv_hasher_actor *a = calloc(1, sizeof *a);
    if (!a)
        return KV_E_NO_MEMORY;
    a->state = ingest->state;
    a->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    a->whole = EVP_MD_CTX_new();
    if (!a->sha256 || !a->whole) {
        EVP_MD_CTX_free(a->whole);
        EVP_MD_free(a->sha256);
        free(a);
        return KV_E_INTERNAL;
    }
    *ret_self = a;
    return KV_OK;
}

static void destroy(void **self)
{
    kv_hasher_actor *a = *self;
    tdestroy(a->hashes, free_hash);
    EVP_MD_CTX_free(a->whole);
    EVP_MD_free(a->sha256);
    free(a);
    *self = NULL;
}

static const kv_handler handlers[] = {
    {KV_UPLOAD_BEGIN, on_begin},        {KV_UPLOAD_HASH, on_hash},
    {KV_UPLOAD_KEPT, on_kept},          {KV_UPLOAD_END, on_end},
    {KV_UPLOAD_ABORT, on_abort},        {KV_WHOLE_RECEIVED, on_whole_received},
    {KV_WHOLE_JUDGED, on_whole_judged}, {0, NULL},
};

const kv_actor_def kv_hasher = {
    .name = "hasher",
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
};
