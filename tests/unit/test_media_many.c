/* One file in very many folders, and very many folders: what is asked of a few costs nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/id.h"
#include "storage/read/media.h"
#include "storage/write/media.h"
#include "tests/unit/many_rows.h"

enum { CPU_MAX_US = 20000 /* a walk over so many rows takes some times that */ };

#define OWN_SQL "x'0200000000000000000000000000000000000000000000000000000000000000'"
static const uint8_t SHARED[32], OWN[32] = {2};

/* Blob 1 is a file of folders u/1 … u/200000; 'genel' has as many, of which the newest is it, too.
 */
static kv_db *make(void)
{
    kv_db *db;
    assert_int_equal(kv_db_open_memory(&db), KV_OK);
    must(db, "DROP TRIGGER media_in");
    must(db, "CREATE TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
             "WHERE i < 200000) SELECT i FROM n");
    must(db, "INSERT INTO blob (id, stored_hash, size, mime, ext, refs, status, created_at) VALUES "
             "(1, zeroblob(32), 5, 'text/plain', 'txt', 200001, 1, 1), "
             "(2, " OWN_SQL ", 5, 'text/plain', 'txt', 1, 1, 1)");
    must(db, "INSERT INTO placement (blob, folder, refs) SELECT 1, 'u/' || i, 1 FROM n");
    must(db, "INSERT INTO placement (blob, folder, refs) VALUES (1, 'u', 1), (2, 'genel', 1)");
    must(db, "INSERT INTO media SELECT i, 1, 'u/' || i, 'f' || i, zeroblob(32), 1, 1, 1 "
             "FROM n");
    must(db, "INSERT INTO media SELECT 1000000 + i, 3, 'genel', 'g', zeroblob(32), 1, 1, 1 FROM n");
    must(db, "INSERT INTO media VALUES (3000001, 1, 'u', 'newest', zeroblob(32), 1, 1, 1),"
             "(3000002, 2, 'genel', 'own', " OWN_SQL ", 1, 1, 1)");
    must(db, "INSERT INTO folder SELECT folder, count(*) FROM media GROUP BY folder");
    return db;
}

static void names(kv_db *db, const char *folder, const uint8_t hash[32], const char *filename)
{
    kv_media_file f;
    kv_buf variants;
    kv_buf_init(&variants, 0);
    assert_int_equal(kv_media_file_find(db, kv_slice_str(folder), hash, &f, &variants), KV_OK);
    assert_string_equal(f.filename, filename);
    kv_buf_release(&variants);
}

static void test_a_file_is_served_from_any_of_its_folders(void **state)
{
    kv_db *db = *state;
    int64_t begun = cpu_us();
    names(db, "u/1", SHARED, "f1");
    names(db, "u/199999", SHARED, "f199999");
    names(db, "u", SHARED, "newest");
    names(db, "genel", OWN, "own");
    assert_in_range(cpu_us() - begun, 0, CPU_MAX_US);
}

static void placed(kv_db *db, const char *folder, const char *in)
{
    kv_buf key;
    kv_media_where where;
    bool found;
    char wanted[96];
    kv_buf_init(&key, 0);
    snprintf(wanted, sizeof wanted, "%s/%064d.txt", in, 0);
    assert_int_equal(kv_media_placement_find(db, SHARED, kv_slice_str(folder), &key), KV_OK);
    assert_string_equal(key.data, wanted);
    assert_int_equal(kv_blob_place(db, 1, kv_slice_str(folder), &found, &where), KV_OK);
    assert_true(found);
    assert_string_equal(where.folder, in);
    kv_buf_release(&key);
}

static void test_a_place_is_found_among_many(void **state)
{
    kv_db *db = *state;
    int64_t begun = cpu_us();
    placed(db, "u/77777", "u/77777");
    placed(db, "nowhere", "u");
    assert_in_range(cpu_us() - begun, 0, CPU_MAX_US);
    must(db, "UPDATE placement SET state = 1 WHERE folder IN ('u', 'u/77777')");
    placed(db, "u/77777", "u/1");
    must(db, "UPDATE placement SET state = 0 WHERE folder IN ('u', 'u/77777')");
}

static kv_media_outcome add(kv_db *db, const char *folder, const uint8_t hash[32],
                            const uint8_t stored[32], uint64_t *ret)
{
    kv_media_added added;
    kv_media_new m = {.media = 9000000,
                      .blob = 9,
                      .folder = kv_slice_str(folder),
                      .filename = kv_slice_str("again"),
                      .hash = kv_slice_of((const char *)hash, 32),
                      .stored_hash = kv_slice_of((const char *)stored, 32),
                      .size = 5,
                      .mime = kv_slice_str("text/plain"),
                      .ext = kv_slice_str("txt"),
                      .dedup = true,
                      .now = 2};
    assert_int_equal(kv_media_add(db, &m, &added), KV_OK);
    *ret = added.media;
    return added.outcome;
}

static void test_what_is_there_is_found_again(void **state)
{
    kv_db *db = *state;
    uint64_t id;
    int64_t begun = cpu_us();
    assert_int_equal(add(db, "u/199999", SHARED, SHARED, &id), KV_MEDIA_SHARED);
    assert_int_equal(id, 199999);
    assert_int_equal(add(db, "u", SHARED, SHARED, &id), KV_MEDIA_SHARED);
    assert_int_equal(id, 3000001);
    assert_int_equal(add(db, "genel", OWN, OWN, &id), KV_MEDIA_SHARED);
    assert_int_equal(id, 3000002);
    assert_int_equal(add(db, "u", OWN, SHARED, &id), KV_MEDIA_MADE); /* received as other bytes */
    assert_int_equal(id, 9000000);
    assert_in_range(cpu_us() - begun, 0, CPU_MAX_US);
}

/* Pages as long as they go on: ids from `newest` down by one. A slow machine makes them shorter. */
static void below(kv_db *db, const char *folder, int limit, uint64_t newest)
{
    kv_media_filter f = {.folder = kv_slice_str(folder), .status = -1, .limit = (uint32_t)limit};
    kv_buf out;
    kv_buf_init(&out, 0);
    for (bool more = true; more;) {
        uint64_t before = newest;
        kv_buf_clear(&out);
        assert_int_equal(kv_media_list_json(db, "", &f, &out), KV_OK);
        for (const char *at = out.data; (at = strstr(at, "\"id\":\"")); at++, newest--) {
            uint64_t id;
            assert_true(kv_id_parse(at + 6, KV_ID_TEXT, &id));
            assert_int_equal(id, newest);
        }
        const char *next = strstr(out.data, "\"next\":\"");
        more = next;
        assert_true(before - newest <= (uint64_t)limit && (!more || newest < before));
        assert_true(!more || kv_id_parse(next + 8, KV_ID_TEXT, &f.before));
    }
    assert_int_equal(newest, 0);
    kv_buf_release(&out);
}

/* Above 4096 folders are not merged. */
static void test_what_lies_below_is_listed(void **state)
{
    (void)state;
    for (int n = 4094; n <= 4097; n++) {
        char sql[256];
        kv_db *db;
        assert_int_equal(kv_db_open_memory(&db), KV_OK);
        snprintf(sql, sizeof sql,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
                 "INSERT INTO media SELECT i, 1, 'u/' || i, 'f', zeroblob(32), 1, 1, 1 FROM n",
                 n);
        must(db, sql);
        must(db, "INSERT INTO media VALUES (8000, 1, 'u0', 'f', zeroblob(32), 1, 1, 1)");
        must(db, "INSERT INTO blob (id, stored_hash, size, mime, ext, refs, status, created_at) "
                 "VALUES (1, zeroblob(32), 5, 'text/plain', 'txt', 1, 1, 1)");
        below(db, "u", 200, (uint64_t)n);
        kv_db_close(&db);
    }
}

static void test_a_folder_of_very_many_is_listed(void **state)
{
    kv_db *db = *state;
    kv_media_filter f = {.folder = kv_slice_str("u"), .status = -1, .limit = 2};
    kv_buf out;
    kv_buf_init(&out, 0);
    int64_t begun = cpu_us();
    assert_int_equal(kv_media_list_json(db, "", &f, &out), KV_OK);
    assert_in_range(cpu_us() - begun, 0, 3 * CPU_MAX_US);
    assert_non_null(strstr(out.data, "\"filename\":\"newest\""));
    kv_buf_release(&out);
}

static int make_it(void **state)
{
    return (*state = make()) ? 0 : -1;
}

static int drop_it(void **state)
{
    kv_db_close((kv_db **)state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_is_served_from_any_of_its_folders),
        cmocka_unit_test(test_a_place_is_found_among_many),
        cmocka_unit_test(test_what_is_there_is_found_again),
        cmocka_unit_test(test_what_lies_below_is_listed),
        cmocka_unit_test(test_a_folder_of_very_many_is_listed),
    };
    return cmocka_run_group_tests(tests, make_it, drop_it);
}
