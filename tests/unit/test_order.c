/* The interleaving of lanes: the closed formula of a place against the dispatcher itself, for all
 * small cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "broker/order.h"

/* All jobs of n begin, none comes: each has the place that the formula gave it at the start. The
 * places are so unique and dense. */
static void drain(const kv_order *start, const uint32_t n[KV_LANES])
{
    kv_order o = *start;
    uint32_t begun[KV_LANES] = {0, 0, 0}, all = n[0] + n[1] + n[2];
    for (uint32_t place = 0; place < all; place++) {
        bool waits[KV_LANES];
        for (int i = 0; i < KV_LANES; i++)
            waits[i] = begun[i] < n[i];
        int lane = kv_order_next(&o, waits);
        assert_in_range(lane, 0, KV_LANES - 1);
        assert_true(waits[lane]);
        assert_int_equal(kv_order_rank(start, n, lane, begun[lane]), place);
        kv_order_begun(&o, lane);
        begun[lane]++;
    }
}

static void all_sizes(const kv_order *o, uint32_t most)
{
    uint32_t n[KV_LANES];
    for (n[0] = 0; n[0] <= most; n[0]++) {
        for (n[1] = 0; n[1] <= most; n[1]++) {
            for (n[2] = 0; n[2] <= most; n[2]++)
                drain(o, n);
        }
    }
}

/* S3-14, S4-04 */
static void test_formula_is_the_dispatcher(void **state)
{
    static const uint32_t shares[] = {0, 2, 3, 4, 10};
    (void)state;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        kv_order o = {.share = shares[i]};
        uint32_t counts = o.share ? o.share : 1;
        for (o.since[0] = 0; o.since[0] < counts; o.since[0]++) {
            for (o.since[1] = 0; o.since[1] < counts; o.since[1]++)
                all_sizes(&o, o.share == 10 ? 5 : 8);
        }
    }
}

static void test_long_lanes(void **state)
{
    static const uint32_t n[][KV_LANES] = {{300, 200, 100}, {5, 300, 300}, {300, 0, 7}, {0, 50, 9}};
    (void)state;
    for (uint32_t share = 0; share <= 12; share += share ? 1 : 2) {
        kv_order o = {share, {share / 2, share ? share - 1 : 0}};
        for (size_t i = 0; i < sizeof n / sizeof *n; i++)
            drain(&o, n[i]);
    }
}

/* Of ten starts nine are urgent, and of ten of those and normal ones nine. */
static void test_share(void **state)
{
    static const bool all[KV_LANES] = {true, true, true};
    kv_order o = {.share = 10};
    int begun[KV_LANES] = {0, 0, 0};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        int lane = kv_order_next(&o, all);
        begun[lane]++;
        kv_order_begun(&o, lane);
    }
    assert_int_equal(begun[0], 810);
    assert_int_equal(begun[1], 90);
    assert_int_equal(begun[2], 100);
}

static void test_strict(void **state)
{
    static const bool all[KV_LANES] = {true, true, true}, none[KV_LANES] = {false, false, false};
    kv_order o = {.share = 0};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(kv_order_next(&o, all), 0);
        kv_order_begun(&o, 0);
    }
    assert_int_equal(kv_order_next(&o, none), -1);
    assert_int_equal(kv_order_rank(&o, (uint32_t[]){7, 5, 3}, 2, 1), 13);
}

/* A lane that was empty for long has one turn to claim, not many. */
static void test_turns_are_not_saved(void **state)
{
    static const bool urgent[KV_LANES] = {true, false, false}, two[KV_LANES] = {true, true, false};
    kv_order o = {.share = 4};
    (void)state;
    for (int i = 0; i < 100; i++)
        kv_order_begun(&o, kv_order_next(&o, urgent));
    assert_int_equal(kv_order_next(&o, two), 1);
    kv_order_begun(&o, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kv_order_next(&o, two), 0);
        kv_order_begun(&o, 0);
    }
    assert_int_equal(kv_order_next(&o, two), 1);
}

static void test_large_numbers(void **state)
{
    static const uint32_t n[KV_LANES] = {1000000000, 1000000000, 1000000000};
    kv_order o = {.share = 1000};
    (void)state;
    assert_int_equal(kv_order_rank(&o, n, 2, 999999999), 2999999999u);
    /* the last of urgent and normal, with one of background for each 999 before it */
    assert_int_equal(kv_order_rank(&o, n, 1, 999999999), 1999999999u + 1999999999u / 999);
    assert_int_equal(kv_order_rank(&o, n, 0, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula_is_the_dispatcher),
        cmocka_unit_test(test_long_lanes),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_turns_are_not_saved),
        cmocka_unit_test(test_large_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
