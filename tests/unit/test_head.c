/* The strict head check: every smuggling form is refused, ordinary heads pass, cuts change nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "gateway/head.h"

static kv_head_state check(const char *text, size_t len, kv_head *h, kv_err *err)
{
    const char *why;
    kv_head_state s = kv_head_check(text, len, 0, h, err, &why);
    if (s == KV_HEAD_REFUSED)
        assert_true(*why != 0);
    return s;
}

static void refused(const char *text, kv_err want)
{
    kv_head h;
    kv_err err;
    if (check(text, strlen(text), &h, &err) != KV_HEAD_REFUSED || err != want)
        fail_msg("%s: %s", text, kv_err_info_of(err)->name);
}

static void passes(const char *text)
{
    kv_head h;
    kv_err err;
    if (check(text, strlen(text), &h, &err) != KV_HEAD_WHOLE)
        fail_msg("%s", text);
    assert_int_equal(h.len, strlen(text));
}

static void test_ordinary(void **state)
{
    (void)state;
    kv_head h;
    kv_err err;
    static const char text[] =
        "POST /api/media?folder=a HTTP/1.1\r\nHost: x.test:8080\r\ncontent-LENGTH:  42 \r\n"
        "Expect: 100-Continue\r\nAccept-Language: en\r\nX: \t\xc3\xb6\r\nEmpty:\r\n\r\nbody";
    assert_int_equal(check(text, sizeof(text) - 1, &h, &err), KV_HEAD_WHOLE);
    assert_int_equal(h.len, sizeof(text) - 1 - 4);
    assert_true(kv_slice_is(h.method, "POST"));
    assert_true(kv_slice_is(h.target, "/api/media?folder=a"));
    assert_true(kv_slice_is(h.host, "x.test:8080"));
    assert_true(kv_slice_is(h.accept_language, "en"));
    assert_true(h.has_length && h.length == 42 && h.expect && !h.chunked && h.minor == 1);
    passes("GET / HTTP/1.0\r\n\r\n");
    static const char old[] =
        "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    assert_int_equal(check(old, sizeof(old) - 1, &h, &err), KV_HEAD_WHOLE);
    assert_true(h.minor == 0 && !h.expect); /* its client would not know 100 Continue */
    passes("\r\nGET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    passes("GET /g\xc3\xb6r HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
}

/* S0-101: what request smuggling is made of */
static void test_smuggling(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
        "chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: "
        "chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0b"
        "chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Content-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tfolded\r\n\r\n",
        "POST / HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX(y): 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.0\r\n\r\n",
        "CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\ta HTTP/1.1\r\nHost: a\r\n\r\n",
        "(GET) / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        refused(forms[i], KV_E_BAD_HEAD);
    refused("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", KV_E_EXPECTATION);
    static const char nul[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    kv_head h;
    kv_err err;
    assert_int_equal(check(nul, sizeof(nul) - 1, &h, &err), KV_HEAD_REFUSED);
}

static void test_limits(void **state)
{
    (void)state;
    kv_head h;
    kv_err err;
    char *big = malloc(KV_HEAD_MAX + 1024);
    int n = sprintf(big, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(big + n, 'a', KV_HEAD_MAX);
    assert_int_equal(check(big, KV_HEAD_MAX - 1, &h, &err), KV_HEAD_MORE);
    assert_int_equal(check(big, KV_HEAD_MAX, &h, &err), KV_HEAD_REFUSED);
    assert_int_equal(err, KV_E_HEAD_TOO_LARGE);
    memcpy(big + KV_HEAD_MAX - 4, "\r\n\r\n", 4); /* ends exactly at the limit */
    assert_int_equal(check(big, KV_HEAD_MAX + 10, &h, &err), KV_HEAD_WHOLE);
    assert_int_equal(h.len, KV_HEAD_MAX);
    for (int headers = KV_HEAD_HEADERS_MAX - 1; headers <= KV_HEAD_HEADERS_MAX; headers++) {
        n = sprintf(big, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 0; i < headers; i++)
            n += sprintf(big + n, "X: %d\r\n", i);
        n += sprintf(big + n, "\r\n");
        assert_int_equal(check(big, (size_t)n, &h, &err),
                         headers < KV_HEAD_HEADERS_MAX ? KV_HEAD_WHOLE : KV_HEAD_REFUSED);
    }
    assert_int_equal(err, KV_E_HEAD_TOO_LARGE);
    free(big);
}

static void test_cuts(void **state)
{
    (void)state;
    static const char text[] = "\r\nPUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    kv_head h;
    kv_err err;
    const char *why;
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        for (size_t from = 0; from <= i; from++)
            assert_int_equal(kv_head_check(text, i, from, &h, &err, &why), KV_HEAD_MORE);
    for (size_t from = 0; from < sizeof(text) - 1; from++)
        assert_int_equal(kv_head_check(text, sizeof(text) - 1, from, &h, &err, &why),
                         KV_HEAD_WHOLE);
}

static void test_hide_body(void **state)
{
    (void)state;
    char text[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    char other[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    kv_head h;
    kv_err err;
    assert_int_equal(check(text, sizeof(text) - 1, &h, &err), KV_HEAD_WHOLE);
    kv_head_hide_body(&h, text);
    assert_string_equal(text, "POST / HTTP/1.1\r\nHost: a\r\nxontent-Length: 5\r\n\r\n");
    assert_int_equal(check(other, sizeof(other) - 1, &h, &err), KV_HEAD_WHOLE);
    kv_head_hide_body(&h, other);
    assert_string_equal(other, "POST / HTTP/1.1\r\nHost: a\r\nxransfer-Encoding: chunked\r\n\r\n");
}

static void becomes(const char *head, const char *want)
{
    kv_head h;
    kv_err err;
    char *text = strdup(head);
    assert_int_equal(check(text, strlen(text), &h, &err), KV_HEAD_WHOLE);
    kv_head_hide_body(&h, text);
    assert_string_equal(text + kv_head_origin_form(&h, text), want);
    free(text);
}

/* RFC 9112 3.2.2 */
static void test_absolute_form(void **state)
{
    (void)state;
    becomes("GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b?c HTTP/1.1\r\nHost: a\r\n\r\n");
    becomes("\r\nOPTIONS HTTPS://A:8080 HTTP/1.1\r\nHost: a:8080\r\n\r\n",
            "OPTIONS / HTTP/1.1\r\nHost: a:8080\r\n\r\n");
    becomes("GET http://a?b=http://c/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?b=http://c/ HTTP/1.1\r\nHost: a\r\n\r\n");
    becomes("POST http://a/ HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nxontent-Length: 5\r\nHost: a\r\n\r\n");
    becomes("GET /http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /http://a/ HTTP/1.1\r\nHost: a\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary),  cmocka_unit_test(test_smuggling),
        cmocka_unit_test(test_limits),    cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_hide_body), cmocka_unit_test(test_absolute_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
