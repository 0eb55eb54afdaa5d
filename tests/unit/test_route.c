/* Routes: aliases, trailing slashes, parameters, 404 and 405, HEAD; hosts and origins; languages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "gateway/guard.h"
#include "gateway/respond.h"
#include "gateway/route.h"

static const char *const paths[] = {
#define PATH(method, path, handler, flags, text) path,
    KV_ROUTES(PATH)
#undef PATH
};

static void goes(kv_method method, const char *path, const char *pattern, const char *param)
{
    kv_route_match m = kv_route_find(method, kv_slice_str(path));
    if (m.index < 0 || strcmp(paths[m.index], pattern) != 0 || !kv_slice_is(m.param, param))
        fail_msg("%s -> %s '%.*s'", path, m.index < 0 ? "nothing" : paths[m.index],
                 KV_SLICE_FMT(m.param));
}

static void nowhere(kv_method method, const char *path, unsigned allow)
{
    kv_route_match m = kv_route_find(method, kv_slice_str(path));
    if (m.index >= 0 || m.allow != allow)
        fail_msg("%s: %d %u", path, m.index, m.allow);
}

static void test_find(void **state)
{
    (void)state;
    goes(KV_METHOD_POST, "/api/media", "/api/media", "");
    goes(KV_METHOD_GET, "/api/media/", "/api/media", "");
    goes(KV_METHOD_GET, "/api/v1/media", "/api/media", "");
    goes(KV_METHOD_HEAD, "/api/v1/media/", "/api/media", "");
    goes(KV_METHOD_GET, "/api/media/abc", "/api/media/:id", "abc");
    goes(KV_METHOD_DELETE, "/api/v1/media/abc/", "/api/media/:id", "abc");
    goes(KV_METHOD_POST, "/api/media/abc/retry", "/api/media/:id/retry", "abc");
    goes(KV_METHOD_POST, "/api/jobs", "/api/jobs", "");
    goes(KV_METHOD_GET, "/api/v1/jobs/", "/api/jobs", "");
    goes(KV_METHOD_GET, "/api/jobs/x/history", "/api/jobs/:id/history", "x");
    goes(KV_METHOD_PATCH, "/api/jobs/x/metadata", "/api/jobs/:id/metadata", "x");
    goes(KV_METHOD_GET, "/api/admin/queues", "/api/admin/queues", ""); /* S4-96, S4-101 */
    goes(KV_METHOD_POST, "/api/admin/queues/ai/pause", "/api/admin/queues/:service/pause", "ai");
    goes(KV_METHOD_GET, "/api/static/a/b.jpg", "/api/static/*", "a/b.jpg");
    goes(KV_METHOD_GET, "/api/v1/static/a/b.jpg", "/api/static/*", "a/b.jpg");
    goes(KV_METHOD_GET, "/api/v1/health/", "/api/v1/health", "");
    goes(KV_METHOD_GET, "/api/v1/health/ready/", "/api/v1/health/ready", "");
    goes(KV_METHOD_GET, "/", "/", "");
    goes(KV_METHOD_GET, "/assets/x.js", "/assets/*", "x.js");
    nowhere(KV_METHOD_GET, "", 0);
    nowhere(KV_METHOD_GET, "/nope", 0);
    nowhere(KV_METHOD_GET, "//", 0);
    nowhere(KV_METHOD_GET, "/api//media", 0);
    nowhere(KV_METHOD_GET, "/api/v2/media", 0);
    nowhere(KV_METHOD_GET, "/v1/metrics", 0);
    nowhere(KV_METHOD_GET, "/api/v1/v1/media", 0);
    nowhere(KV_METHOD_GET, "/api/media/a/b", 0);
    nowhere(KV_METHOD_GET, "/assets/", 0);
    nowhere(KV_METHOD_GET, "/API/media", 0);
    nowhere(KV_METHOD_PUT, "/metrics", KV_METHOD_GET | KV_METHOD_HEAD | KV_METHOD_OPTIONS);
    nowhere(KV_METHOD_GET, "/api/media/x/retry", KV_METHOD_POST | KV_METHOD_OPTIONS);
    nowhere(0, "/metrics", KV_METHOD_GET | KV_METHOD_HEAD | KV_METHOD_OPTIONS);
}

static void test_allow(void **state)
{
    (void)state;
    char out[64];
    kv_route_allow(127, out);
    assert_string_equal(out, "GET, POST, HEAD, DELETE, PUT, PATCH, OPTIONS");
    kv_route_allow(KV_METHOD_POST, out);
    assert_string_equal(out, "POST");
}

static void test_percent(void **state)
{
    (void)state;
    char out[64];
    size_t n = kv_percent_decode(kv_slice_str("a%20b+%C3%b6"), true, out);
    assert_int_equal(n, 6);
    assert_memory_equal(out, "a b \xc3\xb6", 6);
    n = kv_percent_decode(kv_slice_str("a+b"), false, out);
    assert_memory_equal(out, "a+b", n);
    assert_true(kv_percent_decode(kv_slice_str("%"), false, out) == SIZE_MAX);
    assert_true(kv_percent_decode(kv_slice_str("%4"), false, out) == SIZE_MAX);
    assert_true(kv_percent_decode(kv_slice_str("%zz"), false, out) == SIZE_MAX);
}

static bool rebound(uint32_t address, const char *listen, const char *host)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    return kv_host_rebound((struct sockaddr *)&peer, listen, kv_slice_str(host));
}

static void test_rebound(void **state)
{
    (void)state;
    static const char *const foreign[] = {
        "evil.example:8080", "127.0.0.1.evil.example:8080", "localhost.evil.example:8080",
        "evil.:8080",        "notlocalhost.example:8080",   "internal.example:8080"};
    static const char *const fine[] = {"",
                                       "x",
                                       "localhost:8080",
                                       "127.0.0.1:8080",
                                       "[::1]:8080",
                                       "10.0.0.1:8080",
                                       "[::ffff:127.0.0.1]:8080",
                                       "app.localhost:8080",
                                       "host.docker.internal:8080",
                                       "app.TEST:8080",
                                       "gateway:8080",
                                       "media.example",
                                       "media.example:443",
                                       ":8080"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        assert_true(rebound(INADDR_LOOPBACK, "127.0.0.1:8080", foreign[i]));
        assert_true(rebound(INADDR_LOOPBACK, "[::]:8080", foreign[i]));
        assert_false(rebound(0x0a000001, "0.0.0.0:8080", foreign[i])); /* a LAN has names */
    }
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        assert_false(rebound(INADDR_LOOPBACK, "127.0.0.1:8080", fine[i]));
    assert_true(rebound(INADDR_LOOPBACK, "127.0.0.1:80", "evil.example"));
}

static void test_hosts(void **state)
{
    (void)state;
    assert_true(kv_host_allowed("", kv_slice_str("anything")));
    assert_true(kv_host_allowed("a.test,b.test", kv_slice_str("B.test:8080")));
    assert_true(kv_host_allowed("[::1]", kv_slice_str("[::1]:80")));
    assert_false(kv_host_allowed("a.test", kv_slice_str("a.test.evil")));
    assert_false(kv_host_allowed("a.test", kv_slice_str("")));
    assert_int_equal(kv_origin_of("", kv_slice_of(NULL, 0), kv_slice_str("a")), KV_ORIGIN_NONE);
    assert_int_equal(kv_origin_of("", kv_slice_str("http://a:80"), kv_slice_str("A:80")),
                     KV_ORIGIN_OWN);
    assert_int_equal(kv_origin_of("https://x", kv_slice_str("https://x"), kv_slice_str("a")),
                     KV_ORIGIN_LISTED);
    assert_int_equal(kv_origin_of("https://x", kv_slice_str("https://x.evil"), kv_slice_str("a")),
                     KV_ORIGIN_FOREIGN);
    assert_int_equal(kv_origin_of("https://x", kv_slice_str("null"), kv_slice_str("a")),
                     KV_ORIGIN_FOREIGN);
}

/* RFC 6454: scheme and host in any case, and the port that goes without saying. */
static void test_origins_that_are_the_same(void **state)
{
    static const struct {
        const char *allowed, *origin, *host;
        kv_origin want;
    } rows[] = {
        {"https://b,https://Shop.Example:443", "https://shop.example", "a", KV_ORIGIN_LISTED},
        {"https://shop.example", "https://shop.example:443", "a", KV_ORIGIN_LISTED},
        {"HTTP://shop.example:80", "http://shop.example", "a", KV_ORIGIN_LISTED},
        {"http://[::1]:80", "http://[::1]", "a", KV_ORIGIN_LISTED},
        {"http://shop.example:443", "http://shop.example", "a", KV_ORIGIN_FOREIGN},
        {"https://shop.example", "http://shop.example", "a", KV_ORIGIN_FOREIGN},
        {"https://shop.example:8443", "https://shop.example", "a", KV_ORIGIN_FOREIGN},
        {"https://shop.example", "https://shop.example:80", "a", KV_ORIGIN_FOREIGN},
        {"", "https://a.example", "A.example:443", KV_ORIGIN_OWN},
        {"", "http://a.example", "a.example:443", KV_ORIGIN_FOREIGN},
        {"", "https://a.example:8443", "a.example", KV_ORIGIN_FOREIGN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (kv_origin_of(rows[i].allowed, kv_slice_str(rows[i].origin),
                         kv_slice_str(rows[i].host)) != rows[i].want)
            fail_msg("%s of %s, listed: %s", rows[i].origin, rows[i].host, rows[i].allowed);
}

static void test_language(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        bool english;
    } cases[] = {
        {"", false},
        {"en", true},
        {"en-US,en;q=0.9", true},
        {"tr-TR,tr;q=0.9,en;q=0.8", false},
        {"de", false},
        {"*", false},
        {"en;q=0", false},
        {"de, en;q=0.5, tr;q=0.4", true},
        {"EN", true},
        {"en;q=0.5, *;q=0.8", false},
        {"en;q=x", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (kv_language_is_english(kv_slice_str(cases[i].accept)) != cases[i].english)
            fail_msg("%s", cases[i].accept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_allow),
        cmocka_unit_test(test_percent),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_origins_that_are_the_same),
        cmocka_unit_test(test_rebound),
        cmocka_unit_test(test_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
