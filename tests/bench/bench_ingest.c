/* The ingest actors alone: 64 KiB JPEGs through scanner, hasher, store, placer and dedup, with a
 * broker that answers at once.
 *
 *   bench_ingest FOLDER [uploads] [at once] [bytes]
 *
 * Says uploads a second and processor time an upload, this program's part (the driver) included. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "actors/ingest.h"
#include "proto/actor.h"
#include "proto/base/log.h"
#include "proto/endpoints.h"
#include "tests/unit/yes_broker.h"

static void *zmq;

/* ---- the driver ---- */

#define CHUNK (256u << 10)

static uint8_t *picture;
static size_t picture_len = 65536;

static void make_picture(void)
{
    static const uint8_t head[] = {0xff, 0xd8, 0xff, 0xe0, 0,  16, 'J', 'F', 'I', 'F',  0,
                                   1,    1,    0,    0,    1,  0,  1,   0,   0,   0xff, 0xc0,
                                   0,    11,   8,    2,    88, 3,  32,  1,   1,   17,   0,
                                   0xff, 0xda, 0,    8,    1,  1,  0,   0,   63,  0};
    picture = malloc(picture_len);
    for (size_t i = 0; i < picture_len; i++)
        picture[i] = (uint8_t)(rand() % 255);
    memcpy(picture, head, sizeof head);
    memcpy(picture + picture_len - 2, "\xff\xd9", 2);
}

static void free_bytes(void *data, void *hint)
{
    (void)hint;
    free(data);
}

static void make_payload(zmq_msg_t *payload, uint64_t id, size_t at, size_t n)
{
    uint8_t *bytes = malloc(n);
    memcpy(bytes, picture + at, n);
    if (at == 0)
        memcpy(bytes + 100, &id, sizeof id); /* distinct */
    zmq_msg_init_data(payload, bytes, n, free_bytes, NULL);
}

static void post_whole(void *push, uint64_t id)
{
    char name[32];
    zmq_msg_t payload;
    kv_msg m = {.code = KV_UPLOAD_WHOLE};
    snprintf(name, sizeof name, "%llu.jpg", (unsigned long long)id);
    m.upload_whole.upload = id;
    m.upload_whole.folder = kv_slice_str("bench");
    m.upload_whole.filename = kv_slice_str(name);
    make_payload(&payload, id, 0, picture_len);
    kv_actor_post(push, NULL, &m, &payload);
}

static void post_upload(void *push, uint64_t id)
{
    if (picture_len <= CHUNK) {
        post_whole(push, id);
        return;
    }
    char name[32];
    kv_msg m = {.code = KV_UPLOAD_BEGIN};
    snprintf(name, sizeof name, "%llu.jpg", (unsigned long long)id);
    m.upload_begin.upload = id;
    m.upload_begin.folder = kv_slice_str("bench");
    m.upload_begin.filename = kv_slice_str(name);
    m.upload_begin.length_hint = picture_len;
    kv_actor_post(push, NULL, &m, NULL);
    for (size_t at = 0; at < picture_len; at += CHUNK) {
        size_t n = picture_len - at < CHUNK ? picture_len - at : CHUNK;
        zmq_msg_t payload;
        make_payload(&payload, id, at, n);
        m = (kv_msg){.code = KV_UPLOAD_CHUNK};
        m.upload_chunk.upload = id;
        m.upload_chunk.offset = at;
        kv_actor_post(push, NULL, &m, &payload);
    }
    m = (kv_msg){.code = KV_UPLOAD_END};
    m.upload_end.upload = id;
    m.upload_end.size = picture_len;
    kv_actor_post(push, NULL, &m, NULL);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool take_done(void *pull)
{
    zmq_pollitem_t item = {pull, 0, ZMQ_POLLIN, 0};
    kv_header head;
    kv_msg m;
    zmq_msg_t storage, payload;
    zmq_poll(&item, 1, 10000);
    if (kv_actor_take(pull, &head, &m, &storage, &payload) != 1)
        abort();
    bool ok = m.code == KV_UPLOAD_DONE && m.upload_done.number == 0;
    if (!ok)
        fprintf(stderr, "failed: %s\n", kv_err_info_of((kv_err)m.upload_done.number)->slug);
    zmq_msg_close(&storage);
    zmq_msg_close(&payload);
    return ok;
}

static void drive(long uploads, long at_once)
{
    char endpoint[64];
    int zero = 0;
    snprintf(endpoint, sizeof endpoint, KV_EP_SCANNER, 0u);
    void *push = zmq_socket(zmq, ZMQ_PUSH);
    zmq_setsockopt(push, ZMQ_SNDHWM, &zero, sizeof zero);
    zmq_connect(push, endpoint);
    snprintf(endpoint, sizeof endpoint, KV_EP_LOOP, 0u);
    void *pull = zmq_socket(zmq, ZMQ_PULL);
    zmq_bind(pull, endpoint);
    double t0 = seconds(CLOCK_MONOTONIC), c0 = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long sent = 0, done = 0, failed = 0; done < uploads;) {
        while (sent < uploads && sent - done < at_once)
            post_upload(push, (uint64_t)1 << 30 | (uint64_t)++sent);
        failed += !take_done(pull);
        done++;
        if (failed > 10)
            exit(1);
    }
    double t = seconds(CLOCK_MONOTONIC) - t0, c = seconds(CLOCK_PROCESS_CPUTIME_ID) - c0;
    printf("%ld uploads of %zu bytes, %ld at once: %.0f uploads/s, %.1f MB/s, %.0f us CPU each\n",
           uploads, picture_len, at_once, (double)uploads / t,
           (double)uploads * (double)picture_len / t / 1e6, c / (double)uploads * 1e6);
    zmq_close(push);
    zmq_close(pull);
}

int main(int argc, char **argv)
{
    kv_config cfg;
    kv_buf problems, warnings;
    char data[300];
    void *ingest;
    yes_broker broker = {0};
    if (argc < 2)
        return 2;
    snprintf(data, sizeof data, "KERVAN_DATA=%s", argv[1]);
    char *env[] = {data, "IMAGE_PROCESSING_ENABLED=false", NULL};
    if (argc > 4)
        picture_len = (size_t)atol(argv[4]);
    kv_log_setup("bench", KV_LOG_ERROR);
    kv_buf_init(&problems, 0);
    kv_buf_init(&warnings, 0);
    if (kv_config_load(&cfg, env, &problems, &warnings) != KV_OK) {
        fputs(kv_buf_str(&problems), stderr);
        return 2;
    }
    cfg.broker = "inproc://bench-broker"; /* no socket file */
    make_picture();
    zmq = zmq_ctx_new();
    yes_start(&broker, zmq, cfg.broker);
    if (kv_ingest_start(zmq, &cfg, &kv_clock_real, 1, &ingest) != KV_OK)
        return 1;
    drive(argc > 2 ? atol(argv[2]) : 5000, argc > 3 ? atol(argv[3]) : 32);
    kv_ingest_stop(&ingest, 1000);
    yes_stop(&broker);
    zmq_ctx_term(zmq);
    kv_config_release(&cfg);
    kv_buf_release(&problems);
    kv_buf_release(&warnings);
    free(picture);
    return 0;
}
