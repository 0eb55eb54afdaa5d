/* A client's requests that wait for answers, against a model that looks at everything: found by id,
 * what runs out first, and the order in which they are sent, also when all are to be sent again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto/waiting.h"
#include "tests/unit/chance.h"

enum { LIVE_MAX = 200, ROUNDS = 20000 };

typedef struct model {
    kv_waiting w;
    kv_request_out *sent[LIVE_MAX], *unsent[LIVE_MAX]; /* in their order */
    size_t sent_n, unsent_n;
    uint64_t last_id, seed;
} model;

static uint64_t pick(model *m, uint64_t below)
{
    return chance(&m->seed, below);
}

static kv_request_out *take(kv_request_out **of, size_t *n, size_t at)
{
    kv_request_out *r = of[at];
    memmove(of + at, of + at + 1, (--*n - at) * sizeof *of);
    return r;
}

static void add(model *m)
{
    kv_request_out *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->id = m->last_id += 1 + pick(m, 3);
    r->until_us = (int64_t)pick(m, 50); /* some are the same */
    assert_int_equal(kv_waiting_add(&m->w, r), KV_OK);
    m->unsent[m->unsent_n++] = r;
}

static void send_one(model *m, size_t at)
{
    kv_request_out *r = take(m->unsent, &m->unsent_n, at);
    kv_waiting_mark_sent(&m->w, r, (int64_t)pick(m, 3)); /* a clock may show 0 */
    m->sent[m->sent_n++] = r;
}

static void answer_one(model *m, size_t at)
{
    kv_request_out *r = at < m->sent_n ? take(m->sent, &m->sent_n, at)
                                       : take(m->unsent, &m->unsent_n, at - m->sent_n);
    kv_waiting_remove(&m->w, r);
    assert_null(kv_waiting_find(&m->w, r->id));
    free(r);
}

/* The connection is new: what was sent goes first. */
static void all_unsent(model *m)
{
    kv_waiting_mark_all_unsent(&m->w);
    memmove(m->unsent + m->sent_n, m->unsent, m->unsent_n * sizeof *m->unsent);
    memcpy(m->unsent, m->sent, m->sent_n * sizeof *m->sent);
    m->unsent_n += m->sent_n;
    m->sent_n = 0;
}

static void check_list(const kv_request_list *l, kv_request_out *const *of, size_t n)
{
    const kv_request_out *r = l->first, *prev = NULL;
    for (size_t i = 0; i < n; i++, prev = r, r = r->next) {
        assert_ptr_equal(r, of[i]);
        assert_ptr_equal(r->prev, prev);
    }
    assert_null(r);
    assert_ptr_equal(l->last, prev);
}

static void check(const model *m)
{
    const kv_request_out *soonest = kv_waiting_soonest(&m->w);
    assert_int_equal(m->w.count, m->sent_n + m->unsent_n);
    assert_int_equal(soonest != NULL, m->w.count > 0);
    for (size_t i = 0; i < m->w.count; i++) {
        kv_request_out *r = i < m->sent_n ? m->sent[i] : m->unsent[i - m->sent_n];
        assert_ptr_equal(kv_waiting_find(&m->w, r->id), r);
        assert_int_equal(r->sent_us != 0, i < m->sent_n);
        assert_true(soonest->until_us <= r->until_us);
    }
    check_list(&m->w.sent, m->sent, m->sent_n);
    check_list(&m->w.unsent, m->unsent, m->unsent_n);
}

static void test_against_model(void **state)
{
    static model m = {.seed = 1};
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        size_t live = m.sent_n + m.unsent_n;
        uint64_t what = pick(&m, 100), full = (uint64_t)(i / 4000 % 2 ? 25 : 45); /* and empties */
        if (what < full && live < LIVE_MAX)
            add(&m);
        else if (what < 70 && live > 0)
            answer_one(&m, pick(&m, live));
        else if (what < 97 && m.unsent_n > 0)
            send_one(&m, pick(&m, 4) ? 0 : pick(&m, m.unsent_n));
        else if (what >= 97)
            all_unsent(&m);
        check(&m);
    }
    kv_waiting_release(&m.w);
    assert_int_equal(m.w.count, 0);
    assert_null(kv_waiting_find(&m.w, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
