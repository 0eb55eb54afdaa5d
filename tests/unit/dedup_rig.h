/* What the tests of dedup share: the actor outside its thread, and a line for each message. */
#ifndef KV_TESTS_DEDUP_RIG_H
#define KV_TESTS_DEDUP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/base/id.h"
#include "storage/db.h"
#include "tests/unit/ingest_fake.h"
#include "tests/unit/scratch.h"

/* Peers of this rig: loops 0 and 1, scanner 2, placers 3, 4 and 5. */
enum {
    SCANNER = 2,
    SMALL_0 = 3,
    SMALL_1 = 4,
    LARGE = SMALL_0 + KV_PLACER_LARGE,
    RELEASES = SMALL_0 + KV_PLACER_RELEASES
};

static scratch dir;
static rig r;

static inline int start(void **state)
{
    (void)state;
    memset(&r, 0, sizeof r);
    scratch_make(&dir);
    r.cfg = dir.cfg;
    rig_defaults(&r.cfg);
    assert_int_equal(kv_store_open_config(&r.cfg, &r.arg.store), KV_OK);
    rig_start(&r, &kv_dedup);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    rig_stop(&r);
    kv_store_close(&r.arg.store);
    scratch_remove(&dir);
    return 0;
}

#define HEX_BB "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define KEY    "banners/" HEX_BB ".jpg"

static inline void begin(uint64_t upload)
{
    rig_begin(&r, upload, "a.jpg", "");
    atomic_fetch_add(&r.state.in_flight, 1); /* the scanner's part */
}

static inline void scanned(uint64_t upload, kv_err number)
{
    kv_msg m = {.code = KV_UPLOAD_SCANNED};
    m.upload_scanned.upload = upload;
    m.upload_scanned.number = number;
    m.upload_scanned.detail = kv_slice_str(number ? "seen" : "");
    m.upload_scanned.mime = kv_slice_str("image/jpeg");
    m.upload_scanned.ext = kv_slice_str("jpg");
    m.upload_scanned.width = 48;
    m.upload_scanned.height = 32;
    m.upload_scanned.strip_version = 1;
    m.upload_scanned.kept_size = 100;
    rig_send(&r, &m, NULL, 0);
}

static inline void not_hashed(uint64_t upload, kv_err number)
{
    kv_msg m = {.code = KV_UPLOAD_HASHED};
    m.upload_hashed.upload = upload;
    m.upload_hashed.number = number;
    rig_send(&r, &m, NULL, 0);
}

static inline void hashed(uint64_t upload)
{
    uint8_t hash[32], stored[32];
    memset(hash, 0xaa, 32);
    memset(stored, 0xbb, 32);
    kv_msg m = {.code = KV_UPLOAD_HASHED};
    m.upload_hashed.upload = upload;
    m.upload_hashed.hash = kv_slice_of((char *)hash, 32);
    m.upload_hashed.stored_hash = kv_slice_of((char *)stored, 32);
    rig_send(&r, &m, NULL, 0);
}

static inline void written(uint64_t upload, kv_err number)
{
    kv_msg m = {.code = KV_UPLOAD_WRITTEN};
    m.upload_written.upload = upload;
    m.upload_written.number = number;
    m.upload_written.size = number ? 0 : 100;
    rig_send(&r, &m, NULL, 0);
}

static inline void placed(uint64_t upload, kv_err number)
{
    kv_msg m = {.code = KV_PLACED};
    m.placed.upload = upload;
    m.placed.number = number;
    rig_send(&r, &m, NULL, 0);
}

static inline void released(uint64_t upload)
{
    kv_msg m = {.code = KV_RELEASED};
    char id[KV_ID_BYTES];
    kv_id_put(id, 0, upload);
    m.released.uploads = kv_slice_of(id, sizeof id);
    rig_send(&r, &m, NULL, 0);
}

/* RELEASEs so far, with that of this batch. */
static inline size_t releases(void)
{
    kv_dedup.batch_end(r.self, r.out);
    return rig_count(&r, KV_RELEASE);
}

static inline void to_commit(uint64_t upload)
{
    begin(upload);
    written(upload, KV_OK);
    hashed(upload);
    scanned(upload, KV_OK);
    placed(upload, KV_OK);
}

static inline void answer_committed(bool deduplicated, uint64_t gone_seq)
{
    kv_msg m = {.code = KV_MEDIA_COMMITTED};
    m.media_committed.media = 4711;
    m.media_committed.deduplicated = deduplicated;
    m.media_committed.created = !deduplicated;
    m.media_committed.json = kv_slice_str("{\"id\":\"x\"}");
    m.media_committed.gone_seq = gone_seq;
    kv_out_fake_answer(r.out, r.self, 0, KV_OK, &m);
}

static inline void answer_error(kv_err err, uint64_t gone_seq)
{
    kv_msg m = {.code = KV_ERROR};
    m.error.number = err;
    m.error.detail = kv_slice_str("why");
    m.error.gone_seq = gone_seq;
    kv_out_fake_answer(r.out, r.self, 0, err, &m);
}

/* The only UPLOAD_DONE, which went to the loop of the upload. */
static inline const kv_upload_done *done(uint64_t upload)
{
    int peer;
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 1);
    const kv_msg *m = rig_got(&r, KV_UPLOAD_DONE, 0, &peer, NULL);
    assert_int_equal(peer, 1);
    assert_int_equal(m->upload_done.upload, upload);
    assert_int_equal(atomic_load(&r.state.in_flight), 0);
    return &m->upload_done;
}

static inline void make_file(void)
{
    kv_put *put;
    assert_int_equal(kv_put_begin(r.arg.store, 99, 0, &put), KV_OK);
    assert_int_equal(kv_put_write(put, "x", 1), KV_OK);
    assert_int_equal(kv_put_link(put, KEY, NULL), KV_OK);
    kv_put_finish(&put);
}

static inline bool file_there(void)
{
    kv_object_info info;
    return kv_store_head(r.arg.store, KEY, &info) == KV_OK;
}

static inline void make_database(void)
{
    kv_db *db;
    int from, to;
    assert_int_equal(kv_db_open(&r.cfg, KV_DB_WRITE, &db), KV_OK);
    assert_int_equal(kv_db_migrate(db, &from, &to), KV_OK);
    kv_db_close(&db);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

#endif
