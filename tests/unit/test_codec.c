/* The codec, walked over the table of messages: what is added there is tested here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/codec_table.h"
#include "proto/mpread.h"

#define LONGEST (KV_JSON_MAX * 64)

static char *filler; /* LONGEST bytes of 'x' */

typedef enum fill { FILL_DEFAULT, FILL_LEAST, FILL_MOST } fill;

static void fill_message(uint16_t code, fill how, kv_msg *m)
{
    const kv_message_info *info = kv_message_info_of(code);

    kv_msg_defaults(code, m);
    for (size_t i = 0; i < info->count && how != FILL_DEFAULT; i++) {
        const kv_field_info *f = &info->fields[i];
        void *to = (char *)m + f->offset;
        bool most = how == FILL_MOST;
        switch (f->type) {
        case KV_FIELD_u64:
            *(uint64_t *)to = !most ? 0 : f->limit ? f->limit : UINT64_MAX;
            break;
        case KV_FIELD_i64:
            *(int64_t *)to = !most ? INT64_MIN : f->limit ? (int64_t)f->limit : INT64_MAX;
            break;
        case KV_FIELD_boolean:
            *(bool *)to = most;
            break;
        case KV_FIELD_str:
        case KV_FIELD_bin:
            assert_true(f->limit <= LONGEST);
            *(kv_slice *)to = most ? kv_slice_of(filler, f->limit) : kv_slice_of(NULL, 0);
            break;
        }
    }
}

static void assert_same(const kv_msg *a, const kv_msg *b)
{
    const kv_message_info *info = kv_message_info_of(a->code);

    assert_int_equal(a->code, b->code);
    for (size_t i = 0; i < info->count; i++) {
        const kv_field_info *f = &info->fields[i];
        const void *x = (const char *)a + f->offset, *y = (const char *)b + f->offset;
        if (f->type == KV_FIELD_u64 || f->type == KV_FIELD_i64)
            assert_memory_equal(x, y, 8);
        else if (f->type == KV_FIELD_boolean)
            assert_int_equal(*(const bool *)x, *(const bool *)y);
        else
            assert_true(kv_slice_eq(*(const kv_slice *)x, *(const kv_slice *)y));
    }
}

/* Decodes bytes that lie in memory of exactly their size, so that a sanitizer sees a read behind
 * them. */
static kv_err decode_exact(uint16_t code, const char *bytes, size_t len, kv_msg *m,
                           const char **why)
{
    char *copy = malloc(len ? len : 1);

    memcpy(copy, bytes, len);
    kv_err err = kv_body_decode(code, len ? copy : NULL, len, m, why);
    free(copy);
    return err;
}

/* What an older or newer peer sends: the first `count` fields, and more behind the known ones. */
static void other_versions(const kv_msg *m, const kv_buf *body)
{
    const kv_message_info *info = kv_message_info_of(m->code);
    kv_mp_reader r = {(const uint8_t *)body->data, (const uint8_t *)body->data + body->len};
    kv_mp_item item;
    kv_msg back, defaults;
    const char *why;
    kv_buf b;

    kv_buf_init(&b, 0);
    kv_msg_defaults(m->code, &defaults);
    assert_true(kv_mp_next(&r, &item));
    const uint8_t *first = r.at;
    for (size_t n = 0; n <= info->count; n++) {
        kv_buf_clear(&b);
        kv_buf_addc(&b, (char)0xdc);
        kv_buf_addc(&b, 0);
        kv_buf_addc(&b, (char)n);
        kv_buf_add(&b, first, (size_t)(r.at - first));
        assert_int_equal(kv_body_decode(m->code, b.data, b.len, &back, &why), KV_OK);
        for (size_t i = n; i < info->count; i++) {
            const kv_field_info *f = &info->fields[i];
            size_t size = f->type == KV_FIELD_boolean ? 1
                          : f->type <= KV_FIELD_i64   ? 8
                                                      : sizeof(kv_slice);
            assert_memory_equal((char *)&back + f->offset, (char *)&defaults + f->offset, size);
        }
        if (n < info->count)
            assert_true(kv_mp_skip(&r));
    }
    static const char more[] = "\xc0\x92\x01\x81\xa1k\xcb........\xc7\x02\x05xy\xd5...";
    b.data[2] = (char)(info->count + 4);
    kv_buf_add(&b, more, sizeof more - 1);
    assert_int_equal(kv_body_decode(m->code, b.data, b.len, &back, &why), KV_OK);
    assert_same(m, &back);
    b.data[2] = KV_FIELDS_MAX + 1;
    assert_int_equal(kv_body_decode(m->code, b.data, b.len, &back, &why), KV_E_BAD_MESSAGE);
    kv_buf_release(&b);
}

static void truncations(const kv_msg *m, const kv_buf *body)
{
    const char *why = NULL;
    kv_msg back;

    for (size_t n = 0; n < body->len; n += n < 2048 ? 1 : body->len / 64 + 1) {
        assert_int_equal(decode_exact(m->code, body->data, n, &back, &why), KV_E_BAD_MESSAGE);
        assert_non_null(why);
    }
}

static void test_round_trips(void **state)
{
    const kv_message_info *info;
    kv_buf body, again;

    (void)state;
    kv_buf_init(&body, 0);
    kv_buf_init(&again, 0);
    for (size_t i = 0; (info = kv_message_info_at(i)); i++) {
        for (fill how = FILL_DEFAULT; how <= FILL_MOST; how++) {
            kv_msg m, back;
            const char *why = "";
            fill_message(info->code, how, &m);
            kv_buf_clear(&body);
            kv_body_encode(&m, &body);
            assert_true(kv_buf_ok(&body) && body.len <= KV_BODY_MAX);
            kv_err err = kv_body_decode(info->code, body.data, body.len, &back, &why);
            if (err)
                fail_msg("%s: %s", info->name, why);
            assert_null(why);
            assert_same(&m, &back);
            kv_buf_clear(&again);
            kv_body_encode(&back, &again);
            assert_true(kv_slice_eq(kv_buf_slice(&body), kv_buf_slice(&again)));
            truncations(&m, &body);
            if (how != FILL_MOST || body.len < 100000)
                other_versions(&m, &body);
        }
    }
    kv_buf_release(&body);
    kv_buf_release(&again);
}

/* One over each limit, and each wrong type: refused, with the name of the field. */
static void test_limits_and_types(void **state)
{
    const kv_message_info *info;

    (void)state;
    for (size_t i = 0; (info = kv_message_info_at(i)); i++) {
        for (size_t n = 0; n < info->count; n++) {
            const kv_field_info *f = &info->fields[n];
            bool text = f->type == KV_FIELD_str, bytes = f->type == KV_FIELD_bin;
            kv_buf b;
            kv_msg back;
            const char *why = "";
            kv_buf_init(&b, 0);
            kv_buf_addc(&b, (char)0xdc);
            kv_buf_addc(&b, 0);
            kv_buf_addc(&b, (char)(n + 1));
            for (size_t before = 0; before < n; before++) {
                static const char least[][3] = {"\x00", "\x00", "\xc2", "\xa0", "\xc4"};
                kv_field_type type = info->fields[before].type;
                kv_buf_add(&b, least[type], type == KV_FIELD_bin ? 2 : 1);
            }
            size_t len = b.len;
            kv_buf_addc(&b, (char)0xc0); /* nil is no value of any field */
            assert_int_equal(kv_body_decode(info->code, b.data, b.len, &back, &why),
                             KV_E_BAD_MESSAGE);
            assert_ptr_equal(why, f->bad_type);
            if (text || bytes) {
                b.len = len;
                kv_buf_addc(&b, (char)(text ? 0xdb : 0xc6));
                for (int shift = 24; shift >= 0; shift -= 8)
                    kv_buf_addc(&b, (char)((f->limit + 1) >> shift));
                kv_buf_add(&b, filler, f->limit);
                kv_buf_addc(&b, 'x');
            } else if (f->limit) {
                b.len = len;
                kv_buf_addc(&b, (char)0xcf);
                for (int shift = 56; shift >= 0; shift -= 8)
                    kv_buf_addc(&b, (char)((f->limit + 1) >> shift));
            } else {
                kv_buf_release(&b);
                continue;
            }
            assert_true(kv_buf_ok(&b));
            assert_int_equal(kv_body_decode(info->code, b.data, b.len, &back, &why),
                             KV_E_BAD_MESSAGE);
            assert_ptr_equal(why, f->bad_limit);
            kv_buf_release(&b);
        }
    }
}

/* Sizes a peer only announces, depth, wrong forms: refused without a look behind the end. */
static void test_hostile_bodies(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"", 0},
        {"\xdd\xff\xff\xff\xff", 5}, /* the five bytes that cost msgpack-c 4 GB */
        {"\xdc\xff\xff", 3},
        {"\xdf\xff\xff\xff\xff", 5},
        {"\x81\x01\x02", 3}, /* a map */
        {"\x01", 1},         /* a number */
        {"\xc0", 1},
        {"\xc1", 1},
        {"\x91\xdb\xff\xff\xff\xff", 6}, /* a str of 4 GB */
        {"\x91\xd9\x05"
         "ab",
         5},
        {"\x92\xa0\xa0\xa0", 4}, /* a byte behind the end */
        {"\x91\xa2\xff\xfe", 4}, /* not UTF-8 */
        {"\x91\xa3\xed\xa0\x80", 5},
        {"\x91\xc4\x01x", 4},             /* bin where str belongs */
        {"\x93\xa0\xa0\xff", 4},          /* a negative number */
        {"\x93\xa0\xa0\xcb........", 12}, /* a float */
        {"\x93\xa0\xa0\x91\x01", 5},      /* not flat */
        {"\x97\xa0\xa0\x00\xa0\x00\x00\xdd\xff\xff\xff\xff", 12},
        {"\x97\xa0\xa0\x00\xa0\x00\x00\xdf\xff\xff\xff\xff", 12},
        {"\x97\xa0\xa0\x00\xa0\x00\x00\xc9\xff\xff\xff\xff", 12},
        {"\x97\xa0\xa0\x00\xa0\x00\x00\x91\x91\x91\x91\x91\x91\x91\x91\x01", 16}, /* nine levels */
    };
    kv_msg m;
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(decode_exact(KV_HELLO, bad[i].bytes, bad[i].len, &m, &why),
                         KV_E_BAD_MESSAGE);
        assert_non_null(why);
    }
    assert_int_equal(decode_exact(KV_HELLO,
                                  "\x97\xa0\xa0\x00\xa0\x00\x00\x91\x91\x91\x91\x91\x91\x91\x01",
                                  15, &m, NULL),
                     KV_OK);
    /* what libraries of other languages get wrong is told with what is wanted */
    decode_exact(KV_HELLO, "\x91\xc4\x01x", 4, &m, &why);
    assert_string_equal(why, "role: must be a str (not bin)");
    decode_exact(KV_HELLO, "\x93\xa0\xa0\xcb........", 12, &m, &why);
    assert_string_equal(why, "instance: must be a uint (an integer, not negative)");
    decode_exact(KV_READY, "\x92\xa0\xcd\x13\x88", 5, &m, &why);
    assert_string_equal(why, "credit: is over its limit of 4096");
    decode_exact(KV_QUEUE_SET, "\x94\xa0\xa0\xc2\xcf\xff.......", 13, &m, &why);
    assert_string_equal(why, "paused: must be an int (an integer)");
    /* a number that is not negative, in a signed form */
    assert_int_equal(decode_exact(KV_HELLO, "\x93\xa0\xa0\xd0\x07", 5, &m, NULL), KV_OK);
    assert_int_equal(m.hello.instance, 7);
    assert_int_equal(decode_exact(0x0b, "\x90", 1, &m, &why), KV_E_UNKNOWN_CODE);
    assert_int_equal(decode_exact(0xffff, "\x90", 1, &m, &why), KV_E_UNKNOWN_CODE);
    assert_int_equal(kv_body_decode(KV_HELLO, filler, KV_BODY_MAX + 1, &m, &why), KV_E_BAD_MESSAGE);
}

/* Bodies one behind the other: each is judged alone, as long as its end can be told. */
static void test_bodies_in_a_row(void **state)
{
    /* [7]  [7, "ai", 3: over its limit]  {}: no array  [7, 8]: wrong type  [7  cut off */
    static const char row[] = "\x91\x07\x93\x07\xa2"
                              "ai\x03\x80\x92\x07\x08\x92\x07";
    static const size_t length[] = {2, 6, 1, 3, 0};
    const char *at = row, *why;
    kv_msg m;
    size_t used;

    (void)state;
    for (int i = 0; i < 5; i++, at += used) {
        size_t left = (size_t)(row + sizeof row - 1 - at);
        kv_err err = kv_body_decode_next(KV_SUBMIT, at, left, &m, &used, &why);
        assert_int_equal(err, i == 0 ? KV_OK : KV_E_BAD_MESSAGE);
        assert_int_equal(used, length[i]);
        assert_true((why == NULL) == (i == 0));
        assert_int_equal(m.submit.job, i == 2 ? 0 : 7); /* what was read stands there */
    }
    assert_int_equal(kv_body_decode(KV_SUBMIT, row, sizeof row - 1, &m, &why), KV_E_BAD_MESSAGE);
    assert_string_equal(why, "bytes follow the array");
}

static void test_header(void **state)
{
    kv_header h = {.code = 0x1234, .request = 0x0102030405060708, .deadline_ms = UINT64_MAX - 1},
              back;
    uint8_t bytes[KV_HEADER_SIZE];

    (void)state;
    for (int i = 0; i < 16; i++)
        h.trace[i] = (uint8_t)(i + 1);
    for (int i = 0; i < 8; i++)
        h.span[i] = (uint8_t)(i + 101);
    kv_header_encode(&h, bytes);
    assert_memory_equal(bytes, "KV\x01\x00\x12\x34\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08", 16);
    memset(&back, 0, sizeof back);
    assert_int_equal(kv_header_decode(bytes, sizeof bytes, &back), KV_OK);
    assert_int_equal(back.code, h.code);
    assert_true(back.request == h.request && back.deadline_ms == h.deadline_ms);
    assert_memory_equal(back.trace, h.trace, 16);
    assert_memory_equal(back.span, h.span, 8);
    for (size_t n = 0; n < sizeof bytes; n++)
        assert_int_equal(kv_header_decode(bytes, n, &back), KV_E_BAD_MESSAGE);
    bytes[3] = bytes[7] = 9; /* for later versions: not looked at */
    assert_int_equal(kv_header_decode(bytes, sizeof bytes, &back), KV_OK);
    bytes[2] = 2;
    assert_int_equal(kv_header_decode(bytes, sizeof bytes, &back), KV_E_BAD_VERSION);
    bytes[1] = 'X';
    assert_int_equal(kv_header_decode(bytes, sizeof bytes, &back), KV_E_BAD_MESSAGE);
}

static void test_table(void **state)
{
    const kv_message_info *info;
    uint16_t last = 0;

    (void)state;
    for (size_t i = 0; (info = kv_message_info_at(i)); i++) {
        assert_true(info->code > last);
        last = info->code;
        assert_ptr_equal(kv_message_info_of(info->code), info);
        assert_string_equal(kv_code_name(info->code), info->name);
        assert_int_equal(kv_code_answer(info->code) != 0, info->answer[0] != '\0');
        assert_true(info->count > 0 && info->text[0] && info->from[0]);
    }
    assert_int_equal(kv_code_answer(KV_MEDIA_COMMIT), KV_MEDIA_COMMITTED);
    assert_int_equal(kv_code_answer(KV_JOB), 0);
    assert_string_equal(kv_code_name(0x7777), "?");
    assert_true(kv_code_ingest(KV_UPLOAD_CHUNK));
    assert_true(kv_code_ingest(0x60) && kv_code_ingest(0x7f)); /* those to come, too */
    assert_false(kv_code_ingest(0x5f) || kv_code_ingest(0x80) || kv_code_ingest(KV_STATS_OK));
}

static void test_describe(void **state)
{
    kv_buf b;
    kv_msg m;

    (void)state;
    kv_buf_init(&b, 0);
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.service = kv_slice_str("image");
    m.submit.params = kv_slice_of(filler, 1000);
    kv_msg_describe(&m, &b);
    assert_non_null(strstr(kv_buf_str(&b),
                           "{\"message\":\"SUBMIT\",\"job\":0,\"service\":\"image\",\"lane\":1,"));
    assert_true(b.len < 600); /* params are cut */
    kv_buf_release(&b);
}

/* PROTOCOL.md holds the tables as messages.h has them. KV_REGENERATE=1 in the environment writes
 * them into it. */
static void test_protocol_md(void **state)
{
    static const char path[] = KV_TESTS_DIR "/../proto/PROTOCOL.md";
    static const char begin[] = "<!-- generated from messages.h and error.h: begin -->\n";
    static const char end[] = "<!-- generated: end -->";
    kv_buf file, wanted;
    char chunk[4096];
    size_t n;

    (void)state;
    kv_buf_init(&file, 0);
    kv_buf_init(&wanted, 0);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        kv_buf_add(&file, chunk, n);
    fclose(f);
    const char *from = strstr(kv_buf_str(&file), begin), *to = strstr(kv_buf_str(&file), end);
    assert_true(from && to && from < to);
    from += strlen(begin);
    kv_buf_add(&wanted, file.data, (size_t)(from - file.data));
    kv_protocol_tables(&wanted);
    kv_buf_adds(&wanted, to);
    if (getenv("KV_REGENERATE")) {
        f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(wanted.data, 1, wanted.len, f), wanted.len);
        assert_int_equal(fclose(f), 0);
    } else if (!kv_slice_eq(kv_buf_slice(&file), kv_buf_slice(&wanted))) {
        fail_msg("proto/PROTOCOL.md is older than messages.h: run this test with KV_REGENERATE=1");
    }
    kv_buf_release(&file);
    kv_buf_release(&wanted);
}

static int setup(void **state)
{
    (void)state;
    filler = malloc(KV_BODY_MAX + 1);
    memset(filler, 'x', KV_BODY_MAX + 1);
    return filler == NULL;
}

static int teardown(void **state)
{
    (void)state;
    free(filler);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),    cmocka_unit_test(test_limits_and_types),
        cmocka_unit_test(test_hostile_bodies), cmocka_unit_test(test_bodies_in_a_row),
        cmocka_unit_test(test_header),         cmocka_unit_test(test_table),
        cmocka_unit_test(test_describe),       cmocka_unit_test(test_protocol_md),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
