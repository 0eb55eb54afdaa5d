/* Which keys were removed lately, against a model that forgets nothing: nobody whose file may have
 * gone is told that it stands, and nobody has to link again without need. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "broker/gone.h"
#include "tests/unit/chance.h"

enum { CAP = 8, KEYS = 12, FLOOR = 5, ROUNDS = 3000, ADDED_MAX = 5 };

typedef struct model {
    kv_gone g;
    uint64_t seed, seq, kept;
    int key_of[FLOOR + 1 + ROUNDS * ADDED_MAX]; /* by seq; -1: rolled back */
    uint64_t kept_seqs[ROUNDS * ADDED_MAX];
} model;

static uint64_t pick(model *m, uint64_t below)
{
    return chance(&m->seed, below);
}

static kv_slice key_called(int key)
{
    static char text[20];
    snprintf(text, sizeof text, "a/%d.jpg", key);
    return kv_slice_str(text);
}

static void check(model *m)
{
    uint64_t floor = m->kept > CAP ? m->kept_seqs[m->kept - CAP - 1] : FLOOR;
    uint64_t from = m->seq > 30 ? m->seq - 30 : 0;
    for (int key = 0; key < KEYS; key++) {
        uint64_t last = 0;
        for (uint64_t s = FLOOR + 1; s <= m->seq; s++)
            last = m->key_of[s] == key ? s : last;
        for (uint64_t known = from; known <= m->seq + 1; known++)
            assert_int_equal(kv_gone_since(&m->g, key_called(key), known),
                             known < floor || known < last);
    }
}

static void commit_or_not(model *m, uint64_t begun)
{
    if (pick(m, 4) == 0) {
        kv_gone_drop(&m->g);
        for (; m->seq > begun; m->seq--)
            m->key_of[m->seq] = -1;
        return;
    }
    kv_gone_keep(&m->g);
    while (begun < m->seq)
        m->kept_seqs[m->kept++] = ++begun;
}

static void test_against_model(void **state)
{
    static model m = {.seed = 7, .seq = FLOOR};
    (void)state;
    assert_true(kv_gone_init(&m.g, CAP, FLOOR));
    for (int i = 0; i < ROUNDS && m.seq < 400; i++) {
        uint64_t begun = m.seq, n = pick(&m, ADDED_MAX + 1);
        while (n-- > 0) {
            m.key_of[++m.seq] = (int)pick(&m, KEYS);
            assert_true(kv_gone_add(&m.g, key_called(m.key_of[m.seq]), m.seq));
        }
        check(&m); /* what is removed in this transaction counts */
        commit_or_not(&m, begun);
        check(&m);
    }
    kv_gone_release(&m.g);
}

/* More in one transaction than are remembered. */
static void test_many_at_once(void **state)
{
    kv_gone g;
    (void)state;
    assert_true(kv_gone_init(&g, CAP, 0));
    for (int i = 1; i <= 3 * CAP; i++)
        assert_true(kv_gone_add(&g, key_called(i), (uint64_t)i));
    kv_gone_keep(&g);
    assert_true(kv_gone_since(&g, key_called(1000), 2 * CAP - 1));
    assert_false(kv_gone_since(&g, key_called(1000), 2 * CAP));
    assert_true(kv_gone_since(&g, key_called(3 * CAP), 3 * CAP - 1));
    assert_false(kv_gone_since(&g, key_called(3 * CAP), 3 * CAP));
    kv_gone_release(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model),
                                       cmocka_unit_test(test_many_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
