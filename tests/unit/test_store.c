/* Both halves of the store actor, on a real folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "actors/store/puts.h"
#include "proto/base/id.h"
#include "tests/unit/ingest_fake.h"
#include "tests/unit/scratch.h"

static scratch dir;
static rig w, p;               /* writer, placer */
static const char *unsyncable; /* in a path; NULL: all can be synced */

/* In the place of libc's. */
int fsync(int fd)
{
    char link[40], path[1000] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    errno = EIO;
    if (unsyncable && readlink(link, path, sizeof path - 1) > 0 && strstr(path, unsyncable))
        return -1;
    return (int)syscall(SYS_fsync, fd);
}

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

static void place(uint64_t upload, const char *key)
{
    kv_msg m = {.code = KV_PLACE};
    m.place.upload = upload;
    m.place.key = kv_slice_str(key);
    rig_send(&p, &m, NULL, 0);
}

static void release(const uint64_t *uploads, size_t n)
{
    kv_msg m = {.code = KV_RELEASE};
    char ids[4 * KV_ID_BYTES];
    for (size_t i = 0; i < n; i++)
        kv_id_put(ids, i, uploads[i]);
    m.release.uploads = kv_slice_of(ids, n * KV_ID_BYTES);
    rig_send(&p, &m, NULL, 0);
    const kv_msg *answer = rig_got(&p, KV_RELEASED, rig_count(&p, KV_RELEASED) - 1, NULL, NULL);
    assert_true(kv_slice_eq(answer->released.uploads, m.release.uploads));
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
    place(1, "banners/one.txt");
    place(2, "haber/2026/two.txt");
    assert_int_equal(rig_count(&p, KV_PLACED), 0); /* a batch is placed as one */
    p.def->batch_end(p.self, p.out);
    assert_int_equal(rig_count(&p, KV_PLACED), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(rig_got(&p, KV_PLACED, i, NULL, NULL)->placed.number, 0);
    char text[20] = "";
    size_t n;
    assert_int_equal(kv_store_read(p.arg.store, "haber/2026/two.txt", 0, text, 20, &n), KV_OK);
    assert_string_equal(text, "second file");
    release((uint64_t[]){2, 1}, 2);
    assert_int_equal(rig_count(&p, KV_RELEASED), 1);
    assert_int_equal(temporary_files(), 0);
}

static void place_whole(uint64_t upload, const char *key, const char *same, const char *text)
{
    kv_msg m = {.code = KV_PLACE_WHOLE};
    m.place_whole.upload = upload;
    m.place_whole.key = kv_slice_str(key);
    m.place_whole.same = kv_slice_str(same);
    rig_send(&p, &m, text, strlen(text));
}

static void expect_placed(size_t i, uint64_t upload, uint64_t number, bool nothing)
{
    const kv_msg *m = rig_got(&p, KV_PLACED, i, NULL, NULL);
    assert_non_null(m);
    assert_int_equal(m->placed.upload, upload);
    assert_int_equal(m->placed.number, number);
    assert_int_equal(m->placed.nothing, nothing);
}

static void whole_uploads_are_written_and_placed(void **state)
{
    (void)state;
    char text[20] = "";
    size_t n;
    place_whole(1, "banners/one.txt", "", "first");
    write_file(2, "streamed");
    place(2, "banners/two.txt"); /* both ways in one batch */
    assert_int_equal(temporary_files(), 2);
    p.def->batch_end(p.self, p.out);
    expect_placed(0, 1, 0, false);
    expect_placed(1, 2, 0, false);
    place_whole(3, "haber/one.txt", "banners/one.txt", "first"); /* the bytes are here */
    place_whole(4, "haber/x.txt", "banners/gone.txt", "fourth"); /* they were */
    p.def->batch_end(p.self, p.out);
    expect_placed(2, 3, 0, false);
    expect_placed(3, 4, 0, false);
    assert_int_equal(kv_store_read(p.arg.store, "haber/one.txt", 0, text, 20, &n), KV_OK);
    assert_string_equal(text, "first");
    assert_int_equal(kv_store_read(p.arg.store, "haber/x.txt", 0, text, 20, &n), KV_OK);
    assert_int_equal(n, 6);
    for (uint64_t upload = 1; upload <= 4; upload++)
        release(&upload, 1);
    assert_int_equal(temporary_files(), 0);
}

/* Nothing is left of one that cannot be written; the others of its batch are placed. */
static void a_whole_upload_that_cannot_be_written(void **state)
{
    (void)state;
    write_file(1, "its name is taken");
    place_whole(1, "banners/a.txt", "", "bytes");
    place_whole(2, "banners/b.txt", "", "bytes");
    p.def->batch_end(p.self, p.out);
    expect_placed(0, 1, KV_E_CONFLICT, true);
    expect_placed(1, 2, 0, false);
    release((uint64_t[]){2}, 1);
    assert_int_equal(temporary_files(), 1); /* of the first writer, who is not touched */
    place(1, "banners/a.txt");
    p.def->batch_end(p.self, p.out);
    release((uint64_t[]){1}, 1);
    assert_int_equal(temporary_files(), 0);
}

/* RELINK: the key was removed meanwhile */
static void placing_again_links_again(void **state)
{
    (void)state;
    write_file(1, "bytes");
    place(1, "banners/a.txt");
    p.def->batch_end(p.self, p.out);
    assert_int_equal(kv_store_delete(p.arg.store, "banners/a.txt"), KV_OK);
    place(1, "banners/a.txt");
    p.def->batch_end(p.self, p.out);
    kv_object_info info;
    assert_int_equal(kv_store_head(p.arg.store, "banners/a.txt", &info), KV_OK);
    assert_int_equal(info.size, 5);
    release((uint64_t[]){1}, 1);
}

/* Placed is what is durable, the name too. */
static void what_cannot_be_synced_is_not_placed(void **state)
{
    (void)state;
    write_file(1, "bytes");
    for (int i = 0; i < 2; i++) {
        unsyncable = i ? "/banners" : "/haber"; /* together: neither is known to last */
        place(1, "banners/a.txt");
        if (i == 0)
            place_whole(2, "haber/b.txt", "", "bytes");
        p.def->batch_end(p.self, p.out);
        expect_placed(i ? 2 : 0, 1, KV_E_IO, false);
    }
    expect_placed(1, 2, KV_E_IO, false);
    place_whole(3, "banners/c.txt", "", "bytes");
    unsyncable = "/.tmp/";
    p.def->batch_end(p.self, p.out);
    expect_placed(3, 3, KV_E_IO, false);
    unsyncable = NULL;
    kv_object_info info;
    assert_int_equal(kv_store_head(p.arg.store, "banners/c.txt", &info), KV_E_NOT_FOUND);
    place(1, "banners/a.txt");
    p.def->batch_end(p.self, p.out);
    expect_placed(4, 1, KV_OK, false);
    release((uint64_t[]){1, 2, 3}, 3);
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
        cmocka_unit_test_setup_teardown(whole_uploads_are_written_and_placed, start, stop),
        cmocka_unit_test_setup_teardown(a_whole_upload_that_cannot_be_written, start, stop),
        cmocka_unit_test_setup_teardown(placing_again_links_again, start, stop),
        cmocka_unit_test_setup_teardown(what_cannot_be_synced_is_not_placed, start, stop),
        cmocka_unit_test_setup_teardown(an_abort_leaves_nothing, start, stop),
        cmocka_unit_test_setup_teardown(what_was_not_released_goes_with_the_end, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
