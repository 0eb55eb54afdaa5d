/* dedup: every upload ends once, whatever happens in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actors/store/puts.h"
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

static int start(void **state)
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

static int stop(void **state)
{
    (void)state;
    rig_stop(&r);
    kv_store_close(&r.arg.store);
    scratch_remove(&dir);
    return 0;
}

static void begin(uint64_t upload)
{
    rig_begin(&r, upload, "a.jpg", "");
    atomic_fetch_add(&r.state.in_flight, 1); /* the scanner's part */
}

static void scanned(uint64_t upload, kv_err number)
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

static void not_hashed(uint64_t upload, kv_err number)
{
    kv_msg m = {.code = KV_UPLOAD_HASHED};
    m.upload_hashed.upload = upload;
    m.upload_hashed.number = number;
    rig_send(&r, &m, NULL, 0);
}

static void hashed(uint64_t upload)
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

static void written(uint64_t upload, kv_err number)
{
    kv_msg m = {.code = KV_UPLOAD_WRITTEN};
    m.upload_written.upload = upload;
    m.upload_written.number = number;
    m.upload_written.size = number ? 0 : 100;
    rig_send(&r, &m, NULL, 0);
}

static void placed(uint64_t upload, kv_err number)
{
    kv_msg m = {.code = KV_PLACED};
    m.placed.upload = upload;
    m.placed.number = number;
    rig_send(&r, &m, NULL, 0);
}

static void released(uint64_t upload)
{
    kv_msg m = {.code = KV_RELEASED};
    char id[KV_ID_BYTES];
    kv_id_put(id, 0, upload);
    m.released.uploads = kv_slice_of(id, sizeof id);
    rig_send(&r, &m, NULL, 0);
}

/* RELEASEs so far, with that of this batch. */
static size_t releases(void)
{
    kv_dedup.batch_end(r.self, r.out);
    return rig_count(&r, KV_RELEASE);
}

static void to_commit(uint64_t upload)
{
    begin(upload);
    written(upload, KV_OK);
    hashed(upload);
    scanned(upload, KV_OK);
    placed(upload, KV_OK);
}

static void answer_committed(bool deduplicated, uint64_t gone_seq)
{
    kv_msg m = {.code = KV_MEDIA_COMMITTED};
    m.media_committed.media = 4711;
    m.media_committed.deduplicated = deduplicated;
    m.media_committed.created = !deduplicated;
    m.media_committed.json = kv_slice_str("{\"id\":\"x\"}");
    m.media_committed.gone_seq = gone_seq;
    kv_out_fake_answer(r.out, r.self, 0, KV_OK, &m);
}

static void answer_error(kv_err err, uint64_t gone_seq)
{
    kv_msg m = {.code = KV_ERROR};
    m.error.number = err;
    m.error.detail = kv_slice_str("why");
    m.error.gone_seq = gone_seq;
    kv_out_fake_answer(r.out, r.self, 0, err, &m);
}

/* The only UPLOAD_DONE, which went to the loop of the upload. */
static const kv_upload_done *done(uint64_t upload)
{
    int peer;
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 1);
    const kv_msg *m = rig_got(&r, KV_UPLOAD_DONE, 0, &peer, NULL);
    assert_int_equal(peer, 1);
    assert_int_equal(m->upload_done.upload, upload);
    assert_int_equal(atomic_load(&r.state.in_flight), 0);
    return &m->upload_done;
}

#define HEX_BB "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define KEY    "banners/" HEX_BB ".jpg"

static void the_straight_way(void **state)
{
    (void)state;
    int peer;
    to_commit(1);
    const kv_msg *m = rig_got(&r, KV_PLACE, 0, &peer, NULL);
    assert_true(peer == SMALL_0 || peer == SMALL_1);
    assert_true(kv_slice_is(m->place.key, KEY));
    const kv_media_commit *c = &kv_out_fake_asked(r.out, 0)->media_commit;
    assert_int_equal(c->upload, 1);
    assert_true(kv_slice_is(c->folder, "banners"));
    assert_true(kv_slice_is(c->filename, "a.jpg"));
    assert_int_equal((uint8_t)c->hash.ptr[0], 0xaa);
    assert_int_equal((uint8_t)c->stored_hash.ptr[31], 0xbb);
    assert_int_equal(c->size, 100);
    assert_int_equal(c->width, 48);
    assert_true(c->dedup && c->process);
    assert_int_equal(releases(), 0);
    answer_committed(false, 7);
    assert_int_equal(releases(), 1);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 0); /* not while a temporary file is left */
    released(1);
    const kv_upload_done *d = done(1);
    assert_int_equal(d->number, 0);
    assert_int_equal(d->media, 4711);
    assert_true(kv_slice_is(d->json, "{\"id\":\"x\"}"));
    assert_int_equal(d->hash_hex.len, 64);
    /* the next commit knows of what is gone */
    kv_out_fake_clear(r.out);
    to_commit(2);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->media_commit.gone_seq, 7);
}

static void large_files_go_to_their_own_placer(void **state)
{
    (void)state;
    int peer;
    begin(1);
    hashed(1);
    kv_msg m = {.code = KV_UPLOAD_SCANNED};
    m.upload_scanned.upload = 1;
    m.upload_scanned.mime = kv_slice_str("video/mp4");
    m.upload_scanned.ext = kv_slice_str("mp4");
    m.upload_scanned.kept_size = 4 << 20;
    m.upload_scanned.folder = kv_slice_str("haber/2026"); /* came behind the file */
    rig_send(&r, &m, NULL, 0);
    m = (kv_msg){.code = KV_UPLOAD_WRITTEN};
    m.upload_written.upload = 1;
    m.upload_written.size = 4 << 20;
    rig_send(&r, &m, NULL, 0);
    const kv_msg *place = rig_got(&r, KV_PLACE, 0, &peer, NULL);
    assert_int_equal(peer, LARGE);
    assert_true(kv_slice_is(place->place.key, "haber/2026/" HEX_BB ".mp4"));
    placed(1, KV_OK);
    assert_false(kv_out_fake_asked(r.out, 0)->media_commit.process); /* not a picture */
    assert_true(kv_slice_is(kv_out_fake_asked(r.out, 0)->media_commit.folder, "haber/2026"));
}

static void canary_folders(void **state)
{
    (void)state;
    r.cfg.processing_folders = "haber,ban";
    to_commit(1);
    assert_false(kv_out_fake_asked(r.out, 0)->media_commit.process);
    answer_committed(false, 0);
    r.cfg.processing_folders = "haber,banners";
    to_commit(2);
    assert_true(kv_out_fake_asked(r.out, 0)->media_commit.process);
    answer_committed(false, 0);
    r.cfg.image_processing_enabled = false;
    to_commit(3);
    assert_false(kv_out_fake_asked(r.out, 0)->media_commit.process);
}

/* S0-57, S0-94: a refused upload ends when everybody has let go of it, in whatever order they say
 * so */
static void a_refusal_waits_for_the_others(void **state)
{
    (void)state;
    for (int order = 0; order < 24; order++) {
        int left[4] = {0, 1, 2, 3}, n = 4;
        kv_out_fake_clear(r.out);
        for (int rest = order; n > 0; n--) {
            int i = rest % n, who = left[i];
            rest /= n;
            left[i] = left[n - 1];
            assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 0);
            if (who == 0)
                begin(1);
            else if (who == 1)
                scanned(1, KV_E_TYPE_REFUSED);
            else if (who == 2)
                written(1, KV_E_TYPE_REFUSED);
            else
                not_hashed(1, KV_E_TYPE_REFUSED);
        }
        assert_int_equal(done(1)->number, KV_E_TYPE_REFUSED);
        assert_true(kv_slice_is(done(1)->detail, "seen"));
        rig_abort(&r, 1, KV_E_CLIENT_GONE); /* a late one is ignored */
        done(1);
    }
}

/* Messages of different senders have no order: BEGIN may come last. */
static void any_order_will_do(void **state)
{
    (void)state;
    written(1, KV_OK);
    hashed(1);
    scanned(1, KV_OK);
    assert_int_equal(rig_count(&r, KV_PLACE), 0);
    begin(1);
    assert_int_equal(rig_count(&r, KV_PLACE), 1);
}

static void a_full_disk_stops_the_pipeline(void **state)
{
    (void)state;
    int peer;
    begin(1);
    written(1, KV_E_DISK_FULL);
    const kv_msg *m = rig_got(&r, KV_UPLOAD_ABORT, 0, &peer, NULL);
    assert_int_equal(peer, SCANNER); /* the rest of the pipeline drops it */
    assert_int_equal(m->upload_abort.number, KV_E_DISK_FULL);
    scanned(1, KV_E_DISK_FULL);
    not_hashed(1, KV_E_DISK_FULL);
    assert_int_equal(done(1)->number, KV_E_DISK_FULL);
    assert_int_equal(rig_count(&r, KV_UPLOAD_ABORT), 1);
}

/* The body was complete, and then the client went before the file was placed. */
static void an_abort_before_the_file_is_placed(void **state)
{
    (void)state;
    begin(2);
    written(2, KV_OK);
    rig_abort(&r, 2, KV_E_TIMEOUT_CLIENT);
    scanned(2, KV_OK);
    hashed(2);
    assert_int_equal(rig_count(&r, KV_PLACE), 0);
    assert_int_equal(releases(), 1);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 0);
    released(2);
    assert_int_equal(done(2)->number, KV_E_TIMEOUT_CLIENT);
}

static void an_abort_behind_place_is_too_late(void **state)
{
    (void)state;
    to_commit(1);
    rig_abort(&r, 1, KV_E_CLIENT_GONE);
    answer_committed(false, 0);
    released(1);
    assert_int_equal(done(1)->number, 0);
}

static void dying_is_tried_again(void **state)
{
    (void)state;
    to_commit(1);
    for (int i = 0; i < 3; i++) {
        answer_error(KV_E_DYING, 0);
        r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
        assert_null(kv_out_fake_asked(r.out, 0));
        kv_fake_clock_advance(&r.clock, 5);
        r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
        assert_non_null(kv_out_fake_asked(r.out, 0));
    }
    kv_fake_clock_advance(&r.clock, 11000); /* it has its limit */
    answer_error(KV_E_DYING, 0);
    assert_int_equal(releases(), 1);
    released(1);
    assert_int_equal(done(1)->number, KV_E_DYING);
}

static void relink_places_again(void **state)
{
    (void)state;
    to_commit(1);
    answer_error(KV_E_RELINK, 42);
    assert_int_equal(rig_count(&r, KV_PLACE), 2);
    assert_int_equal(rig_got(&r, KV_PLACE, 1, NULL, NULL)->place.same.len, 0);
    placed(1, KV_OK);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->media_commit.gone_seq, 42);
    answer_committed(true, 42);
    released(1);
    assert_true(done(1)->deduplicated);
}

static void make_file(void)
{
    kv_put *put;
    assert_int_equal(kv_put_begin(r.arg.store, 99, 0, &put), KV_OK);
    assert_int_equal(kv_put_write(put, "x", 1), KV_OK);
    assert_int_equal(kv_put_link(put, KEY, NULL), KV_OK);
    kv_put_finish(&put);
}

static bool file_there(void)
{
    kv_object_info info;
    return kv_store_head(r.arg.store, KEY, &info) == KV_OK;
}

static void make_database(void)
{
    kv_db *db;
    int from, to;
    assert_int_equal(kv_db_open(&r.cfg, KV_DB_WRITE, &db), KV_OK);
    assert_int_equal(kv_db_migrate(db, &from, &to), KV_OK);
    kv_db_close(&db);
}

static void a_refused_commit_takes_the_file_back(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    answer_error(KV_E_DISK_FULL, 0);
    assert_false(file_there());
    released(1);
    assert_int_equal(done(1)->number, KV_E_DISK_FULL);
    assert_true(kv_slice_is(done(1)->detail, "why"));
}

static void a_file_another_upload_relies_on_stays(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    to_commit(2); /* the same bytes */
    answer_error(KV_E_DISK_FULL, 0);
    assert_true(file_there());
    released(1);
    answer_error(KV_E_DISK_FULL, 0);
    assert_false(file_there());
    released(2);
}

static void without_a_database_nothing_is_removed(void **state)
{
    (void)state;
    make_file();
    to_commit(1);
    answer_error(KV_E_EXPIRED, 0);
    assert_true(file_there());
    released(1);
}

/* The client hears of it at once; row and file go when the broker is back. */
static void a_broker_that_is_away(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    uint64_t media = kv_out_fake_asked(r.out, 0)->media_commit.media;
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL);
    assert_int_equal(done(1)->number, KV_E_BROKER_AWAY);
    assert_true(done(1)->retry_after_ms > 0);
    assert_true(file_there());
    const kv_msg *asked = kv_out_fake_asked(r.out, 0);
    assert_int_equal(asked->code, KV_MEDIA_DELETE);
    assert_int_equal(asked->media_delete.media, media);
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL);
    assert_null(kv_out_fake_asked(r.out, 0));
    kv_fake_clock_advance(&r.clock, 1000);
    r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_DELETE);
    answer_error(KV_E_NOT_FOUND, 0);
    assert_false(file_there());
    released(1);
    done(1);
}

/* The disk failed under a commit: its frames may be in the log, so the row is asked for before the
 * file goes. */
static void a_commit_that_failed_is_in_doubt(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    answer_error(KV_E_IO, 0);
    assert_int_equal(done(1)->number, KV_E_IO);
    assert_int_equal(releases(), 0);
    assert_true(file_there());
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_DELETE);
    answer_error(KV_E_NOT_FOUND, 0);
    assert_false(file_there());
    assert_int_equal(releases(), 1);
    released(1);
}

static void answer_shared(uint64_t media)
{
    kv_msg m = {.code = KV_MEDIA_COMMITTED};
    m.media_committed.media = media;
    m.media_committed.deduplicated = true;
    m.media_committed.json = kv_slice_str("{}");
    kv_out_fake_answer(r.out, r.self, 1, KV_OK, &m);
}

/* 2 was told that the row of 1 is its own, before 1 gave up: the row stays. */
static void a_row_that_others_have_stays(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    uint64_t media = kv_out_fake_asked(r.out, 0)->media_commit.media;
    to_commit(2);
    answer_shared(media);
    released(2);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 1);
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL);
    assert_null(kv_out_fake_asked(r.out, 0)); /* no MEDIA_DELETE */
    assert_true(file_there());
    released(1);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 2);
}

/* The same, but the row of 1 is being taken back already: 2 asks again behind that. */
static void a_row_that_goes_is_not_counted_on(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    uint64_t media = kv_out_fake_asked(r.out, 0)->media_commit.media;
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL); /* 0 is its MEDIA_DELETE now */
    to_commit(2);
    answer_shared(media);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 1); /* of 1 only */
    kv_fake_clock_advance(&r.clock, 5);
    r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
    const kv_msg *again = NULL;
    for (size_t i = 0; !again && kv_out_fake_asked(r.out, i); i++)
        if (kv_out_fake_asked(r.out, i)->code == KV_MEDIA_COMMIT)
            again = kv_out_fake_asked(r.out, i);
    assert_non_null(again);
    assert_true(again->media_commit.media != media);
    kv_out_fake_answer(r.out, r.self, 0, KV_OK, NULL); /* 1 is gone; 2 holds on to the file */
    assert_true(file_there());
}

/* Nothing of a dead process is judged before the ledger has answered: its commits are behind us
 * then. */
static void the_sweep_waits_for_the_ledger(void **state)
{
    (void)state;
    struct stat st;
    char left[400];
    make_database();
    snprintf(left, sizeof left, "%s/media/.tmp/0000000000033", r.cfg.data);
    int fd = open(left, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
    int64_t now = kv_mono_us(&r.clock.clock);
    r.def->tick(r.self, now, r.out);
    r.def->tick(r.self, now, r.out);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_DELETE);
    assert_null(kv_out_fake_asked(r.out, 1));
    answer_error(KV_E_BROKER_AWAY, 0);
    r.def->tick(r.self, now, r.out);
    assert_int_equal(stat(left, &st), 0);
    answer_error(KV_E_NOT_FOUND, 0);
    r.def->tick(r.self, now, r.out);
    assert_int_not_equal(stat(left, &st), 0);
}

/* What is committed in one batch is released by one message. */
static void two_are_released_together(void **state)
{
    (void)state;
    to_commit(1);
    to_commit(2);
    answer_committed(false, 7);
    answer_committed(false, 8);
    assert_int_equal(rig_count(&r, KV_RELEASE), 0);
    assert_int_equal(releases(), 1);
    assert_int_equal(releases(), 1); /* once */
    kv_slice uploads = rig_got(&r, KV_RELEASE, 0, NULL, NULL)->release.uploads;
    assert_int_equal(uploads.len, 2 * KV_ID_BYTES);
    assert_int_equal(kv_id_at(uploads, 0) + kv_id_at(uploads, 1), 3);
    kv_msg m = {.code = KV_RELEASED};
    char ids[2 * KV_ID_BYTES];
    kv_id_put(ids, 0, 2);
    kv_id_put(ids, 1, 1);
    m.released.uploads = kv_slice_of(ids, sizeof ids);
    rig_send(&r, &m, NULL, 0);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 2);
    assert_int_equal(rig_got(&r, KV_UPLOAD_DONE, 0, NULL, NULL)->upload_done.upload, 2);
}

/* More than one RELEASE can name: the rest goes in another. */
static void many_are_released_together(void **state)
{
    (void)state;
    for (uint64_t upload = 1; upload <= KV_RELEASES_MAX + 1; upload++) {
        to_commit(upload);
        answer_committed(false, 7);
    }
    assert_int_equal(releases(), 2);
    assert_int_equal(rig_got(&r, KV_RELEASE, 0, NULL, NULL)->release.uploads.len,
                     KV_RELEASES_MAX * KV_ID_BYTES);
    assert_int_equal(rig_got(&r, KV_RELEASE, 1, NULL, NULL)->release.uploads.len, KV_ID_BYTES);
}

static void a_file_that_cannot_be_placed(void **state)
{
    (void)state;
    begin(1);
    written(1, KV_OK);
    hashed(1);
    scanned(1, KV_OK);
    placed(1, KV_E_IO);
    assert_int_equal(releases(), 1);
    released(1);
    assert_int_equal(done(1)->number, KV_E_IO);
}

static void a_hasher_without_memory(void **state)
{
    (void)state;
    begin(1);
    not_hashed(1, KV_E_NO_MEMORY);
    assert_int_equal(rig_count(&r, KV_UPLOAD_ABORT), 1);
    scanned(1, KV_E_NO_MEMORY);
    written(1, KV_E_NO_MEMORY);
    assert_int_equal(done(1)->number, KV_E_NO_MEMORY);
}

/* ---- whole uploads ---- */

static void judged(uint64_t upload, kv_err number)
{
    uint8_t hash[32], stored[32];
    memset(hash, 0xaa, 32);
    memset(stored, 0xbb, 32);
    kv_msg m = {.code = KV_WHOLE_JUDGED};
    kv_whole_judged *j = &m.whole_judged;
    j->upload = upload;
    j->loop = 1;
    j->folder = kv_slice_str("banners");
    j->filename = kv_slice_str("a.jpg");
    j->number = number;
    if (number) {
        j->detail = kv_slice_str("seen");
    } else {
        j->mime = kv_slice_str("image/jpeg");
        j->ext = kv_slice_str("jpg");
        j->width = 48;
        j->height = 32;
        j->strip_version = 1;
        j->hash = kv_slice_of((char *)hash, 32);
        j->stored_hash = kv_slice_of((char *)stored, 32);
    }
    atomic_fetch_add(&r.state.in_flight, 1); /* the scanner's part */
    rig_send(&r, &m, "the bytes", number ? 0 : 9);
}

static void whole_to_commit(uint64_t upload)
{
    judged(upload, KV_OK);
    placed(upload, KV_OK);
}

/* One message in, one out with the bytes; from PLACED on it goes as ever. */
static void the_straight_way_of_a_whole_upload(void **state)
{
    (void)state;
    int peer;
    kv_slice bytes;
    judged(1, KV_OK);
    assert_int_equal(kv_out_fake_count(r.out), 1);
    const kv_msg *m = rig_got(&r, KV_PLACE_WHOLE, 0, &peer, &bytes);
    assert_true(peer >= SMALL_0 && peer < LARGE);
    assert_true(kv_slice_is(m->place_whole.key, KEY));
    assert_int_equal(m->place_whole.same.len, 0);
    assert_true(kv_slice_is(bytes, "the bytes"));
    assert_null(kv_out_fake_asked(r.out, 0)); /* not before the file is durable */
    placed(1, KV_OK);
    const kv_media_commit *c = &kv_out_fake_asked(r.out, 0)->media_commit;
    assert_int_equal(c->upload, 1);
    assert_true(kv_slice_is(c->folder, "banners"));
    assert_true(kv_slice_is(c->filename, "a.jpg"));
    assert_int_equal((uint8_t)c->hash.ptr[31], 0xaa);
    assert_int_equal((uint8_t)c->stored_hash.ptr[0], 0xbb);
    assert_int_equal(c->size, 9);
    assert_int_equal(c->width, 48);
    assert_int_equal(c->strip_version, 1);
    assert_true(kv_slice_is(c->mime, "image/jpeg"));
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 0); /* not before the row is */
    answer_committed(false, 7);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 0);
    assert_int_equal(releases(), 1);
    int release_peer;
    rig_got(&r, KV_RELEASE, 0, &release_peer, NULL);
    assert_int_equal(release_peer, RELEASES); /* not behind somebody's syncs */
    released(1);
    assert_int_equal(done(1)->number, 0);
    assert_int_equal(done(1)->media, 4711);
}

static void a_refused_whole_upload_is_answered_at_once(void **state)
{
    (void)state;
    judged(1, KV_E_TYPE_REFUSED);
    assert_int_equal(done(1)->number, KV_E_TYPE_REFUSED);
    assert_true(kv_slice_is(done(1)->detail, "seen"));
    assert_int_equal(kv_out_fake_count(r.out), 1); /* nobody else has anything of it */
    rig_abort(&r, 1, KV_E_CLIENT_GONE);
    done(1);
}

/* Nothing was written, hence nothing linked: there is nothing to release or to take back. */
static void a_whole_upload_that_cannot_be_written(void **state)
{
    (void)state;
    make_database();
    make_file();
    judged(1, KV_OK);
    kv_msg m = {.code = KV_PLACED};
    m.placed.upload = 1;
    m.placed.number = KV_E_DISK_FULL;
    m.placed.nothing = true;
    rig_send(&r, &m, NULL, 0);
    assert_int_equal(done(1)->number, KV_E_DISK_FULL);
    assert_int_equal(releases(), 0);
    assert_true(file_there());
}

static void a_whole_upload_that_cannot_be_placed(void **state)
{
    (void)state;
    judged(1, KV_OK);
    placed(1, KV_E_IO);
    assert_int_equal(releases(), 1);
    released(1);
    assert_int_equal(done(1)->number, KV_E_IO);
}

static void a_whole_upload_is_linked_again(void **state)
{
    (void)state;
    kv_slice bytes;
    whole_to_commit(1);
    answer_error(KV_E_RELINK, 42);
    const kv_msg *m = rig_got(&r, KV_PLACE, 0, NULL, &bytes); /* its file is there already */
    assert_true(kv_slice_is(m->place.key, KEY));
    assert_int_equal(bytes.len, 0);
    placed(1, KV_OK);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->media_commit.gone_seq, 42);
    answer_committed(true, 42);
    released(1);
    assert_true(done(1)->deduplicated);
}

/* The same bytes both ways at once: a link goes when neither relies on it any more. */
static void both_ways_at_once(void **state)
{
    (void)state;
    make_database();
    make_file();
    begin(1);
    written(1, KV_OK);
    whole_to_commit(2);
    hashed(1);
    scanned(1, KV_OK);
    placed(1, KV_OK);
    answer_error(KV_E_DISK_FULL, 0); /* of 2 */
    assert_true(file_there());
    released(2);
    answer_error(KV_E_DISK_FULL, 0);
    assert_false(file_there());
    released(1);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 2);
    assert_int_equal(atomic_load(&r.state.in_flight), 0);
}

static void a_broker_that_is_away_from_a_whole_upload(void **state)
{
    (void)state;
    make_database();
    make_file();
    whole_to_commit(1);
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL);
    assert_int_equal(done(1)->number, KV_E_BROKER_AWAY);
    answer_error(KV_E_NOT_FOUND, 0); /* to MEDIA_DELETE */
    assert_false(file_there());
    released(1);
    done(1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_straight_way),
        T(large_files_go_to_their_own_placer),
        T(canary_folders),
        T(a_refusal_waits_for_the_others),
        T(any_order_will_do),
        T(a_full_disk_stops_the_pipeline),
        T(an_abort_before_the_file_is_placed),
        T(an_abort_behind_place_is_too_late),
        T(dying_is_tried_again),
        T(relink_places_again),
        T(a_refused_commit_takes_the_file_back),
        T(a_file_another_upload_relies_on_stays),
        T(without_a_database_nothing_is_removed),
        T(a_broker_that_is_away),
        T(a_commit_that_failed_is_in_doubt),
        T(a_row_that_others_have_stays),
        T(the_sweep_waits_for_the_ledger),
        T(a_row_that_goes_is_not_counted_on),
        T(two_are_released_together),
        T(many_are_released_together),
        T(a_file_that_cannot_be_placed),
        T(a_hasher_without_memory),
        T(the_straight_way_of_a_whole_upload),
        T(a_refused_whole_upload_is_answered_at_once),
        T(a_whole_upload_that_cannot_be_written),
        T(a_whole_upload_that_cannot_be_placed),
        T(a_whole_upload_is_linked_again),
        T(both_ways_at_once),
        T(a_broker_that_is_away_from_a_whole_upload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
