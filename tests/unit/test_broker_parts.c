/* What the core is made of: the ordered set, the tables, the check of JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "broker/json_check.h"
#include "broker/queue.h"
#include "broker/spin.h"
#include "broker/table.h"

static void test_queue(void **state)
{
    enum { N = 2000 };
    static kv_node nodes[N];
    kv_queue q = {NULL};
    (void)state;
    memset(nodes, 0, sizeof nodes);
    for (uint64_t i = 0; i < N; i++) {
        nodes[i].seq = i * 7919 % N;
        nodes[i].tag = nodes[i].seq / 100;
        kv_queue_add(&q, &nodes[i]);
    }
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(kv_queue_rank(&nodes[i]), nodes[i].seq);
    for (uint64_t i = 0; i < N; i += 2)
        kv_queue_remove(&q, &nodes[i]);
    assert_int_equal(kv_queue_size(&q), N / 2);
    uint64_t last = 0, n = 0;
    for (kv_node *first; (first = kv_queue_first(&q)); n++) {
        assert_true(n == 0 || first->seq > last);
        assert_int_equal(kv_queue_rank(first), 0);
        last = first->seq;
        kv_queue_remove(&q, first);
    }
    assert_int_equal(n, N / 2);
}

static void test_ids(void **state)
{
    enum { N = 5000 };
    static uint64_t values[N];
    kv_ids t = {0};
    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        values[i] = (i + 1) << (i % 40);
        if (!kv_ids_find(&t, values[i]))
            assert_true(kv_ids_add(&t, &values[i]));
    }
    for (uint64_t i = 0; i < N; i += 3)
        kv_ids_remove(&t, values[i]);
    for (uint64_t i = 0; i < N; i++) {
        uint64_t *found = kv_ids_find(&t, values[i]);
        assert_true(!found || *found == values[i]);
    }
    for (uint64_t i = 1; i < N; i += 3) {
        bool removed = false; /* the same number may stand at a place that was removed */
        for (uint64_t j = 0; j < N && !removed; j += 3)
            removed = values[j] == values[i];
        assert_true(removed || kv_ids_find(&t, values[i]) != NULL);
    }
    kv_ids_release(&t);
}

/* Every byte at every place of a string long enough to be looked at eight bytes at a time. */
static void test_json_bytes(void **state)
{
    (void)state;
    for (int place = 1; place <= 20; place++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[22];
            memset(text, 'x', sizeof text);
            text[0] = text[sizeof text - 1] = '"';
            text[place] = (char)byte;
            bool good = byte >= 0x20 && byte != '"' && byte != '\\';
            assert_int_equal(kv_json_valid(kv_slice_of(text, sizeof text)), good);
        }
    }
    assert_true(kv_json_valid(kv_slice_str("\"eight by\\n\\u0041tes and eight more\\\\\"")));
    assert_false(kv_json_valid(kv_slice_str("\"eight by\\n and a newline\n\"")));
}

static void test_json(void **state)
{
    static const char *const good[] = {"1",
                                       "-0.5e+3",
                                       "\"a\\u00e9\\n\"",
                                       "[]",
                                       "{}",
                                       " [1, {\"a\": [true,false,null]}, \"x\"] ",
                                       "{\"a\":{\"b\":[[]]}}"};
    static const char *const bad[] = {
        "",      " ",       "01",  "1.", "+1", "tru",  "[1,]", "[1 2]",     "{\"a\"}", "{\"a\":1,}",
        "{a:1}", "\"\\x\"", "\"a", "[",  "]",  "{}{}", "[}",   "{\"a\":1]", "nul",     "\"\x01\""};
    char deep[200];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(kv_json_valid(kv_slice_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(kv_json_valid(kv_slice_str(bad[i])));
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    assert_true(kv_json_valid(kv_slice_of(deep, 128)));
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    assert_false(kv_json_valid(kv_slice_of(deep, 130)));
}

/* ---- looking before sleeping ---- */

static int tries_of(kv_spin *s, int waits, int one_pays_in)
{
    int tries = 0;
    for (int i = 0; i < waits; i++) {
        if (!kv_spin_try(s))
            continue;
        tries++;
        kv_spin_learn(s, one_pays_in && tries % one_pays_in == 0);
    }
    return tries;
}

static void test_spin(void **state)
{
    (void)state;
    kv_spin s = {.never = false};
    assert_in_range(tries_of(&s, 6400, 0), 100, 101); /* in vain: now and again */
    assert_in_range(tries_of(&s, 6400, 1), 6300, 6400);
    assert_in_range(tries_of(&s, 6400, 2), 6000, 6400);
    assert_in_range(tries_of(&s, 6400, 0), 100, 120); /* it stops soon */
    assert_in_range(tries_of(&s, 6400, 4), 100, 300);
    s.never = true;
    assert_int_equal(tries_of(&s, 6400, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue),      cmocka_unit_test(test_ids),  cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_bytes), cmocka_unit_test(test_spin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
