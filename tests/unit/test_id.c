#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "proto/base/id.h"

#define EPOCH KV_ID_EPOCH_MS

static void test_order_and_borrowing(void **state)
{
    kv_fake_clock f;
    kv_id_maker m;
    uint64_t last = 0;

    (void)state;
    kv_fake_clock_init(&f, EPOCH + 5);
    kv_id_maker_init(&m, 1024 + 7);
    for (int i = 0; i < 10000; i++) { /* more than one millisecond holds */
        uint64_t id = kv_id_make(&m, &f.clock);
        assert_true(id > last);
        assert_int_equal(id >> 12 & 1023, 7);
        assert_true(id >> 63 == 0);
        last = id;
    }
    assert_int_equal(last >> 22, 5 + 10000 / 4096);
    kv_fake_clock_advance(&f, -1000); /* the clock steps back */
    assert_true(kv_id_make(&m, &f.clock) > last);
    kv_fake_clock_advance(&f, 5000);
    uint64_t id = kv_id_make(&m, &f.clock);
    assert_int_equal(id >> 22, 4005);
    assert_int_equal(id & 4095, 0);
}

static void test_first_of_a_time(void **state)
{
    kv_fake_clock f;
    kv_id_maker m;

    (void)state;
    kv_fake_clock_init(&f, EPOCH + 5);
    kv_id_maker_init(&m, 0);
    assert_true(kv_id_make(&m, &f.clock) == kv_id_first_at(EPOCH + 5));
    assert_true(kv_id_first_at(EPOCH + 6) > kv_id_make(&m, &f.clock));
    assert_true(kv_id_first_at(EPOCH) == 0 && kv_id_first_at(0) == 0 && kv_id_first_at(-1) == 0);
}

/* A clock that was lost may say 2106. */
static void test_after_the_last(void **state)
{
    kv_fake_clock f;
    kv_id_maker m;
    uint64_t last = 0, parsed;
    char text[KV_ID_TEXT + 1];

    (void)state;
    kv_fake_clock_init(&f, 4294967295000);
    kv_id_maker_init(&m, 1023);
    for (int i = 0; i < 10000; i++) {
        uint64_t id = kv_id_make(&m, &f.clock);
        assert_true(id > last && id <= INT64_MAX);
        last = id;
    }
    kv_id_format(last, text);
    assert_true(kv_id_parse(text, KV_ID_TEXT, &parsed) && parsed == last);
    assert_true(kv_id_first_at(INT64_MAX) + ((uint64_t)1 << 48) <= INT64_MAX); /* keyed ids */
    assert_true(kv_id_first_at(INT64_MAX) <= last);
}

/* Two starts of a machine without a clock, with the same node by chance. */
static void test_clock_not_set(void **state)
{
    static const int64_t said[] = {0, 4294967295000};

    (void)state;
    for (int i = 0; i < 2; i++) {
        kv_fake_clock f;
        kv_id_maker one, two;
        kv_fake_clock_init(&f, said[i]);
        kv_id_maker_init(&one, 7);
        kv_id_maker_init(&two, 7);
        uint64_t a = kv_id_make(&one, &f.clock), b = kv_id_make(&two, &f.clock);
        assert_true(a != b); /* once in 2^29 they are */
        assert_true(kv_id_make(&one, &f.clock) == a + 1);
        kv_fake_clock_init(&f, EPOCH + ((int64_t)1 << 40));
        assert_true(i == 1 || kv_id_make(&one, &f.clock) == ((uint64_t)1 << 62 | 7 << 12));
    }
}

static void test_never_zero(void **state)
{
    kv_fake_clock f;
    kv_id_maker m;

    (void)state;
    kv_fake_clock_init(&f, 0);
    kv_id_maker_init(&m, 0);
    assert_true(kv_id_make(&m, &f.clock) != 0);
}

static void test_text(void **state)
{
    static const uint64_t ids[] = {1, 31, 32, 0x7fffffffffffffff, 123456789012345678};
    char text[KV_ID_TEXT + 1];
    uint64_t back = 0;

    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        kv_id_format(ids[i], text);
        assert_int_equal(strlen(text), KV_ID_TEXT);
        assert_true(kv_id_parse(text, KV_ID_TEXT, &back));
        assert_true(back == ids[i]);
    }
    kv_id_format(0x7fffffffffffffff, text);
    assert_string_equal(text, "7zzzzzzzzzzzz");
    assert_true(kv_id_parse("OIL0000000001", 13, &back));
    assert_true(kv_id_parse("0110000000001", 13, &back));
    assert_false(kv_id_parse("0000000000000", 13, &back));
    assert_false(kv_id_parse("8000000000000", 13, &back));
    assert_false(kv_id_parse("000000000000u", 13, &back));
    assert_false(kv_id_parse("00000000000-1", 13, &back));
    assert_false(kv_id_parse("000000000001", 12, &back));
    assert_false(kv_id_parse("", 0, &back));
    assert_true(kv_id_random_node() < 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_borrowing), cmocka_unit_test(test_first_of_a_time),
        cmocka_unit_test(test_after_the_last),      cmocka_unit_test(test_clock_not_set),
        cmocka_unit_test(test_never_zero),          cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
