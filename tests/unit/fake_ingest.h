/* An ingest side for gateway tests: one thread that hashes what comes and answers. What it does
 * besides depends on the file name: "early…" is refused at its first chunk (TYPE_REFUSED), "late…"
 * at its end, "slow…" is taken in slowly. */
#ifndef KV_TESTS_FAKE_INGEST_H
#define KV_TESTS_FAKE_INGEST_H

#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/actor.h"
#include "proto/base/id.h"
#include "proto/endpoints.h"

#define FAKE_UPLOADS 4096

typedef struct fake_upload {
    uint64_t id, loop, size;
    EVP_MD_CTX *md;
    bool early, late, slow;
    char folder[256], name[256], declared[129];
} fake_upload;

typedef struct fake_ingest {
    void *zmq, *inbox, *loops[64];
    unsigned nloops;
    pthread_t thread;
    _Atomic bool stop;
    fake_upload uploads[FAKE_UPLOADS];
} fake_ingest;

/* What the last run saw; read after the gateway has stopped, or between answers. */
static _Atomic unsigned fake_begun, fake_refused, fake_aborted, fake_ended, fake_whole;

static fake_upload *fake_find(fake_ingest *f, uint64_t id)
{
    for (int i = 0; i < FAKE_UPLOADS; i++)
        if (f->uploads[i].id == id)
            return &f->uploads[i];
    return NULL;
}

static void fake_done(fake_ingest *f, fake_upload *u, kv_err err)
{
    kv_msg m;
    kv_buf json;
    uint8_t digest[32];
    char hex[65] = {0}, id[KV_ID_TEXT + 1];
    EVP_DigestFinal_ex(u->md, digest, NULL);
    EVP_MD_CTX_free(u->md);
    kv_buf_init(&json, 0);
    kv_buf_add_hex(&json, digest, 32);
    memcpy(hex, json.data, 64);
    kv_buf_clear(&json);
    kv_id_format(u->id, id);
    kv_json_open(&json, '{');
    kv_json_key(&json, "id");
    kv_json_cstr(&json, id);
    kv_json_key(&json, "size");
    kv_json_u64(&json, u->size);
    kv_json_key(&json, "hash");
    kv_json_cstr(&json, hex);
    kv_json_key(&json, "folder");
    kv_json_cstr(&json, u->folder);
    kv_json_key(&json, "filename");
    kv_json_cstr(&json, u->name);
    kv_json_key(&json, "declared");
    kv_json_cstr(&json, u->declared);
    kv_json_close(&json, '}');
    kv_msg_defaults(KV_UPLOAD_DONE, &m);
    m.upload_done.upload = u->id;
    m.upload_done.number = err;
    m.upload_done.media = u->id;
    m.upload_done.hash_hex = kv_slice_str(hex);
    if (err == KV_OK)
        m.upload_done.json = kv_buf_slice(&json);
    else
        m.upload_done.detail = kv_slice_str("seen by the fake");
    kv_actor_post(f->loops[u->loop], NULL, &m, NULL);
    kv_buf_release(&json);
    u->id = 0;
}

static void fake_begin(fake_ingest *f, const kv_upload_begin *b)
{
    fake_upload *u = fake_find(f, 0);
    *u = (fake_upload){.id = b->upload, .loop = b->loop, .md = EVP_MD_CTX_new()};
    EVP_DigestInit_ex(u->md, EVP_sha256(), NULL);
    snprintf(u->folder, sizeof(u->folder), "%.*s", KV_SLICE_FMT(b->folder));
    snprintf(u->name, sizeof(u->name), "%.*s", KV_SLICE_FMT(b->filename));
    snprintf(u->declared, sizeof(u->declared), "%.*s", KV_SLICE_FMT(b->declared));
    u->early = strncmp(u->name, "early", 5) == 0;
    u->late = strncmp(u->name, "late", 4) == 0;
    u->slow = strncmp(u->name, "slow", 4) == 0;
    fake_begun++;
}

/* The three messages in one. */
static void fake_take_whole(fake_ingest *f, const kv_upload_whole *w, zmq_msg_t *payload)
{
    kv_upload_begin b = {.upload = w->upload,
                         .loop = w->loop,
                         .folder = w->folder,
                         .filename = w->filename,
                         .declared = w->declared};
    fake_begin(f, &b);
    fake_upload *u = fake_find(f, w->upload);
    u->size = zmq_msg_size(payload);
    if (u->size == 0)
        abort();
    EVP_DigestUpdate(u->md, zmq_msg_data(payload), u->size);
    fake_whole++;
    if (u->early)
        fake_refused++;
    else
        fake_ended++;
    fake_done(f, u, u->early ? KV_E_TYPE_REFUSED : u->late ? KV_E_TYPE_MISMATCH : KV_OK);
}

static void fake_handle(fake_ingest *f, const kv_msg *m, zmq_msg_t *payload)
{
    fake_upload *u;
    switch (m->code) {
    case KV_UPLOAD_BEGIN:
        fake_begin(f, &m->upload_begin);
        break;
    case KV_UPLOAD_CHUNK:
        u = fake_find(f, m->upload_chunk.upload);
        if (u == NULL)
            break; /* refused before */
        if (m->upload_chunk.offset != u->size)
            abort();
        if (u->slow)
            usleep(2000);
        EVP_DigestUpdate(u->md, zmq_msg_data(payload), zmq_msg_size(payload));
        u->size += zmq_msg_size(payload);
        if (u->early) {
            fake_refused++;
            fake_done(f, u, KV_E_TYPE_REFUSED);
        }
        break;
    case KV_UPLOAD_WHOLE:
        fake_take_whole(f, &m->upload_whole, payload);
        break;
    case KV_UPLOAD_END:
        u = fake_find(f, m->upload_end.upload);
        if (u == NULL)
            break;
        fake_ended++;
        if (m->upload_end.folder.len > 0)
            snprintf(u->folder, sizeof(u->folder), "%.*s", KV_SLICE_FMT(m->upload_end.folder));
        if (m->upload_end.size != u->size)
            abort();
        fake_done(f, u, u->late ? KV_E_TYPE_MISMATCH : KV_OK);
        break;
    case KV_UPLOAD_ABORT:
        u = fake_find(f, m->upload_abort.upload);
        if (u == NULL)
            break;
        fake_aborted++;
        fake_done(f, u, (kv_err)m->upload_abort.number);
        break;
    default:
        abort();
    }
}

static void *fake_run(void *arg)
{
    fake_ingest *f = arg;
    while (!f->stop) {
        zmq_pollitem_t item = {.socket = f->inbox, .events = ZMQ_POLLIN};
        kv_header head;
        kv_msg m;
        zmq_msg_t storage, payload;
        zmq_poll(&item, 1, 20);
        while (kv_actor_take(f->inbox, &head, &m, &storage, &payload) == 1) {
            fake_handle(f, &m, &payload);
            zmq_msg_close(&storage);
            zmq_msg_close(&payload);
        }
    }
    return NULL;
}

static kv_err fake_start(void *zmq, const kv_config *cfg, const kv_clock *clock, unsigned loops,
                         void **ret)
{
    (void)clock;
    fake_ingest *f = calloc(1, sizeof(*f));
    char endpoint[64];
    int zero = 0;
    if (cfg->ingest_pipelines != 1)
        abort();
    f->zmq = zmq;
    f->nloops = loops;
    f->inbox = zmq_socket(zmq, ZMQ_PULL);
    zmq_setsockopt(f->inbox, ZMQ_RCVHWM, &zero, sizeof(zero));
    snprintf(endpoint, sizeof(endpoint), KV_EP_SCANNER, 0u);
    if (zmq_bind(f->inbox, endpoint) != 0)
        abort();
    for (unsigned i = 0; i < loops; i++) {
        f->loops[i] = zmq_socket(zmq, ZMQ_PUSH);
        snprintf(endpoint, sizeof(endpoint), KV_EP_LOOP, i);
        if (zmq_connect(f->loops[i], endpoint) != 0)
            abort();
    }
    pthread_create(&f->thread, NULL, fake_run, f);
    *ret = f;
    return KV_OK;
}

static void fake_stop(void **self, int64_t deadline_ms)
{
    (void)deadline_ms;
    fake_ingest *f = *self;
    f->stop = true;
    pthread_join(f->thread, NULL);
    int zero = 0;
    for (unsigned i = 0; i < f->nloops; i++) {
        zmq_setsockopt(f->loops[i], ZMQ_LINGER, &zero, sizeof(zero));
        zmq_close(f->loops[i]);
    }
    zmq_close(f->inbox);
    free(f);
    *self = NULL;
}

#endif
