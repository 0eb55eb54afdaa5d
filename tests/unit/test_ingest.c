/* The ingest actors as threads, wired by ingest.c, before a broker that says yes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <stdio.h>
#include <cmocka.h>

#include "actors/ingest.h"
#include "proto/endpoints.h"
#include "storage/db.h"
#include "tests/unit/ingest_fake.h"
#include "tests/unit/sweep_all.h"
#include "tests/unit/scratch.h"
#include "tests/unit/yes_broker.h"

#define UPLOADS 400
#define WAIT_MS 20000

static scratch dir;
static yes_broker broker;
static void *zmq, *push, *pull, *ingest;
static uint8_t picture[1 << 16];
static size_t picture_len;

static int start(void **state)
{
    (void)state;
    char endpoint[64];
    int zero = 0;
    scratch_make(&dir);
    rig_defaults(&dir.cfg);
    dir.cfg.ingest_pipelines = 1;
    dir.cfg.broker = "inproc://test-broker";
    kv_db *db;
    int from, to;
    assert_int_equal(kv_db_open(&dir.cfg, KV_DB_WRITE, &db), KV_OK);
    assert_int_equal(kv_db_migrate(db, &from, &to), KV_OK);
    kv_db_close(&db);
    zmq = zmq_ctx_new();
    memset(&broker, 0, sizeof broker);
    yes_start(&broker, zmq, dir.cfg.broker);
    pull = zmq_socket(zmq, ZMQ_PULL);
    snprintf(endpoint, sizeof endpoint, KV_EP_LOOP, 0u);
    assert_int_equal(zmq_bind(pull, endpoint), 0);
    assert_int_equal(kv_ingest_start(zmq, &dir.cfg, &kv_clock_real, 1, &ingest), KV_OK);
    push = zmq_socket(zmq, ZMQ_PUSH);
    zmq_setsockopt(push, ZMQ_SNDHWM, &zero, sizeof zero);
    snprintf(endpoint, sizeof endpoint, KV_EP_SCANNER, 0u);
    assert_int_equal(zmq_connect(push, endpoint), 0);
    FILE *f = fopen(KV_TESTS_DIR "/unit/data/gps.jpg", "rb");
    picture_len = fread(picture, 1, sizeof picture, f);
    fclose(f);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    kv_ingest_stop(&ingest, 5000);
    yes_stop(&broker);
    zmq_close(push);
    zmq_close(pull);
    zmq_ctx_term(zmq);
    scratch_remove(&dir);
    return 0;
}

static int files_in(const char *folder)
{
    int n = 0;
    DIR *d = opendir(scratch_path(&dir, folder));
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static atomic_int payloads; /* the loop's credit: how many are out */

static void give_back(void *data, void *hint)
{
    (void)hint;
    free(data);
    atomic_fetch_sub(&payloads, 1);
}

static void post_begin(uint64_t id, const char *filename)
{
    kv_msg m = {.code = KV_UPLOAD_BEGIN};
    m.upload_begin.upload = id;
    m.upload_begin.folder = kv_slice_str("banners");
    m.upload_begin.filename = kv_slice_str(filename);
    kv_actor_post(push, NULL, &m, NULL);
}

static void post_bytes(uint64_t id, size_t from, size_t to)
{
    for (size_t at = from, n; at < to; at += n) {
        n = to - at < 3000 ? to - at : 3000;
        uint8_t *bytes = malloc(n);
        zmq_msg_t payload;
        memcpy(bytes, picture + at, n);
        if (at ==
            6000) /* distinct: inside the thumbnail, which goes, so all are kept as one file */
            memcpy(bytes, &id, sizeof id);
        atomic_fetch_add(&payloads, 1);
        zmq_msg_init_data(&payload, bytes, n, give_back, NULL);
        kv_msg m = {.code = KV_UPLOAD_CHUNK};
        m.upload_chunk.upload = id;
        m.upload_chunk.offset = at;
        kv_actor_post(push, NULL, &m, &payload);
    }
}

static void post_end(uint64_t id)
{
    kv_msg m = {.code = KV_UPLOAD_END};
    m.upload_end.upload = id;
    m.upload_end.size = picture_len;
    kv_actor_post(push, NULL, &m, NULL);
}

static void post_abort(uint64_t id)
{
    kv_msg m = {.code = KV_UPLOAD_ABORT};
    m.upload_abort.upload = id;
    m.upload_abort.number = KV_E_CLIENT_GONE;
    kv_actor_post(push, NULL, &m, NULL);
}

static kv_err take_done(uint64_t *ret_id)
{
    kv_header head;
    kv_msg m;
    zmq_msg_t storage, payload;
    zmq_pollitem_t item = {pull, 0, ZMQ_POLLIN, 0};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_int_equal(kv_actor_take(pull, &head, &m, &storage, &payload), 1);
    assert_int_equal(m.code, KV_UPLOAD_DONE);
    kv_err err = (kv_err)m.upload_done.number;
    *ret_id = m.upload_done.upload;
    zmq_msg_close(&storage);
    zmq_msg_close(&payload);
    return err;
}

static void post_whole(uint64_t id, const char *filename, size_t len)
{
    uint8_t *bytes = malloc(len);
    zmq_msg_t payload;
    memcpy(bytes, picture, len);
    memcpy(bytes + 6000, &id, sizeof id);
    atomic_fetch_add(&payloads, 1);
    zmq_msg_init_data(&payload, bytes, len, give_back, NULL);
    kv_msg m = {.code = KV_UPLOAD_WHOLE};
    m.upload_whole.upload = id;
    m.upload_whole.folder = kv_slice_str("banners");
    m.upload_whole.filename = kv_slice_str(filename);
    kv_actor_post(push, NULL, &m, &payload);
}

enum {
    GOOD,
    SPOOF,
    ABORT_HALF,
    ABORT_AT_ONCE,
    ABORT_BEHIND,
    TRUNCATED,
    WHOLE,
    WHOLE_SPOOF,
    WHOLE_TRUNCATED,
    KINDS
};

static void post_upload(uint64_t id, int kind)
{
    if (kind >= WHOLE) {
        post_whole(id, kind == WHOLE_SPOOF ? "a.png" : "a.jpg",
                   kind == WHOLE_TRUNCATED ? 9000 : picture_len);
        return;
    }
    post_begin(id, kind == SPOOF ? "a.png" : "a.jpg");
    if (kind == ABORT_AT_ONCE) {
        post_abort(id);
        return;
    }
    if (kind == ABORT_HALF || kind == TRUNCATED)
        post_bytes(id, 0, 9000);
    else
        post_bytes(id, 0, picture_len);
    if (kind == ABORT_HALF) {
        post_abort(id);
    } else if (kind == TRUNCATED) {
        size_t whole = picture_len;
        picture_len = 9000;
        post_end(id);
        picture_len = whole;
    } else {
        post_end(id);
    }
    if (kind == ABORT_BEHIND)
        post_abort(id);
}

/* S0-57: every upload has one answer; behind the failed ones nothing is left, and all credit is
 * back */
static void every_upload_ends_once(void **state)
{
    (void)state;
    static bool seen[UPLOADS + 1];
    int good = 0;
    memset(seen, 0, sizeof seen);
    for (uint64_t id = 1; id <= UPLOADS; id++)
        post_upload(id, (int)(id % KINDS));
    for (int i = 0; i < UPLOADS; i++) {
        static const kv_err want[] = {
            [SPOOF] = KV_E_TYPE_MISMATCH,       [ABORT_HALF] = KV_E_CLIENT_GONE,
            [ABORT_AT_ONCE] = KV_E_CLIENT_GONE, [TRUNCATED] = KV_E_BAD_IMAGE,
            [WHOLE_SPOOF] = KV_E_TYPE_MISMATCH, [WHOLE_TRUNCATED] = KV_E_BAD_IMAGE};
        uint64_t id;
        kv_err err = take_done(&id);
        int kind = (int)(id % KINDS);
        assert_true(id >= 1 && id <= UPLOADS && !seen[id]);
        seen[id] = true;
        if (kind == ABORT_BEHIND) /* in time or not */
            assert_true(err == KV_OK || err == KV_E_CLIENT_GONE);
        else
            assert_int_equal(err, want[kind]);
        good += err == KV_OK;
    }
    assert_int_equal(broker.commits, good);
    assert_int_equal(files_in("media/.tmp"), 0);
    assert_int_equal(files_in("media/banners"), 1); /* the same bytes are kept */
    kv_ingest_stop(&ingest, 5000);
    assert_int_equal(payloads, 0);
}

static kv_key_fate all_go(void *arg, const char *key)
{
    (void)arg, (void)key;
    return KV_KEY_GOES;
}

/* Time is up with uploads under way: the threads stop. What was linked by then is left to the
 * sweep, for its row is not decided; else nothing is left. */
static void a_stop_in_the_middle(void **state)
{
    (void)state;
    for (uint64_t id = 1; id <= 100; id += 2) {
        post_begin(id, "a.jpg");
        post_bytes(id, 0, 12000);
        post_whole(id + 1, "a.jpg", picture_len);
    }
    kv_ingest_stop(&ingest, 0);
    kv_store *store;
    kv_sweep_result r = {0};
    assert_int_equal(kv_store_open_config(&dir.cfg, &store), KV_OK);
    int left = files_in("media/.tmp");
    assert_int_equal(sweep_all(store, -1000, all_go, NULL, &r), KV_OK);
    kv_store_close(&store);
    assert_int_equal(r.removed, left);
    assert_true(r.orphans <= 1 && (left == 0) == (r.orphans == 0)); /* the same bytes: one key */
    assert_int_equal(files_in("media/.tmp"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_upload_ends_once, start, stop),
        cmocka_unit_test_setup_teardown(a_stop_in_the_middle, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
