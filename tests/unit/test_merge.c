/* The deep merge of metadata (Y08; S3-20, S3-21, S3-22, S3-23). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "broker/merge.h"

static kv_buf merged; /* of the last check */

static void check(const char *base, const char *patch, const char *expect)
{
    kv_buf_clear(&merged);
    assert_int_equal(kv_merge(kv_slice_str(base), kv_slice_str(patch), &merged), KV_OK);
    assert_string_equal(kv_buf_str(&merged), expect);
}

static void refuse(const char *base, const char *patch)
{
    kv_buf_clear(&merged);
    kv_buf_adds(&merged, "as it was");
    assert_int_equal(kv_merge(kv_slice_str(base), kv_slice_str(patch), &merged),
                     KV_E_BAD_PARAMETER);
    assert_string_equal(kv_buf_str(&merged), "as it was");
}

static void test_rules(void **state)
{
    (void)state;
    check("", "{\"a\":1}", "{\"a\":1}");
    check("{}", "{}", "{}");
    check("{\"a\":1,\"b\":2}", "{\"b\":3,\"c\":4}", "{\"a\":1,\"b\":3,\"c\":4}");
    check("{\"o\":{\"x\":1,\"y\":{\"z\":1}}}", "{\"o\":{\"y\":{\"w\":2}}}",
          "{\"o\":{\"x\":1,\"y\":{\"z\":1,\"w\":2}}}");
    check("{\"l\":[1,2,3]}", "{\"l\":[4]}", "{\"l\":[4]}");
    check("{\"a\":1,\"b\":2}", "{\"a\":null}", "{\"a\":null,\"b\":2}");
    check("{\"o\":{\"x\":1}}", "{\"o\":{}}", "{\"o\":{\"x\":1}}"); /* absent never deletes */
    check("{\"o\":{\"x\":1}}", "{\"o\":5}", "{\"o\":5}");
    check("{\"o\":5}", "{\"o\":{\"x\":1}}", "{\"o\":{\"x\":1}}");
    check("{\"o\":null}", "{\"o\":{\"x\":null}}", "{\"o\":{\"x\":null}}");
    check("{\"\":1}", "{\"\":{\"\":[]}}", "{\"\":{\"\":[]}}");
}

/* What passes by is not changed: a merge touches what the patch names. */
static void test_values_stay(void **state)
{
    (void)state;
    check("{\"n\":0.1,\"e\":1e300,\"i\":-9223372036854775808,\"z\":-0.0,\"r\":5.0}", "{}",
          "{\"n\":0.1,\"e\":1e+300,\"i\":-9223372036854775808,\"z\":-0.0,\"r\":5.0}");
    check("{\"t\":\"a\\u0000\\\"\\\\\\n\\u00e7\xf0\x9f\x98\x80\"}",
          " {\"u\" : true, \"v\":false }\n",
          "{\"t\":\"a\\u0000\\\"\\\\\\n\xc3\xa7\xf0\x9f\x98\x80\",\"u\":true,\"v\":false}");
    check("{\"a\\u0041\":1}", "{\"aA\":2}", "{\"aA\":2}"); /* one key, written two ways */
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "1",
                                      "[]",
                                      "null",
                                      "{",
                                      "{\"a\":}",
                                      "{\"a\":1}x",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\\u0000b\":1}",
                                      "{\"a\":1e999}",
                                      "{\"a\":123456789012345678901}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":'1'}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse("{\"b\":1}", bad[i]);
    refuse("[1]", "{}");
}

static void nest(char *to, int depth, const char *open, const char *close)
{
    *to = '\0';
    for (int i = 0; i < depth; i++)
        strcat(to, open);
    strcat(to, "1");
    for (int i = 0; i < depth; i++)
        strcat(to, close);
}

static void test_limits(void **state)
{
    static char deep[100000], other[2000], expect[sizeof deep + sizeof other];
    (void)state;
    nest(deep, KV_MERGE_DEPTH, "{\"a\":", "}");
    check("", deep, deep);
    nest(other, KV_MERGE_DEPTH, "{\"b\":", "}");
    snprintf(expect, sizeof expect, "%.*s,%s", (int)strlen(deep) - 1, deep, other + 1);
    check(deep, other, expect);
    nest(deep, KV_MERGE_DEPTH + 1, "{\"a\":", "}");
    refuse("", deep);
    strcpy(deep, "{\"a\":");
    nest(deep + 5, KV_MERGE_DEPTH, "[", "]");
    strcat(deep, "}");
    refuse("", deep);
    strcpy(deep, "{\"a\":");
    nest(deep + 5, 30000, "[", "]"); /* no deeper than the stack */
    strcat(deep, "}");
    refuse("", deep);
}

/* Of `total` bytes, all but the frame in one text. */
static void fill(char *to, size_t total, const char *open, const char *close)
{
    size_t head = strlen(open), tail = strlen(close);
    memset(to, 'x', total);
    memcpy(to, open, head);
    memcpy(to + total - tail, close, tail + 1);
}

/* To the byte: what is over by its closing brackets alone is refused, too, not cut. */
static void test_bytes(void **state)
{
    static const char *const frames[][2] = {{"{\"a\":\"", "\"}"},
                                            {"{\"a\":{\"b\":\"", "\"}}"},
                                            {"{\"a\":[[\"", "\"]]}"},
                                            {"{\"a\":\"", "\",\"b\":{}}"},
                                            {"{\"a\":\"", "\",\"b\":[[]]}"}};
    char *big = malloc(KV_MERGE_BYTES + 100);
    (void)state;
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        fill(big, KV_MERGE_BYTES, frames[i][0], frames[i][1]);
        check("", big, big); /* just fits */
        for (size_t over = 1; over < 8; over++) {
            fill(big, KV_MERGE_BYTES + over, frames[i][0], frames[i][1]);
            refuse("", big);
            refuse(big, "{}");
        }
    }
    fill(big, KV_MERGE_BYTES, frames[0][0], frames[0][1]);
    refuse(big, "{\"b\":1}");
    check(big, "{\"a\":1}", "{\"a\":1}");
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),   cmocka_unit_test(test_values_stay),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_bytes),
    };
    kv_buf_init(&merged, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kv_buf_release(&merged);
    return failed;
}
