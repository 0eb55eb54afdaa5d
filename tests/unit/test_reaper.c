/* The reaper behind a fake broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "actors/reaper.h"
#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "storage/object.h"
#include "tests/unit/scratch.h"

typedef struct fixture {
    scratch s;
    kv_store *store;
    kv_fake_clock clock;
    kv_out *out;
    void *actor;
    uint64_t next_put;
} fixture;

static const uint64_t blob = 5 << 12;
static const char *unsyncable; /* the end of a folder's path; NULL: all can be synced */

/* In the place of libc's. */
int fsync(int fd)
{
    char link[40], path[1000];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = unsyncable ? readlink(link, path, sizeof path) : -1;
    size_t len = unsyncable ? strlen(unsyncable) : 0;
    errno = EIO;
    if (n >= (ssize_t)len && unsyncable && memcmp(path + n - len, unsyncable, len) == 0)
        return -1;
    return (int)syscall(SYS_fsync, fd);
}

static int make(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    scratch_make(&f->s);
    assert_int_equal(kv_store_open_config(&f->s.cfg, &f->store), KV_OK);
    kv_fake_clock_init(&f->clock, 1800000000000);
    f->out = kv_out_fake(&f->clock.clock);
    assert_int_equal(kv_reaper_actor.create(&f->s.cfg, NULL, &f->actor), KV_OK);
    *state = f;
    return 0;
}

static int drop(void **state)
{
    fixture *f = *state;
    kv_reaper_actor.destroy(&f->actor);
    kv_out_fake_destroy(&f->out);
    kv_store_close(&f->store);
    scratch_remove(&f->s);
    free(f);
    return 0;
}

static void store_file(fixture *f, const char *key)
{
    bool existed;
    kv_put *put;
    assert_int_equal(kv_put_begin(f->store, ++f->next_put, 1, &put), KV_OK);
    assert_int_equal(kv_put_write(put, "x", 1), KV_OK);
    assert_int_equal(kv_put_link(put, key, &existed), KV_OK);
    kv_put_finish(&put);
}

static bool stored(fixture *f, const char *key)
{
    kv_object_info info;
    return kv_store_head(f->store, key, &info) == KV_OK;
}

static const kv_msg *reap(fixture *f, const char *params)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB, &m);
    m.job = (kv_job){.job = 9, .epoch = 4, .attempt = 1, .params = kv_slice_str(params)};
    kv_in in = {.msg = &m};
    assert_int_equal(kv_reaper_actor.handlers[0].code, KV_JOB);
    kv_reaper_actor.handlers[0].fn(f->actor, &in, f->out);
    return kv_out_fake_asked(f->out, 0);
}

static void params_of(char out[512], const char *keys, bool variants)
{
    char id[KV_ID_TEXT + 1];
    kv_id_format(blob, id);
    snprintf(out, 512, "{\"blob\":\"%s\",\"keys\":[%s],\"variants\":%s}", id, keys,
             variants ? "true" : "false");
}

static void store_variant(fixture *f, kv_buf *ret_key)
{
    kv_buf_init(ret_key, 0);
    kv_variant_key(ret_key, blob, 320, kv_slice_str("q80e4-00000000"), kv_slice_str("webp"));
    store_file(f, kv_buf_str(ret_key));
}

static void keys_and_variants_go(void **state)
{
    fixture *f = *state;
    char params[512];
    kv_buf key;
    store_variant(f, &key);
    store_file(f, "banners/a.jpg");
    store_file(f, "banners/b.jpg");
    store_file(f, "haber/a.jpg");
    params_of(params, "\"banners/a.jpg\",\"haber/a.jpg\"", false);
    assert_int_equal(reap(f, params)->code, KV_JOB_DONE);
    assert_false(stored(f, "banners/a.jpg"));
    assert_false(stored(f, "haber/a.jpg"));
    assert_true(stored(f, "banners/b.jpg"));
    assert_true(stored(f, kv_buf_str(&key)));
    kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    params_of(params, "", true);
    const kv_msg *m = reap(f, params);
    assert_int_equal(m->code, KV_JOB_DONE);
    assert_int_equal(m->job_done.job, 9);
    assert_int_equal(m->job_done.epoch, 4);
    assert_false(stored(f, kv_buf_str(&key)));
    kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    assert_int_equal(reap(f, params)->code, KV_JOB_DONE); /* once more: nothing there is success */
    kv_buf_release(&key);
}

/* Removed is what cannot come back with the power: its rows go next. */
static void what_is_not_durably_gone_is_tried_again(void **state)
{
    static const char *const folders[] = {"/banners", "/.variants"};
    fixture *f = *state;
    char params[512];
    kv_buf key;
    store_variant(f, &key);
    store_file(f, "banners/a.jpg");
    params_of(params, "\"banners/a.jpg\"", true);
    for (size_t i = 0; i < 2; i++) {
        unsyncable = folders[i];
        const kv_msg *m = reap(f, params);
        unsyncable = NULL;
        assert_int_equal(m->code, KV_JOB_FAIL);
        assert_int_equal(m->job_fail.number, KV_E_IO);
        assert_true(m->job_fail.retry);
        kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    }
    assert_int_equal(reap(f, params)->code, KV_JOB_DONE);
    kv_buf_release(&key);
}

static void bad_params_remove_nothing(void **state)
{
    fixture *f = *state;
    const char *const bad[] = {"\"banners/a.jpg\",\".tmp/x\"", "\"banners/a.jpg\",\"../x\"",
                               "\"banners/a.jpg\",7", "\"banners/a.jpg\",\"\""};
    char params[512];
    store_file(f, "banners/a.jpg");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        params_of(params, bad[i], true);
        const kv_msg *m = reap(f, params);
        assert_int_equal(m->code, KV_JOB_FAIL);
        assert_int_equal(m->job_fail.number, KV_E_BAD_PARAMETER);
        assert_false(m->job_fail.retry);
        kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    }
    assert_int_equal(reap(f, "{}")->code, KV_JOB_FAIL);
    assert_true(stored(f, "banners/a.jpg"));
}

static void answer_is_sent_until_it_is_taken(void **state)
{
    fixture *f = *state;
    char params[512];
    params_of(params, "", false);
    assert_int_equal(reap(f, params)->code, KV_JOB_DONE);
    kv_out_fake_answer(f->out, f->actor, 0, KV_E_BROKER_AWAY, NULL);
    assert_false(kv_reaper_actor.drained(f->actor));
    kv_reaper_actor.tick(f->actor, 0, f->out);
    assert_int_equal(kv_out_fake_asked(f->out, 0)->code, KV_JOB_DONE);
    kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    assert_true(kv_reaper_actor.drained(f->actor));
}

/* 0004: a second one waits, however long the first one takes, and follows it. */
static void one_works_at_a_time(void **state)
{
    fixture *f = *state;
    void *other;
    kv_out *out = kv_out_fake(&f->clock.clock);
    assert_int_equal(kv_reaper_actor.create(&f->s.cfg, NULL, &other), KV_OK);
    kv_reaper_actor.tick(f->actor, 0, f->out);
    kv_reaper_actor.tick(other, 0, out);
    kv_reaper_actor.tick(other, 0, out);
    assert_int_not_equal(kv_out_fake_credit(f->out), 0);
    assert_int_equal(kv_out_fake_credit(out), 0);
    kv_reaper_actor.destroy(&f->actor);
    kv_reaper_actor.tick(other, 0, out);
    assert_int_not_equal(kv_out_fake_credit(out), 0);
    f->actor = other;
    kv_out_fake_destroy(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_and_variants_go, make, drop),
        cmocka_unit_test_setup_teardown(what_is_not_durably_gone_is_tried_again, make, drop),
        cmocka_unit_test_setup_teardown(bad_params_remove_nothing, make, drop),
        cmocka_unit_test_setup_teardown(answer_is_sent_until_it_is_taken, make, drop),
        cmocka_unit_test_setup_teardown(one_works_at_a_time, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
