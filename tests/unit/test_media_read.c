/* Media as JSON: rows, lists, folders, and what stands behind a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jansson.h>

#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "storage/read/media.h"
#include "storage/read/variants.h"
#include "tests/unit/memory_db.h"

static const char VARIANTS[] = "[{\"format\":\"webp\",\"width\":640,\"height\":480,\"size\":1230,"
                               "\"params\":\"q80e4-1a2b3c\",\"full\":false},"
                               "{\"format\":\"webp\",\"width\":2000,\"height\":1500,\"size\":4000,"
                               "\"params\":\"q80e4-1a2b3c\",\"full\":true}]";
#define HEX62 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static int64_t a_look_takes_us; /* at the clock */

/* In the place of libc's. */
int clock_gettime(clockid_t which, struct timespec *ret)
{
    static int64_t now_us = 1000000;
    (void)which;
    now_us += a_look_takes_us;
    *ret = (struct timespec){now_us / 1000000, now_us % 1000000 * 1000};
    return 0;
}

static void run_done(kv_stmt *s)
{
    bool row;
    OK(kv_db_step(s, &row));
    kv_db_done(s);
}

/* The hash of blob n: aa…aa with n as the last byte. */
static void hash_of(int n, uint8_t hash[32])
{
    memset(hash, 0xaa, 31);
    hash[31] = (uint8_t)n;
}

static void add_blob(kv_db *db, int n, int status, const char *variants)
{
    uint8_t hash[32];
    kv_stmt *s;
    hash_of(n, hash);
    OK(kv_db_prepare(db,
                     "INSERT INTO blob (id, stored_hash, size, mime, ext, width, height, refs, "
                     "status, created_at, thumbhash, "
                     "variants) VALUES ($1, $2, 10000, 'image/jpeg', 'jpg', 2000, 1500, 1, $3, "
                     "1700000000123, x'010203ff', $4)",
                     &s));
    kv_bind_i64(s, 1, n);
    kv_bind_blob(s, 2, kv_slice_of((const char *)hash, sizeof hash));
    kv_bind_i64(s, 3, status);
    kv_bind_str(s, 4, kv_slice_str(variants));
    run_done(s);
}

static void add_media(kv_db *db, int64_t id, int blob, const char *folder, const char *filename,
                      int status)
{
    kv_stmt *s;
    OK(kv_db_prepare(
        db,
        "INSERT INTO media (id, blob, folder, filename, hash, status, created_at, updated_at) "
        "VALUES "
        "($1, $2, $3, $4, zeroblob(32), $5, 1700000000123, 1700000001000) ON CONFLICT DO NOTHING",
        &s));
    kv_bind_i64(s, 1, id);
    kv_bind_i64(s, 2, blob);
    kv_bind_str(s, 3, kv_slice_str(folder));
    kv_bind_str(s, 4, kv_slice_str(filename));
    kv_bind_i64(s, 5, status);
    run_done(s);
    OK(kv_db_prepare(
        db, "INSERT INTO placement (blob, folder, refs) VALUES ($1, $2, 1) ON CONFLICT DO NOTHING",
        &s));
    kv_bind_i64(s, 1, blob);
    kv_bind_str(s, 2, kv_slice_str(folder));
    run_done(s);
}

static json_t *parsed(const kv_buf *out)
{
    json_error_t e;
    json_t *j = json_loads(kv_buf_str(out), 0, &e);
    if (!j)
        fail_msg("not JSON: %s", kv_buf_str(out));
    return j;
}

static const char *text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "(none)";
}

/* ---- one row ---- */

static void a_row_as_the_header_says(void **state)
{
    kv_db *db = *state;
    kv_buf out;
    kv_buf_init(&out, 0);
    add_blob(db, 0x11, KV_STATUS_READY, VARIANTS);
    add_media(db, 77, 0x11, "haber/2026", "bir \"tırnak\".jpg", KV_STATUS_READY);
    assert_int_equal(kv_media_get_json(db, "", 78, &out), KV_E_NOT_FOUND);
    assert_int_equal(out.len, 0);
    OK(kv_media_get_json(db, "https://cdn.example", 77, &out));
    assert_string_equal(
        kv_buf_str(&out),
        "{\"id\":\"000000000002d\",\"url\":\"https://cdn.example/api/static/haber/2026/" HEX62
        "11.jpg\","
        "\"hash\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"stored_"
        "hash\":\"" HEX62 "11\",\"size\":10000,\"mime\":\"image/jpeg\",\"folder\":\"haber/"
        "2026\",\"filename\":\"bir \\\"tırnak\\\".jpg\","
        "\"status\":\"READY\",\"jobId\":null,\"width\":2000,\"height\":1500,\"thumbhash\":\"AQID/"
        "w==\",\"metadata_kept\":false,\"variants\":["
        "{\"url\":\"https://cdn.example/api/static/haber/2026/" HEX62
        "11.w640-q80e4-1a2b3c.webp\",\"format\":\"webp\","
        "\"width\":640,\"height\":480,\"size\":1230},"
        "{\"url\":\"https://cdn.example/api/static/haber/2026/" HEX62
        "11.full-q80e4-1a2b3c.webp\",\"format\":\"webp\","
        "\"width\":2000,\"height\":1500,\"size\":4000}],\"error\":null,\"error_detail\":null,"
        "\"processingStartedAt\":null,"
        "\"processingCompletedAt\":null,\"created_at\":\"2023-11-14T22:13:20.123Z\","
        "\"updated_at\":\"2023-11-14T22:13:21.000Z\",\"original_saved_bytes\":6000}");
    kv_buf_release(&out);
}

static void a_failed_and_a_bare_row(void **state)
{
    kv_db *db = *state;
    kv_buf out;
    kv_buf_init(&out, 0);
    add_blob(db, 1, KV_STATUS_FAILED, NULL);
    OK(kv_db_exec(db, "UPDATE blob SET error = 'image_limit', error_detail = 'memory', width = 0, "
                      "height = 0, thumbhash = NULL, "
                      "metadata_kept = 1, processing_started_at = 1700000000000"));
    add_media(db, 1, 1, "a", "x", KV_STATUS_FAILED);
    add_media(db, 2, 1, "b", "x", KV_STATUS_READY); /* did not wait for processing */
    OK(kv_media_get_json(db, "", 1, &out));
    json_t *j = parsed(&out);
    assert_string_equal(text(j, "status"), "FAILED");
    assert_string_equal(text(j, "error"), "image_limit");
    assert_string_equal(text(j, "error_detail"), "memory");
    assert_string_equal(text(j, "processingStartedAt"), "2023-11-14T22:13:20.000Z");
    assert_true(json_is_null(json_object_get(j, "width")));
    assert_true(json_is_null(json_object_get(j, "thumbhash")));
    assert_true(json_is_null(json_object_get(j, "original_saved_bytes")));
    assert_true(json_is_true(json_object_get(j, "metadata_kept")));
    assert_int_equal(json_array_size(json_object_get(j, "variants")), 0);
    json_decref(j);
    kv_buf_clear(&out);
    OK(kv_media_get_json(db, "", 2, &out));
    j = parsed(&out);
    assert_string_equal(text(j, "error"), "(none)");
    json_decref(j);
    kv_buf_release(&out);
}

static void variants_are_parsed_or_refused(void **state)
{
    (void)state;
    kv_variant v;
    bool have;
    kv_slice rest = kv_slice_str(" [ { \"format\" : \"avif\" , \"new\":\"a\\\"b\" , \"size\":12 "
                                 ",\"full\":true , \"x\":null } ] ");
    OK(kv_variant_next(&rest, &v, &have));
    assert_true(have && v.full && v.size == 12 && kv_slice_is(v.format, "avif"));
    OK(kv_variant_next(&rest, &v, &have));
    assert_false(have);
    const char *const empty[] = {"", "[]", " [ ] "};
    for (size_t i = 0; i < 3; i++) {
        rest = kv_slice_str(empty[i]);
        OK(kv_variant_next(&rest, &v, &have));
        assert_false(have);
    }
    const char *const bad[] = {"{",
                               "[",
                               "[{",
                               "[{}]",
                               "[{\"format\"",
                               "[{\"format\":\"webp\"",
                               "[{\"format\":[]}]",
                               "x",
                               "[{\"format\":\"\\u0041\"}]",
                               "[{\"format\":\"webp\\",
                               "[{\"size\":99999999999999999999999}]",
                               "[{\"width\":1}]",
                               "[1]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *copy = strdup(bad[i]); /* so that a sanitizer sees one byte too many */
        rest = kv_slice_of(copy, strlen(bad[i]));
        kv_err err = kv_variant_next(&rest, &v, &have);
        assert_true(err == KV_E_BAD_MESSAGE && !have);
        free(copy);
    }
}

/* ---- lists ---- */

typedef struct expect {
    const char *names; /* what the pages hold together, joined by blanks */
    int pages;
} expect;

static void check_list(kv_db *db, kv_media_filter f, expect want)
{
    kv_buf out, names;
    kv_buf_init(&out, 0);
    kv_buf_init(&names, 0);
    int pages = 0;
    do {
        kv_buf_clear(&out);
        OK(kv_media_list_json(db, "", &f, &out));
        json_t *j = parsed(&out), *item, *next = json_object_get(j, "next");
        size_t i;
        assert_true(json_array_size(json_object_get(j, "items")) <= f.limit);
        json_array_foreach(json_object_get(j, "items"), i, item)
        {
            kv_buf_adds(&names, names.len ? " " : "");
            kv_buf_adds(&names, text(item, "filename"));
        }
        f.before = 0;
        if (json_is_string(next))
            assert_true(kv_id_parse(json_string_value(next), json_string_length(next), &f.before));
        else
            assert_true(json_is_null(next));
        json_decref(j);
        pages++;
    } while (f.before != 0);
    assert_string_equal(kv_buf_str(&names), want.names);
    assert_int_equal(pages, want.pages);
    kv_buf_release(&out);
    kv_buf_release(&names);
}

static void add_some(kv_db *db)
{
    add_blob(db, 1, KV_STATUS_READY, VARIANTS);
    add_media(db, 101, 1, "haber", "a1.jpg", KV_STATUS_READY);
    add_media(db, 102, 1, "haber/2026", "A2.jpg", KV_STATUS_PENDING);
    add_media(db, 103, 1, "haber-x", "b3.jpg",
              KV_STATUS_READY); /* sorts between "haber" and "haber/" */
    add_media(db, 104, 1, "haber/2025/ek", "a4%.jpg", KV_STATUS_READY);
    add_media(db, 105, 1, "haber0", "b5_.jpg", KV_STATUS_FAILED);
    add_media(db, 106, 1, "haber", "b6.jpg", KV_STATUS_FAILED);
    add_media(db, 107, 1, "genel", "a7.jpg", KV_STATUS_READY);
    add_media(db, 108, 1, "haber/2026",
              "\xc3\x87"
              "8.jpg",
              KV_STATUS_READY);
}

static void lists_page_and_filter(void **state)
{
    kv_db *db = *state;
/* A page of so many, of a status (-1: all), and what else is filtered. */
#define F(max, state_, ...) ((kv_media_filter){.limit = max, .status = state_, __VA_ARGS__})
#define S(text)             kv_slice_str(text)
    check_list(db, F(200, -1, .before = 0), (expect){"", 1});
    add_some(db);
    check_list(db, F(200, -1, .before = 0),
               (expect){"\xc3\x87"
                        "8.jpg a7.jpg b6.jpg b5_.jpg a4%.jpg b3.jpg A2.jpg a1.jpg",
                        1});
    check_list(db, F(3, -1, .before = 0),
               (expect){"\xc3\x87"
                        "8.jpg a7.jpg b6.jpg b5_.jpg a4%.jpg b3.jpg A2.jpg a1.jpg",
                        3});
    check_list(db, F(4, -1, .before = 0),
               (expect){"\xc3\x87"
                        "8.jpg a7.jpg b6.jpg b5_.jpg a4%.jpg b3.jpg A2.jpg a1.jpg",
                        2});
    check_list(db, F(1, -1, .before = 103), (expect){"A2.jpg a1.jpg", 2});
    check_list(db, F(3, -1, .folder = S("haber")),
               (expect){"\xc3\x87"
                        "8.jpg b6.jpg a4%.jpg A2.jpg a1.jpg",
                        2});
    check_list(db, F(1, -1, .folder = S("haber")),
               (expect){"\xc3\x87"
                        "8.jpg b6.jpg a4%.jpg A2.jpg a1.jpg",
                        5});
    check_list(db, F(3, -1, .folder = S("haber/2026")),
               (expect){"\xc3\x87"
                        "8.jpg A2.jpg",
                        1});
    check_list(db, F(3, -1, .folder = S("hab")), (expect){"", 1});
    check_list(db, F(3, KV_STATUS_FAILED, .before = 0), (expect){"b6.jpg b5_.jpg", 1});
    check_list(db, F(3, KV_STATUS_PENDING, .folder = S("haber")), (expect){"A2.jpg", 1});
    check_list(db, F(3, KV_STATUS_READY, .folder = S("haber")),
               (expect){"\xc3\x87"
                        "8.jpg a4%.jpg a1.jpg",
                        1});
    check_list(db, F(3, -1, .search = S("A")), (expect){"a7.jpg a4%.jpg A2.jpg a1.jpg", 2});
    check_list(db, F(3, -1, .search = S("%")), (expect){"a4%.jpg", 1});
    check_list(db, F(3, -1, .search = S("_")), (expect){"b5_.jpg", 1});
    check_list(db, F(3, -1, .search = S("\xc3\x87")),
               (expect){"\xc3\x87"
                        "8.jpg",
                        1});
    check_list(db, F(3, -1, .search = S("'; DROP")), (expect){"", 1});
    check_list(db, F(3, KV_STATUS_FAILED, .search = S("B"), .folder = S("haber")),
               (expect){"b6.jpg", 1});
}

static void lists_refuse_what_is_out_of_range(void **state)
{
    kv_db *db = *state;
    kv_buf out;
    char folder[300];
    kv_buf_init(&out, 0);
    memset(folder, 'a', sizeof folder);
    const kv_media_filter bad[] = {F(0, -1, .before = 0), F(201, -1, .before = 0),
                                   F(3, 3, .before = 0),
                                   F(3, -1, .folder = kv_slice_of(folder, 300))};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(kv_media_list_json(db, "", &bad[i], &out), KV_E_BAD_PARAMETER);
    kv_buf_release(&out);
}

static void the_longest_folder_is_listed(void **state)
{
    kv_db *db = *state;
    char folder[KV_FOLDER_MAX + 1] = "";
    memset(folder, 'a', KV_FOLDER_MAX);
    folder[60] = folder[125] = folder[190] = '/';
    add_blob(db, 1, KV_STATUS_READY, VARIANTS);
    add_media(db, 101, 1, folder, "deep.jpg", KV_STATUS_READY);
    assert_true(kv_folder_valid(S(folder)));
    check_list(db, F(3, -1, .folder = S(folder)), (expect){"deep.jpg", 1});
}

/* A rare match among many rows: the page ends early with a cursor, and following it finds the
 * match. */
static void a_page_looks_at_so_many_rows_and_no_more(void **state)
{
    kv_db *db = *state;
    kv_buf out;
    kv_buf_init(&out, 0);
    add_blob(db, 1, KV_STATUS_READY, NULL);
    OK(kv_db_exec(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                      "40000) INSERT INTO media "
                      "SELECT i, 1, 'many/' || (i % 3), CASE i WHEN 7 THEN 'rare' ELSE 'x' END, "
                      "zeroblob(32), 1, 1, 1 FROM n"));
    kv_media_filter all = F(3, -1, .search = S("rare")),
                    folder = F(3, -1, .search = S("rare"), .folder = S("many"));
    OK(kv_media_list_json(db, "", &all, &out));
    json_t *j = parsed(&out);
    assert_int_equal(json_array_size(json_object_get(j, "items")), 0);
    assert_true(json_is_string(json_object_get(j, "next")));
    json_decref(j);
    check_list(db, all, (expect){"rare", 2});
    check_list(db, folder, (expect){"rare", 20});
    kv_buf_release(&out);
}

/* On a slow disk it ends before a reader's time does. */
static void a_page_takes_so_long_and_no_longer(void **state)
{
    kv_db *db = *state;
    kv_media_filter all = F(200, -1, .before = 0), folder = F(200, -1, .folder = S("haber"));
    kv_buf names;
    kv_buf_init(&names, 0);
    add_blob(db, 1, KV_STATUS_READY, NULL);
    for (int64_t i = 0; i < 100; i++)
        add_media(db, 100 + i, 1, "haber", "x", KV_STATUS_READY);
    for (int i = 0; i < 100; i++)
        kv_buf_adds(&names, i ? " x" : "x");
    a_look_takes_us = 30000;
    check_list(db, all, (expect){kv_buf_str(&names), 4});
    check_list(db, folder, (expect){kv_buf_str(&names), 4});
    a_look_takes_us = 0;
    kv_buf_release(&names);
}

static void folders(void **state)
{
    kv_db *db = *state;
    kv_buf out;
    kv_buf_init(&out, 0);
    add_some(db);
    add_media(db, 108, 1, "genel", "there already",
              KV_STATUS_READY); /* ON CONFLICT DO NOTHING: not counted */
    OK(kv_db_exec(db, "DELETE FROM media WHERE folder IN ('haber-x', 'haber0') OR id = 102"));
    OK(kv_media_folders_json(db, S(""), 3, &out));
    assert_string_equal(
        kv_buf_str(&out),
        "{\"folders\":[{\"folder\":\"genel\",\"count\":1},{\"folder\":\"haber\",\"count\":2},"
        "{\"folder\":\"haber/2025/ek\",\"count\":1}],\"next\":\"haber/2025/ek\"}");
    kv_buf_clear(&out);
    OK(kv_media_folders_json(db, S("haber/2025/ek"), 1, &out));
    assert_string_equal(kv_buf_str(&out),
                        "{\"folders\":[{\"folder\":\"haber/2026\",\"count\":1}],\"next\":null}");
    assert_int_equal(kv_media_folders_json(db, S(""), 0, &out), KV_E_BAD_PARAMETER);
    assert_int_equal(kv_media_folders_json(db, S(""), 10001, &out), KV_E_BAD_PARAMETER);
    kv_buf_release(&out);
}

/* ---- files ---- */

static void a_file_by_its_path(void **state)
{
    kv_db *db = *state;
    kv_media_file f;
    kv_buf variants;
    uint8_t hash[32];
    kv_buf_init(&variants, 0);
    add_blob(db, 1, KV_STATUS_READY, VARIANTS);
    add_media(db, 12, 1, "b", "newer.jpg", KV_STATUS_READY);
    add_media(db, 11, 1, "b", "oldest.jpg", KV_STATUS_READY);
    add_media(db, 10, 1, "a", "elsewhere.jpg", KV_STATUS_READY);
    hash_of(1, hash);
    OK(kv_media_file_find(db, kv_slice_str("b"), hash, &f, &variants));
    assert_string_equal(f.filename, "oldest.jpg");
    assert_string_equal(f.mime, "image/jpeg");
    assert_string_equal(f.ext, "jpg");
    assert_string_equal(kv_buf_str(&variants), VARIANTS);
    assert_true(f.blob == 1 && f.size == 10000 && f.width == 2000 && f.height == 1500 &&
                f.status == KV_STATUS_READY);
    assert_int_equal(kv_media_file_find(db, kv_slice_str("c"), hash, &f, &variants),
                     KV_E_NOT_FOUND);
    OK(kv_db_exec(db, "UPDATE placement SET state = 1 WHERE folder = 'b'"));
    assert_int_equal(kv_media_file_find(db, kv_slice_str("b"), hash, &f, &variants),
                     KV_E_NOT_FOUND);
    hash_of(2, hash);
    assert_int_equal(kv_media_file_find(db, kv_slice_str("a"), hash, &f, &variants),
                     KV_E_NOT_FOUND);
    kv_buf_release(&variants);
}

static bool live(kv_db *db, const char *key)
{
    bool yes = true;
    OK(kv_media_key_live(db, key, &yes));
    return yes;
}

static void keys_with_a_row_behind_them(void **state)
{
    kv_db *db = *state;
    add_blob(db, 1, KV_STATUS_READY, VARIANTS);
    add_media(db, 10, 1, "haber/2026", "a.jpg", KV_STATUS_READY);
    assert_true(live(db, "haber/2026/" HEX62 "01.jpg"));
    assert_false(live(db, "haber/2026/" HEX62 "01.png"));
    assert_false(live(db, "haber/2026/" HEX62 "02.jpg"));
    assert_false(live(db, "haber/" HEX62 "01.jpg"));
    assert_false(live(db, "haber/2026/x.jpg"));
    assert_false(live(db, ""));
    assert_true(live(db, ".variants/0000000000001/w640-q80e4-1a2b3c.webp"));
    assert_false(live(db, ".variants/0000000000002/w640-q80e4-1a2b3c.webp"));
    assert_false(live(db, ".variants/nonsense"));
    OK(kv_db_exec(db, "UPDATE blob SET state = 1"));
    assert_false(live(db, "haber/2026/" HEX62 "01.jpg"));
    assert_false(live(db, ".variants/0000000000001/w640-q80e4-1a2b3c.webp"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        T(a_row_as_the_header_says),
        T(a_failed_and_a_bare_row),
        T(variants_are_parsed_or_refused),
        T(lists_page_and_filter),
        T(lists_refuse_what_is_out_of_range),
        T(the_longest_folder_is_listed),
        T(a_page_looks_at_so_many_rows_and_no_more),
        T(a_page_takes_so_long_and_no_longer),
        T(folders),
        T(a_file_by_its_path),
        T(keys_with_a_row_behind_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
