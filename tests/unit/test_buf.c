#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <errno.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/base/error.h"
#include "proto/base/json_scan.h"
#include "proto/base/log.h"
#include "proto/base/text.h"

static void test_appends(void **state)
{
    kv_buf b;

    (void)state;
    kv_buf_init(&b, 0);
    assert_string_equal(kv_buf_str(&b), "");
    kv_buf_adds(&b, "a");
    kv_buf_addc(&b, 'b');
    kv_buf_addu(&b, UINT64_MAX);
    kv_buf_addc(&b, ' ');
    kv_buf_addi(&b, INT64_MIN);
    kv_buf_addf(&b, " %s-%d ", "x", 7);
    kv_buf_add_hex(&b, "\x00\xff\x1a", 3);
    assert_string_equal(kv_buf_str(&b), "ab18446744073709551615 -9223372036854775808 x-7 00ff1a");
    kv_buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(kv_buf_str(&b), "");
    kv_buf_release(&b);
}

static void test_limit(void **state)
{
    kv_buf b;

    (void)state;
    kv_buf_init(&b, 10);
    kv_buf_adds(&b, "0123456789");
    assert_true(kv_buf_ok(&b));
    kv_buf_addc(&b, 'x');
    assert_false(kv_buf_ok(&b));
    kv_buf_addf(&b, "%d", 1);
    assert_null(kv_buf_reserve(&b, 0));
    assert_string_equal(kv_buf_str(&b), "0123456789");
    kv_buf_clear(&b);
    assert_true(kv_buf_ok(&b));
    assert_null(kv_buf_reserve(&b, SIZE_MAX));
    kv_buf_release(&b);
    assert_int_equal(b.limit, 10);
}

static void test_json(void **state)
{
    kv_buf b;

    (void)state;
    kv_buf_init(&b, 0);
    kv_json_open(&b, '{');
    kv_json_key(&b, "a");
    kv_json_str(&b, kv_slice_str("x\"\\\n\x01ü\x7f"));
    kv_json_key(&b, "b");
    kv_json_open(&b, '[');
    kv_json_u64(&b, 1);
    kv_json_i64(&b, -2);
    kv_json_bool(&b, true);
    kv_json_bool(&b, false);
    kv_json_null(&b);
    kv_json_open(&b, '{');
    kv_json_close(&b, '}');
    kv_json_open(&b, '[');
    kv_json_close(&b, ']');
    kv_json_cstr(&b, NULL);
    kv_json_str(&b, kv_slice_of("", 0));
    kv_json_raw(&b, kv_slice_str("{\"r\":1}\n "));
    kv_json_hex(&b, "\xab", 1);
    kv_json_close(&b, ']');
    kv_json_key(&b, "t");
    kv_json_time(&b, 1795255200000);
    kv_json_key(&b, "n");
    kv_json_time(&b, 0);
    kv_json_close(&b, '}');
    assert_string_equal(
        kv_buf_str(&b),
        "{\"a\":\"x\\\"\\\\\\n\\u0001ü\\u007f\",\"b\":[1,-2,true,false,null,{},[],null,\"\","
        "{\"r\":1},\"ab\"],\"t\":\"2026-11-21T10:00:00.000Z\",\"n\":null}");
    kv_buf_clear(&b);
    kv_buf_adds(&b, "data: ");
    kv_json_str(&b, kv_slice_of("a\xff\xc3\xed\xa0\x80z", 7));
    assert_string_equal(kv_buf_str(&b),
                        "data: \"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
    kv_buf_release(&b);
}

static void test_hex_decode(void **state)
{
    unsigned char out[2];

    (void)state;
    assert_true(kv_hex_decode("aBf0", 4, out, 2));
    assert_int_equal(out[0], 0xab);
    assert_int_equal(out[1], 0xf0);
    assert_false(kv_hex_decode("aBf", 3, out, 2));
    assert_false(kv_hex_decode("aBf0", 4, out, 1));
    assert_false(kv_hex_decode("aBg0", 4, out, 2));
}

/* The test vectors of RFC 4648. */
static void test_base64(void **state)
{
    static const char *const pairs[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char out[8], want[16];
        size_t len;
        kv_buf b;
        kv_buf_init(&b, 0);
        kv_json_base64(&b, pairs[i][0], strlen(pairs[i][0]));
        snprintf(want, sizeof want, "\"%s\"", pairs[i][1]);
        assert_string_equal(kv_buf_str(&b), want);
        kv_buf_release(&b);
        assert_true(kv_base64_decode(pairs[i][1], out, sizeof out, &len));
        assert_int_equal(len, strlen(pairs[i][0]));
        assert_memory_equal(out, pairs[i][0], len);
    }
    char small[2];
    size_t len;
    assert_false(kv_base64_decode("Zm9v", small, sizeof small, &len));
    assert_false(kv_base64_decode("Zm-v", small, sizeof small, &len));
}

static void test_utf8(void **state)
{
    static const char *const bad[] = {
        "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80", "\xc3",
        "\xe2\x82", "\x80",         "abcdefgh\xff", "\xf0\x9f\x98",     "\xc3("};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(kv_utf8_valid(kv_slice_str(bad[i])));
    assert_true(kv_utf8_valid(kv_slice_str("abcdefghijkl ışğ 😀 \xf4\x8f\xbf\xbf")));
    assert_true(kv_utf8_valid(kv_slice_of(NULL, 0)));
    assert_int_equal(kv_utf8_cut(kv_slice_str("aü"), 2).len, 1);
    assert_int_equal(kv_utf8_cut(kv_slice_str("aü"), 3).len, 3);
    assert_int_equal(kv_utf8_cut(kv_slice_str("\x80\x80\x80\x80\x80"), 4).len, 4);
}

static void expect_member(const char *object, const char *name, const char *value)
{
    kv_slice got;
    bool found = kv_scan_member(kv_slice_str(object), name, &got);
    assert_true(value ? found && kv_slice_is(got, value) : !found);
}

static void test_member(void **state)
{
    static const char object[] =
        "{\"a\":\"b\",\"s\":\"a\",\"n\" : 1e999 , \"o\":{\"x\":[1,\"]}\\\"\"]},"
        "\"e\":{},\"last\":null}";
    (void)state;
    expect_member(object, "a", "\"b\"");
    expect_member(object, "n", "1e999");
    expect_member(object, "o", "{\"x\":[1,\"]}\\\"\"]}");
    expect_member(object, "e", "{}");
    expect_member(object, "last", "null");
    expect_member(object, "x", NULL); /* of another object */
    expect_member(object, "b", NULL);
    expect_member("{}", "a", NULL);
    for (size_t cut = 0; cut < sizeof object - 1; cut++) { /* torn: nothing behind it is read */
        kv_slice got;
        (void)kv_scan_member(kv_slice_of(object, cut), "last", &got);
    }
}

static void test_time(void **state)
{
    char text[KV_TIME_TEXT + 1];
    kv_fake_clock f;

    (void)state;
    kv_time_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    kv_time_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    kv_time_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    kv_time_format(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
    kv_fake_clock_init(&f, 1000);
    int64_t before = kv_mono_us(&f.clock);
    kv_fake_clock_advance(&f, 5);
    assert_int_equal(kv_wall_ms(&f.clock), 1005);
    assert_int_equal(kv_mono_us(&f.clock) - before, 5000);
    assert_true(kv_wall_ms(&kv_clock_real) > 1700000000000);
}

static void test_errors(void **state)
{
    (void)state;
    assert_int_equal(kv_err_info_of(KV_E_TOO_LARGE)->http, 413);
    assert_string_equal(kv_err_info_of(KV_E_TOO_LARGE)->slug, "too_large");
    assert_int_equal(kv_err_info_of((kv_err)9999)->code, KV_E_INTERNAL);
    assert_int_equal(kv_err_of_slug(kv_slice_str("disk_full")), KV_E_DISK_FULL);
    assert_int_equal(kv_err_of_slug(kv_slice_str("of tomorrow")), KV_E_INTERNAL);
    assert_int_equal(kv_err_from_errno(ENOSPC), KV_E_DISK_FULL);
    assert_int_equal(kv_err_from_errno(ENOENT), KV_E_NOT_FOUND);
    assert_int_equal(kv_err_from_errno(ENOMEM), KV_E_NO_MEMORY);
    assert_int_equal(kv_err_from_errno(EIO), KV_E_IO);
    assert_int_equal(kv_err_from_errno(0), KV_OK);
}

/* What kv_log writes, by putting a pipe in the place of stdout. */
static size_t capture(char *into, size_t room, void (*log_it)(void))
{
    int pipe_fds[2], saved = dup(STDOUT_FILENO);
    ssize_t n;

    fflush(stdout);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(dup2(pipe_fds[1], STDOUT_FILENO), STDOUT_FILENO);
    log_it();
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(pipe_fds[1]);
    n = read(pipe_fds[0], into, room - 1);
    close(pipe_fds[0]);
    assert_true(n >= 0);
    into[n] = '\0';
    return (size_t)n;
}

static void log_all(void)
{
    kv_log(KV_LOG_INFO, "upload_done", KV_STR("s", "a\"b"), KV_U64("u", UINT64_MAX),
           KV_I64("i", -1), KV_BOOL("b", true), KV_ID("id", 33), KV_F64("f", 1.5),
           KV_JSON("j", kv_slice_str("[1]")), KV_STR("null", NULL), KV_ERRNAME("e", KV_E_IO));
    kv_log(KV_LOG_DEBUG, "hidden", KV_U64("x", 1));
}

static void log_long(void)
{
    static char text[9000];

    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = i % 3 ? 'x' : '"';
    kv_log(KV_LOG_WARN, "long", KV_STR("cut", text), KV_U64("gone", 1),
           KV_JSON("gone2", kv_slice_str(text)));
}

static void test_log(void **state)
{
    char line[8192];

    (void)state;
    kv_log_setup("tester", KV_LOG_INFO);
    capture(line, sizeof line, log_all);
    assert_non_null(strstr(
        line,
        "\"level\":\"info\",\"process\":\"tester\",\"event\":\"upload_done\",\"s\":\"a\\\"b\","
        "\"u\":18446744073709551615,\"i\":-1,\"b\":true,\"id\":\"0000000000011\",\"f\":1.500,"
        "\"j\":[1],\"null\":\"\",\"e\":\"io\"}\n"));
    assert_null(strstr(line, "hidden"));
    size_t n = capture(line, sizeof line, log_long);
    assert_true(n <= 4096 && n > 4000);
    assert_string_equal(line + n - 3, "\"}\n");
    assert_null(strstr(line, "gone"));
}

enum { LINES = 400 };

static void *count_lines(void *arg)
{
    int fd = *(int *)arg;
    uintptr_t n = 0;
    char c;
    while (read(fd, &c, 1) == 1)
        n += c == '\n';
    return (void *)n;
}

/* A pipe that is full at once, and does not block: whoever made it so for itself shares it with
 * us. */
static void test_log_into_what_does_not_block(void **state)
{
    int pipe_fds[2], before = dup(STDOUT_FILENO);
    char text[512];
    pthread_t reader;
    void *lines;
    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_true(fcntl(pipe_fds[1], F_SETPIPE_SZ, 4096) >= 4096);
    assert_int_equal(fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(pthread_create(&reader, NULL, count_lines, &pipe_fds[0]), 0);
    fflush(stdout);
    dup2(pipe_fds[1], STDOUT_FILENO);
    close(pipe_fds[1]);
    for (int i = 0; i < LINES; i++)
        kv_log(KV_LOG_INFO, "many", KV_STR("text", text));
    dup2(before, STDOUT_FILENO);
    close(before);
    pthread_join(reader, &lines);
    close(pipe_fds[0]);
    assert_int_equal((uintptr_t)lines, LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_hex_decode),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_member),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_log_into_what_does_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
