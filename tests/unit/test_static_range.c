/* Range, If-Range, If-None-Match, dates, Accept and the choice of a variant: gateway/negotiate.c.
 * Serving of S0-22, S0-23, S0-54. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gateway/negotiate.h"
#include "gateway/static_cache.h"

#define S(text) kv_slice_str(text)

static void range(const char *value, uint64_t size, kv_range_kind kind, uint64_t first,
                  uint64_t last)
{
    uint64_t a = 0, b = 0;
    assert_int_equal(kv_range_parse(S(value), size, &a, &b), kind);
    if (kind == KV_RANGE_ONE) {
        assert_int_equal(a, first);
        assert_int_equal(b, last);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    range("bytes=0-0", 100, KV_RANGE_ONE, 0, 0);
    range("bytes=0-99", 100, KV_RANGE_ONE, 0, 99);
    range("bytes=0-1000", 100, KV_RANGE_ONE, 0, 99);
    range("bytes=50-", 100, KV_RANGE_ONE, 50, 99);
    range("bytes=-10", 100, KV_RANGE_ONE, 90, 99);
    range("bytes=-1000", 100, KV_RANGE_ONE, 0, 99);
    range("Bytes = 1 - 2 ", 100, KV_RANGE_ONE, 1, 2);
    range("bytes=99-99999999999999999999999", 100, KV_RANGE_ONE, 99, 99);
}

static void test_ranges_outside(void **state)
{
    (void)state;
    range("bytes=100-", 100, KV_RANGE_BAD, 0, 0);
    range("bytes=100-200", 100, KV_RANGE_BAD, 0, 0);
    range("bytes=-0", 100, KV_RANGE_BAD, 0, 0);
    range("bytes=0-", 0, KV_RANGE_BAD, 0, 0);
    range("bytes=-1", 0, KV_RANGE_BAD, 0, 0);
    range("bytes=99999999999999999999999-", 100, KV_RANGE_BAD, 0, 0);
}

static void test_ranges_ignored(void **state)
{
    (void)state;
    const char *odd[] = {"",          "bytes",       "bytes=",        "bytes=-", "bytes=a-b",
                         "bytes=5-2", "items=0-1",   "bytes=0-1,3-4", "bytes=1", "bytes=0x1-2",
                         "bytes=--1", "bytes=1-2-3", "bytes=+1-2"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
        range(odd[i], 100, KV_RANGE_NONE, 0, 0);
    uint64_t a, b;
    assert_int_equal(kv_range_parse(kv_slice_of(NULL, 0), 100, &a, &b), KV_RANGE_NONE);
}

static void test_dates(void **state)
{
    (void)state;
    int64_t t;
    assert_true(kv_http_date_parse(S("Sun, 06 Nov 1994 08:49:37 GMT"), &t));
    assert_int_equal(t, 784111777);
    assert_false(kv_http_date_parse(S("Sun, 06 Nov 1994 08:49:37 CET"), &t));
    assert_false(kv_http_date_parse(S("Sun, 06 Foo 1994 08:49:37 GMT"), &t));
    assert_false(kv_http_date_parse(S("Sun, 06 Nov 1994 28:49:37 GMT"), &t));
    assert_false(kv_http_date_parse(S("Sunday, 06-Nov-94 08:49:37 GMT"), &t));
    assert_false(kv_http_date_parse(S(""), &t));
}

static void test_etags(void **state)
{
    (void)state;
    kv_slice tag = S("\"abc\"");
    assert_true(kv_etag_listed(S("\"abc\""), tag));
    assert_true(kv_etag_listed(S("W/\"abc\""), tag));
    assert_true(kv_etag_listed(S("\"x,y\" , \"abc\""), tag));
    assert_true(kv_etag_listed(S("*"), tag));
    assert_false(kv_etag_listed(S("\"abcd\""), tag));
    assert_false(kv_etag_listed(S("abc"), tag));
    assert_false(kv_etag_listed(S(""), tag));
    assert_true(kv_etag_matches(S("\"x\", \"abc\""), tag));
    assert_true(kv_etag_matches(S("*"), tag));
    assert_false(kv_etag_matches(S("W/\"abc\""), tag)); /* strong comparison */
    assert_false(kv_etag_matches(S(""), tag));
}

static void test_if_range(void **state)
{
    (void)state;
    kv_slice tag = S("\"abc\"");
    assert_true(kv_if_range_holds(S("\"abc\""), tag, 784111777));
    assert_false(kv_if_range_holds(S("\"abd\""), tag, 784111777));
    assert_false(kv_if_range_holds(S("W/\"abc\""), tag, 784111777)); /* strong comparison */
    assert_true(kv_if_range_holds(S("Sun, 06 Nov 1994 08:49:37 GMT"), tag, 784111777));
    assert_false(kv_if_range_holds(S("Sun, 06 Nov 1994 08:49:38 GMT"), tag,
                                   784111777)); /* exact, not "since" */
    assert_false(kv_if_range_holds(S(""), tag, 784111777));
}

static void test_accept(void **state)
{
    (void)state;
    const char *chrome = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
    assert_int_equal(kv_accept_names(S(chrome), "image/avif"), 1000);
    assert_int_equal(kv_accept_names(S(chrome), "image/webp"), 1000);
    assert_int_equal(kv_accept_names(S("*/*"), "image/webp"), 0);
    assert_int_equal(kv_accept_names(S("image/*"), "image/webp"), 0);
    assert_int_equal(kv_accept_names(S("image/webp;q=0"), "image/webp"), 0);
    assert_int_equal(kv_accept_names(S("image/WebP ; q=0.25 , x/y"), "image/webp"), 250);
    assert_int_equal(kv_accept_names(S("image/webp;level=\"1,2;3\";q=0.5"), "image/webp"), 500);
    assert_int_equal(kv_accept_names(S("image/webp;q=banana"), "image/webp"), 0);
    assert_int_equal(kv_accept_names(S("image/webpx"), "image/webp"), 0);
    assert_int_equal(kv_accept_names(kv_slice_of(NULL, 0), "image/webp"), 0);
}

static const kv_pick_variant variants[] = {
    {KV_PICK_WEBP, 320, false}, {KV_PICK_AVIF, 320, false},  {KV_PICK_WEBP, 640, false},
    {KV_PICK_AVIF, 640, false}, {KV_PICK_WEBP, 1280, false}, {KV_PICK_WEBP, 3000, true},
};
#define N 6

static void test_pick(void **state)
{
    (void)state;
    const unsigned both[] = {0, 1000, 1000}, webp[] = {0, 1000, 0}, none[] = {0, 0, 0},
                   rather_webp[] = {0, 1000, 500}, avif[] = {0, 0, 1000};
    assert_int_equal(kv_pick(variants, N, both, 320, 3000), 1);
    assert_int_equal(kv_pick(variants, N, both, 1, 3000), 1);
    assert_int_equal(kv_pick(variants, N, both, 321, 3000), 3); /* the next larger one */
    assert_int_equal(kv_pick(variants, N, webp, 321, 3000), 2);
    assert_int_equal(kv_pick(variants, N, rather_webp, 640, 3000), 2);
    assert_int_equal(kv_pick(variants, N, both, 700, 3000), 4); /* no AVIF so wide */
    assert_int_equal(kv_pick(variants, N, both, 2000, 3000), 5);
    assert_int_equal(kv_pick(variants, N, both, 9000, 3000), 5);  /* wider than all: the full one */
    assert_int_equal(kv_pick(variants, N, avif, 9000, 3000), -1); /* none: the original */
    assert_int_equal(kv_pick(variants, N, both, 0, 3000), 5);     /* full size */
    assert_int_equal(kv_pick(variants, N, none, 320, 3000), -1);
    assert_int_equal(kv_pick(variants, 0, both, 320, 3000), -1);
}

static void disposition(const char *name, bool attachment, const char *want)
{
    kv_buf b;
    kv_buf_init(&b, 4096);
    kv_disposition(&b, attachment, S(name));
    assert_string_equal(kv_buf_str(&b), want);
    kv_buf_release(&b);
}

/* Whatever a client called its file, the header stays one header. */
static void test_disposition(void **state)
{
    (void)state;
    disposition("a b.jpg", false, "inline; filename=\"a b.jpg\"; filename*=UTF-8''a%20b.jpg");
    disposition(
        "\xc3\x87i\"\\;\r\n%.pdf", true,
        "attachment; filename=\"_i__;___.pdf\"; filename*=UTF-8''%C3%87i%22%5C%3B%0D%0A%25.pdf");
    disposition("", true, "attachment; filename=\"\"; filename*=UTF-8''");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),         cmocka_unit_test(test_ranges_outside),
        cmocka_unit_test(test_ranges_ignored), cmocka_unit_test(test_dates),
        cmocka_unit_test(test_etags),          cmocka_unit_test(test_if_range),
        cmocka_unit_test(test_disposition),    cmocka_unit_test(test_accept),
        cmocka_unit_test(test_pick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
