/* The strict chunked decoder: cut anywhere, the same data; malformed and unbounded bodies are
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/chunked.h"

/* Decodes in pieces of `piece` bytes. Returns the data in `out`, what was used, and whether the end
 * came. */
static kv_err run(const char *text, size_t len, size_t piece, char *out, size_t *ret_data,
                  size_t *ret_used, bool *ret_end)
{
    kv_chunked c = {0};
    const char *why;
    *ret_data = *ret_used = 0;
    *ret_end = false;
    while (*ret_used < len && !*ret_end) {
        size_t n = len - *ret_used < piece ? len - *ret_used : piece, data, used;
        char *copy = malloc(n);
        memcpy(copy, text + *ret_used, n);
        kv_err err = kv_chunked_decode(&c, copy, n, &data, &used, ret_end, &why);
        if (err == KV_OK) {
            memcpy(out + *ret_data, copy, data);
            *ret_data += data;
            *ret_used += used;
            assert_true(used == n || *ret_end);
        } else {
            assert_true(*why != 0);
        }
        free(copy);
        if (err != KV_OK)
            return err;
    }
    return KV_OK;
}

static void test_good(void **state)
{
    (void)state;
    static const char text[] = "5\r\nhello\r\n00a;x=\"y\"\r\n0123456789\r\nF\r\nabcdefghijklmno\r\n"
                               "0;last\r\nX-Sum: 1\r\nEmpty:\r\n\r\nGET / HTTP/1.1";
    size_t body = strlen(text) - strlen("GET / HTTP/1.1");
    for (size_t piece = 1; piece <= sizeof(text); piece++) {
        char out[128];
        size_t data, used;
        bool end;
        assert_int_equal(run(text, sizeof(text) - 1, piece, out, &data, &used, &end), KV_OK);
        assert_true(end);
        assert_int_equal(used, body);
        assert_int_equal(data, 30);
        assert_memory_equal(out, "hello0123456789abcdefghijklmno", 30);
    }
    for (size_t cut = 0; cut < body; cut++) {
        char out[128];
        size_t data, used;
        bool end;
        assert_int_equal(run(text, cut, 7, out, &data, &used, &end), KV_OK);
        assert_false(end);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "\r\n",
        "g\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "+5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "-1\r\n",
        "5\nhello\n",
        "5\r\nhelloX",
        "5\r\nhello\nX",
        "5\r\nhello\r\r",
        "5;\x01\r\nhello\r\n",
        "5\r\rhello",
        "00000000000000005\r\nhello\r\n",
        "ffffffffffffffff\r\n",
        "0\r\nbad trailer\r\n",
        "0\r\n folded\r\n",
        "0\r\nA: \x01\r\n",
        "0\r\n\n",
        "0\r\nA: b\n",
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        for (size_t piece = 1; piece < 4; piece++) {
            char out[128];
            size_t data, used;
            bool end;
            kv_err err = run(forms[i], strlen(forms[i]), piece, out, &data, &used, &end);
            /* a size near 2^64 is a valid number; it is the limit of the upload that ends it */
            if (strncmp(forms[i], "ffff", 4) == 0)
                continue;
            if (err != KV_E_BAD_CHUNKED)
                fail_msg("%s", forms[i]);
        }
}

static void test_bounds(void **state)
{
    (void)state;
    char *text = malloc(1 << 20), *out = malloc(1 << 20);
    size_t data, used, n;
    bool end;
    /* one long extension */
    n = (size_t)sprintf(text, "1;");
    memset(text + n, 'e', 400);
    assert_int_equal(run(text, n + 400, 64, out, &data, &used, &end), KV_E_BAD_CHUNKED);
    /* many short ones */
    n = 0;
    for (int i = 0; i < 300; i++)
        n += (size_t)sprintf(text + n, "1;%0100d\r\nx\r\n", i);
    assert_int_equal(run(text, n, 4096, out, &data, &used, &end), KV_E_BAD_CHUNKED);
    /* endless trailers */
    n = (size_t)sprintf(text, "0\r\n");
    for (int i = 0; i < 2000; i++)
        n += (size_t)sprintf(text + n, "A: %d\r\n", i);
    assert_int_equal(run(text, n, 4096, out, &data, &used, &end), KV_E_BAD_CHUNKED);
    free(text);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
