/* dedup: every upload ends once, whatever happens in which order. */
#include "tests/unit/dedup_rig.h"

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
    make_database();
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
    make_database();
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
        T(two_are_released_together),
        T(many_are_released_together),
        T(a_file_that_cannot_be_placed),
        T(a_hasher_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
