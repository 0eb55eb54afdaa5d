/* The expected bytes come from the format's own implementation, fed with the same pixels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#include "actors/image/thumbhash.h"
#include "proto/base/buf.h"

static uint32_t seed;

static uint32_t noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 24;
}

/* Slopes under noise: no coefficient is so near to zero that rounding errors decide. */
static const uint8_t *picture(uint32_t w, uint32_t h, bool alpha)
{
    static uint8_t rgba[KV_THUMBHASH_SIDE * KV_THUMBHASH_SIDE * 4];
    seed = 1;
    for (uint32_t i = 0; i < w * h; i++) {
        uint32_t x = i % w, y = i / w;
        rgba[4 * i] = (uint8_t)((x * 5 + noise()) >> 1);
        rgba[4 * i + 1] = (uint8_t)((y * 7 + noise()) >> 1);
        rgba[4 * i + 2] = (uint8_t)(((x + y) * 2 + noise()) >> 1);
        uint32_t a = noise();
        rgba[4 * i + 3] = (uint8_t)(alpha ? a : 255);
    }
    return rgba;
}

static void check(uint32_t w, uint32_t h, bool alpha, const char *hex)
{
    uint8_t out[KV_THUMBHASH_MAX], want[KV_THUMBHASH_MAX];
    size_t len = kv_thumbhash(w, h, picture(w, h, alpha), out);
    assert_int_equal(len, strlen(hex) / 2);
    assert_true(kv_hex_decode(hex, strlen(hex), want, len));
    assert_memory_equal(out, want, len);
}

static void known_vectors(void **state)
{
    (void)state;
    check(17, 31, false, "58b8050c0a840867797877787777767057f987");
    check(40, 23, true, "5908860386078077838788e3a006d878e6846ad3608b69");
    check(100, 100, false, "6107061f0c04886766787884782878888877d8f47b07860b");
    check(7, 3, true, "12e88112821605b771784209370617f40e59bf673e8917");
}

static void longest_and_shortest(void **state)
{
    (void)state;
    uint8_t out[KV_THUMBHASH_MAX], clear[4] = {9, 9, 9, 0};
    assert_int_equal(kv_thumbhash(100, 100, picture(100, 100, true), out), KV_THUMBHASH_MAX);
    assert_in_range(kv_thumbhash(1, 1, clear, out), 1, KV_THUMBHASH_MAX);
    assert_in_range(kv_thumbhash(100, 1, picture(100, 1, false), out), 1, KV_THUMBHASH_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_vectors),
                                       cmocka_unit_test(longest_and_shortest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
