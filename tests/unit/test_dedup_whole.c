/* dedup with whole small uploads: one message in, one out, and then as ever. */
#include "tests/unit/dedup_rig.h"

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
    make_database();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
