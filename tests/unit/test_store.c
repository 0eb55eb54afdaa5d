/* Both halves of the store actor, on a real folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <cmocka.h>

#include "actors/store/puts.h"
#include "tests/unit/ingest_fake.h"
#include "tests/unit/scratch.h"

static scratch dir;
static rig w, p; /* writer, placer */

static int start(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    memset(&p, 0, sizeof p);
    scratch_make(&dir);
    kv_store *store;
    kv_puts *puts;
    assert_int_equal(kv_store_open_config(&dir.cfg, &store), KV_OK);
    assert_int_equal(kv_puts_new(&puts), KV_OK);
    w.arg.store = p.arg.store = store;
    w.arg.puts = p.arg.puts = puts;
    rig_start(&w, &kv_store_writer);
    rig_start(&p, &kv_placer);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_stop(&w);
    rig_stop(&p);
    kv_puts_destroy(&w.arg.puts);
    kv_store_close(&w.arg.store);
    scratch_remove(&dir);
    return 0;
}

static int temporary_files(void)
{
    int n = 0;
    DIR *d = opendir(scratch_path(&dir, "media/.tmp"));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void write_file(uint64_t upload, const char *text)
{
    size_t half = strlen(text) / 2;
    rig_begin(&w, upload, "a", "");
    rig_chunk(&w, upload, 0, text, half);
    rig_chunk(&w, upload, half, text + half, strlen(text) - half);
    rig_end(&w, upload, strlen(text));
}

static void place(uint64_t upload, const char *key, bool again)
{
    kv_msg m = {.code = KV_PLACE};
    m.place.upload = upload;
    m.place.key = kv_slice_str(key);
    m.place.again = again;
    rig_send(&p, &m, NULL, 0);
}

static void release(uint64_t upload)
{
    kv_msg m = {.code = KV_RELEASE};
    m.release.upload = upload;
    rig_send(&p, &m, NULL, 0);
}

static uint64_t written(size_t i, uint64_t upload)
{
    const kv_msg *m = rig_got(&w, KV_UPLOAD_WRITTEN, i, NULL, NULL);
    assert_non_null(m);
    assert_int_equal(m->upload_written.upload, upload);
    return m->upload_written.number;
}

static void files_are_written_placed_and_released(void **state)
{
    (void)state;
    write_file(1, "first file");
    write_file(2, "second file");
    assert_int_equal(written(0, 1), 0);
    assert_int_equal(written(1, 2), 0);
    assert_int_equal(temporary_files(), 2);
    place(1, "banners/one.txt", false);
    place(2, "haber/2026/two.txt", false);
    assert_int_equal(rig_count(&p, KV_PLACED), 0); /* a batch is placed as one */
    p.def->batch_end(p.self, p.out);
    assert_int_equal(rig_count(&p, KV_PLACED), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(rig_got(&p, KV_PLACED, i, NULL, NULL)->placed.number, 0);
    char text[20] = "";
    size_t n;
    assert_int_equal(kv_store_read(p.arg.store, "haber/2026/two.txt", 0, text, 20, &n), KV_OK);
    assert_string_equal(text, "second file");
    release(1);
    release(2);
    assert_int_equal(rig_count(&p, KV_RELEASED), 2);
    assert_int_equal(temporary_files(), 0);
}

/* RELINK: the key was removed meanwhile */
static void placing_again_links_again(void **state)
{
    (void)state;
    write_file(1, "bytes");
    place(1, "banners/a.txt", false);
    p.def->batch_end(p.self, p.out);
    assert_int_equal(kv_store_delete(p.arg.store, "banners/a.txt"), KV_OK);
    place(1, "banners/a.txt", true);
    p.def->batch_end(p.self, p.out);
    kv_object_info info;
    assert_int_equal(kv_store_head(p.arg.store, "banners/a.txt", &info), KV_OK);
    assert_int_equal(info.size, 5);
    release(1);
}

static void an_abort_leaves_nothing(void **state)
{
    (void)state;
    rig_begin(&w, 1, "a", "");
    assert_int_equal(temporary_files(), 0); /* a refused head never touches the disk */
    rig_chunk(&w, 1, 0, "bytes", 5);
    assert_int_equal(temporary_files(), 1);
    rig_abort(&w, 1, KV_E_CLIENT_GONE);
    assert_int_equal(written(0, 1), KV_E_CLIENT_GONE);
    assert_int_equal(temporary_files(), 0);
    rig_abort(&w, 1, KV_E_CLIENT_GONE);
    rig_end(&w, 1, 5);
    rig_begin(&w, 2, "a", "");
    rig_abort(&w, 2, KV_E_TYPE_REFUSED);
    assert_int_equal(written(1, 2), KV_E_TYPE_REFUSED);
    assert_int_equal(rig_count(&w, KV_UPLOAD_WRITTEN), 2);
}

static void what_was_not_released_goes_with_the_end(void **state)
{
    (void)state;
    write_file(1, "bytes");
    rig_begin(&w, 2, "a", "");
    rig_chunk(&w, 2, 0, "bytes", 5);
    assert_int_equal(temporary_files(), 2);
    w.def->destroy(&w.self);
    kv_puts_destroy(&w.arg.puts);
    assert_int_equal(temporary_files(), 0);
    assert_int_equal(kv_puts_new((kv_puts **)&w.arg.puts), KV_OK);
    assert_int_equal(w.def->create(&w.cfg, &w.arg, &w.self), KV_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_written_placed_and_released, start, stop),
        cmocka_unit_test_setup_teardown(placing_again_links_again, start, stop),
        cmocka_unit_test_setup_teardown(an_abort_leaves_nothing, start, stop),
        cmocka_unit_test_setup_teardown(what_was_not_released_goes_with_the_end, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
