/* Token buckets: S0-24, S0-101. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "gateway/ratelimit.h"

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage a;
    memset(&a, 0, sizeof(a));
    if (strchr(text, ':') != NULL) {
        a.ss_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&a)->sin6_addr), 1);
    } else {
        a.ss_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &((struct sockaddr_in *)&a)->sin_addr), 1);
    }
    return a;
}

static kv_rate_answer take(kv_ratelimit *r, const char *who, int64_t now)
{
    struct sockaddr_storage a = address(who);
    return kv_ratelimit_take(r, (struct sockaddr *)&a, now);
}

static void test_bucket(void **state)
{
    (void)state;
    kv_ratelimit *r = kv_ratelimit_new(60);
    for (unsigned i = 0; i < 60; i++) {
        kv_rate_answer a = take(r, "10.0.0.1", 1000);
        assert_true(a.allowed);
        assert_int_equal(a.remaining, 59 - i);
    }
    kv_rate_answer a = take(r, "10.0.0.1", 1000);
    assert_false(a.allowed);
    assert_int_equal(a.retry_after_ms, 1000);
    assert_int_equal(a.reset_s, 60);
    assert_false(take(r, "10.0.0.1", 1999).allowed);
    assert_true(take(r, "10.0.0.1", 2000).allowed); /* one a second */
    assert_false(take(r, "10.0.0.1", 2000).allowed);
    assert_true(take(r, "10.0.0.2", 2000).allowed);               /* others are not touched */
    assert_int_equal(take(r, "10.0.0.1", 1000000).remaining, 59); /* full again, not more */
    kv_ratelimit_destroy(&r);
    assert_null(r);
}

static void test_addresses(void **state)
{
    (void)state;
    kv_ratelimit *r = kv_ratelimit_new(1);
    assert_true(take(r, "2001:db8:1:2::1", 0).allowed);
    assert_false(take(r, "2001:db8:1:2:ffff::9", 0).allowed); /* the same /64 */
    assert_true(take(r, "2001:db8:1:3::1", 0).allowed);
    assert_true(take(r, "192.0.2.7", 0).allowed);
    assert_false(take(r, "::ffff:192.0.2.7", 0).allowed);
    kv_ratelimit_destroy(&r);
}

static void test_off_and_crowded(void **state)
{
    (void)state;
    kv_ratelimit *r = kv_ratelimit_new(0);
    for (int i = 0; i < 1000; i++)
        assert_true(take(r, "10.0.0.1", 0).allowed);
    kv_ratelimit_destroy(&r);
    /* a crowd of addresses does not push out one that is being limited */
    r = kv_ratelimit_new(2);
    assert_true(take(r, "10.0.0.1", 0).allowed);
    assert_true(take(r, "10.0.0.1", 0).allowed);
    for (uint32_t i = 0; i < 100000; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0b000000 + i)};
        kv_ratelimit_take(r, (struct sockaddr *)&a, 0);
    }
    assert_false(take(r, "10.0.0.1", 0).allowed);
    kv_ratelimit_destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bucket),
                                       cmocka_unit_test(test_addresses),
                                       cmocka_unit_test(test_off_and_crowded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
