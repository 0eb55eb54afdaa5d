/* The hasher: two digests of one stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/base/buf.h"
#include "tests/unit/ingest_fake.h"

static rig r;

static int start(void **state)
{
    (void)state;
    memset(&r, 0, sizeof r);
    rig_start(&r, &kv_hasher);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_stop(&r);
    return 0;
}

static void hash(uint64_t upload, bool same, const char *received, const char *kept)
{
    kv_msg m = {.code = KV_UPLOAD_HASH};
    m.upload_hash.upload = upload;
    m.upload_hash.same = same;
    rig_send(&r, &m, received, strlen(received));
    if (same)
        return;
    m = (kv_msg){.code = KV_UPLOAD_KEPT};
    m.upload_kept.upload = upload;
    rig_send(&r, &m, kept, strlen(kept));
}

static void expect(size_t i, uint64_t upload, const char *hex, const char *stored_hex)
{
    uint8_t want[32];
    const kv_msg *m = rig_got(&r, KV_UPLOAD_HASHED, i, NULL, NULL);
    assert_non_null(m);
    assert_int_equal(m->upload_hashed.upload, upload);
    assert_true(kv_hex_decode(hex, 64, want, 32));
    assert_int_equal(m->upload_hashed.hash.len, 32);
    assert_memory_equal(m->upload_hashed.hash.ptr, want, 32);
    assert_true(kv_hex_decode(stored_hex, 64, want, 32));
    assert_memory_equal(m->upload_hashed.stored_hash.ptr, want, 32);
}

/* sha256sum of these texts */
#define ABC    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABCDEF "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721"
#define EMPTY  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* S0-17, S0-31 */
static void one_stream(void **state)
{
    (void)state;
    rig_begin(&r, 1, "a", "");
    hash(1, true, "a", NULL);
    hash(1, true, "bc", NULL);
    rig_end(&r, 1, 3);
    expect(0, 1, ABC, ABC);
}

static void two_streams_part(void **state)
{
    (void)state;
    rig_begin(&r, 1, "a", "");
    hash(1, true, "ab", NULL);
    hash(1, false, "XYZ", "cd");
    hash(1, true, "ef", NULL);
    rig_end(&r, 1, 7);
    expect(0, 1, "5589446fbd7c368a11541efcb2b544cf7631c74b07a86a1fcd4c389a50af93f0", ABCDEF);
}

static void nothing_kept(void **state)
{
    (void)state;
    rig_begin(&r, 1, "a", "");
    hash(1, false, "abc", "");
    rig_end(&r, 1, 3);
    expect(0, 1, ABC, EMPTY);
}

static void uploads_do_not_mix_and_an_abort_forgets(void **state)
{
    (void)state;
    rig_begin(&r, 1, "a", "");
    rig_begin(&r, 2, "a", "");
    rig_begin(&r, 3, "a", "");
    hash(1, true, "abc", NULL);
    hash(2, true, "abcd", NULL);
    hash(3, true, "zzz", NULL);
    rig_abort(&r, 3, KV_E_CLIENT_GONE);
    hash(3, true, "late", NULL);
    rig_end(&r, 3, 7);
    hash(2, true, "ef", NULL);
    rig_end(&r, 2, 6);
    rig_end(&r, 1, 3);
    assert_int_equal(rig_count(&r, KV_UPLOAD_HASHED), 3);
    const kv_msg *m = rig_got(&r, KV_UPLOAD_HASHED, 0, NULL, NULL);
    assert_int_equal(m->upload_hashed.number, KV_E_CLIENT_GONE);
    expect(1, 2, ABCDEF, ABCDEF);
    expect(2, 1, ABC, ABC);
}

static void judged(uint64_t upload, bool same, const char *kept)
{
    kv_msg m = {.code = KV_WHOLE_JUDGED};
    m.whole_judged.upload = upload;
    m.whole_judged.loop = 1;
    m.whole_judged.filename = kv_slice_str("a.jpg");
    m.whole_judged.width = 48;
    m.whole_judged.same = same;
    rig_send(&r, &m, kept, strlen(kept));
}

static void received(uint64_t upload, const char *bytes)
{
    kv_msg m = {.code = KV_WHOLE_RECEIVED};
    m.whole_received.upload = upload;
    rig_send(&r, &m, bytes, strlen(bytes));
}

static void expect_whole(size_t i, uint64_t upload, const char *hex, const char *stored_hex,
                         const char *kept)
{
    uint8_t want[32];
    kv_slice payload;
    const kv_msg *m = rig_got(&r, KV_WHOLE_JUDGED, i, NULL, &payload);
    assert_non_null(m);
    const kv_whole_judged *j = &m->whole_judged;
    assert_int_equal(j->upload, upload);
    assert_int_equal(j->number, 0);
    assert_true(kv_slice_is(j->filename, "a.jpg")); /* what the scanner said goes along */
    assert_int_equal(j->width, 48);
    assert_int_equal(j->loop, 1);
    assert_true(kv_slice_is(payload, kept));
    assert_true(kv_hex_decode(hex, 64, want, 32));
    assert_memory_equal(j->hash.ptr, want, 32);
    assert_true(kv_hex_decode(stored_hex, 64, want, 32));
    assert_memory_equal(j->stored_hash.ptr, want, 32);
}

/* S0-17, S0-31; between chunks of others */
static void whole_uploads(void **state)
{
    (void)state;
    rig_begin(&r, 9, "a", "");
    hash(9, true, "abc", NULL);
    judged(1, true, "abc");
    received(2, "abc");
    judged(2, false, "abcdef");
    judged(3, true, "abcdef");
    hash(9, true, "def", NULL);
    rig_end(&r, 9, 6);
    expect_whole(0, 1, ABC, ABC, "abc");
    expect_whole(1, 2, ABC, ABCDEF, "abcdef");
    expect_whole(2, 3, ABCDEF, ABCDEF, "abcdef");
    expect(0, 9, ABCDEF, ABCDEF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_stream, start, stop),
        cmocka_unit_test_setup_teardown(two_streams_part, start, stop),
        cmocka_unit_test_setup_teardown(nothing_kept, start, stop),
        cmocka_unit_test_setup_teardown(whole_uploads, start, stop),
        cmocka_unit_test_setup_teardown(uploads_do_not_mix_and_an_abort_forgets, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
