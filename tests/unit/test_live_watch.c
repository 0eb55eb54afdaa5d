/* Who watches which job: reference counts, what the broker is asked, newest wins. S3-11, S3-13 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "gateway/watch.h"

#define S(text) kv_slice_str(text)

static void asks(kv_watches *t, bool watch, size_t n, uint64_t first)
{
    uint64_t ids[KV_WATCH_ASK_MAX];
    bool on;
    assert_int_equal(kv_watches_take(t, ids, &on), n);
    if (n != 0) {
        assert_int_equal(on, watch);
        assert_int_equal(ids[0], first);
    }
}

static void hears(kv_watches *t, kv_watcher *w, const char *json)
{
    kv_slice s;
    if (json == NULL) {
        assert_false(kv_watcher_peek(w, &s));
        return;
    }
    assert_true(kv_watcher_peek(w, &s));
    assert_true(kv_slice_is(s, json));
    kv_watcher_told(t, w);
}

static void test_counted(void **state)
{
    (void)state;
    kv_watches *t;
    kv_watcher a = {0}, b = {0};
    assert_int_equal(kv_watches_new(&t), KV_OK);
    assert_int_equal(kv_watches_add(t, &a, 7), KV_OK);
    assert_int_equal(kv_watches_add(t, &b, 7), KV_OK);
    assert_int_equal(kv_watches_add(t, &a, 7), KV_OK); /* twice is once */
    assert_int_equal(a.n, 1);
    asks(t, true, 1, 7);
    asks(t, true, 0, 0);
    kv_watches_remove(t, &a, 7);
    asks(t, false, 0, 0); /* b still does */
    kv_watches_drop(t, &b);
    asks(t, false, 1, 7);
    assert_int_equal(kv_watches_jobs(t), 0);
    kv_watches_add(t, &a, 8); /* nothing was asked yet: no goodbye either */
    kv_watches_remove(t, &a, 8);
    asks(t, true, 0, 0);
    kv_watches_destroy(&t);
}

static void test_newest_wins(void **state)
{
    (void)state;
    kv_watches *t;
    kv_watcher a = {0}, b = {0};
    kv_watches_new(&t);
    kv_watches_add(t, &a, 1);
    kv_watches_add(t, &a, 2);
    assert_true(kv_watches_tell(t, 1, S("1:5"), false));
    assert_true(kv_watches_tell(t, 2, S("2:6"), false));
    assert_true(kv_watches_tell(t, 1, S("1:4"), false)); /* nobody read meanwhile */
    assert_false(kv_watches_tell(t, 3, S("x"), false));
    hears(t, &a, "1:4");
    hears(t, &a, "2:6");
    hears(t, &a, NULL);
    kv_watches_add(t, &b, 1); /* who comes later hears what is known */
    hears(t, &b, "1:4");
    hears(t, &a, NULL);
    kv_watches_tell(t, 1, S("1:end"), true);
    hears(t, &a, "1:end");
    assert_int_equal(a.n, 1); /* an ended job is not watched any more */
    assert_int_equal(kv_watches_jobs(t), 2);
    hears(t, &b, "1:end");
    assert_int_equal(kv_watches_jobs(t), 1);
    kv_watches_drop(t, &a);
    kv_watches_drop(t, &b);
    kv_watches_destroy(&t);
}

static void test_again(void **state)
{
    (void)state;
    kv_watches *t;
    kv_watcher a = {0};
    kv_watches_new(&t);
    kv_watches_add(t, &a, 1);
    kv_watches_add(t, &a, 2);
    asks(t, true, 2, 1);
    kv_watches_all_again(t); /* a new session */
    uint64_t ids[KV_WATCH_ASK_MAX];
    bool on;
    assert_int_equal(kv_watches_take(t, ids, &on), 2);
    assert_true(on);
    /* an unwatch that is answered after the job is watched anew */
    kv_watches_remove(t, &a, 1);
    asks(t, false, 1, 1);
    kv_watches_add(t, &a, 1);
    asks(t, true, 1, 1);
    uint64_t one = 1, gone = 99;
    kv_watches_again(t, &one, 1);
    kv_watches_again(t, &gone, 1);
    asks(t, true, 1, 1);
    /* an unwatch that was not sent needs none in a new session */
    kv_watches_remove(t, &a, 2);
    kv_watches_all_again(t);
    asks(t, true, 1, 1);
    asks(t, false, 0, 0);
    /* watched again before the goodbye went out, and dropped again: the broker still has it */
    kv_watches_remove(t, &a, 1);
    kv_watches_add(t, &a, 1);
    kv_watches_remove(t, &a, 1);
    asks(t, false, 1, 1);
    kv_watches_add(t, &a, 1);
    asks(t, true, 1, 1);
    /* watched again before the goodbye went out */
    kv_watches_remove(t, &a, 1);
    kv_watches_add(t, &a, 1);
    asks(t, true, 1, 1);
    kv_watches_drop(t, &a);
    kv_watches_destroy(&t);
}

static void test_limits(void **state)
{
    (void)state;
    kv_watches *t;
    kv_watcher a = {0}, *many = calloc(64, sizeof(*many));
    kv_watches_new(&t);
    for (uint64_t i = 1; i <= KV_WATCH_CLIENT_MAX; i++)
        assert_int_equal(kv_watches_add(t, &a, i), KV_OK);
    assert_int_equal(kv_watches_add(t, &a, 5), KV_OK); /* it has that one */
    assert_int_equal(kv_watches_add(t, &a, KV_WATCH_CLIENT_MAX + 1), KV_E_BAD_PARAMETER);
    uint64_t next = KV_WATCH_CLIENT_MAX + 1;
    kv_err err = KV_OK;
    for (size_t w = 0; w < 64 && err == KV_OK; w++)
        for (size_t i = 0; i < KV_WATCH_CLIENT_MAX && err == KV_OK; i++)
            err = kv_watches_add(t, &many[w], next++);
    assert_int_equal(err, KV_E_BUSY);
    assert_int_equal(kv_watches_jobs(t), KV_WATCH_LOOP_MAX);
    size_t asked = 0, n;
    uint64_t ids[KV_WATCH_ASK_MAX];
    bool on;
    while ((n = kv_watches_take(t, ids, &on)) != 0)
        asked += n;
    assert_int_equal(asked, KV_WATCH_LOOP_MAX);
    kv_watches_drop(t, &a);
    for (size_t w = 0; w < 64; w++)
        kv_watches_drop(t, &many[w]);
    for (asked = 0; (n = kv_watches_take(t, ids, &on)) != 0; asked += n)
        assert_false(on);
    assert_int_equal(asked, KV_WATCH_LOOP_MAX);
    assert_int_equal(kv_watches_jobs(t), 0);
    kv_watches_destroy(&t);
    free(many);
}

/* Random steps against a plain model. */
static void test_random(void **state)
{
    (void)state;
    enum { WATCHERS = 5, JOBS = 20 };
    kv_watches *t;
    kv_watcher w[WATCHERS] = {0};
    bool model[WATCHERS][JOBS] = {0}, broker[JOBS] = {0};
    uint64_t random = 88172645463325252u;
    kv_watches_new(&t);
    for (int step = 0; step < 20000; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned r = (unsigned)(random >> 20), who = r % WATCHERS, job = r / 8 % JOBS,
                 what = r / 512 % 32;
        if (what < 13) {
            assert_int_equal(kv_watches_add(t, &w[who], job + 1), KV_OK);
            model[who][job] = true;
        } else if (what < 29) {
            kv_watches_remove(t, &w[who], job + 1);
            model[who][job] = false;
        } else if (what == 29) {
            kv_watches_tell(t, job + 1, S("x"), false);
            kv_slice s;
            while (kv_watcher_peek(&w[who], &s))
                kv_watcher_told(t, &w[who]);
        } else {
            uint64_t ids[KV_WATCH_ASK_MAX];
            bool on;
            for (size_t n; (n = kv_watches_take(t, ids, &on)) != 0;)
                for (size_t i = 0; i < n; i++)
                    broker[ids[i] - 1] = on;
            for (int j = 0; j < JOBS; j++) {
                bool any = false;
                for (int i = 0; i < WATCHERS; i++)
                    any |= model[i][j];
                assert_int_equal(any, broker[j]);
            }
        }
    }
    for (int i = 0; i < WATCHERS; i++)
        kv_watches_drop(t, &w[i]);
    kv_watches_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counted), cmocka_unit_test(test_newest_wins),
        cmocka_unit_test(test_again), cmocka_unit_test(test_limits), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
