/* The log as people read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/readable.c"

static const char *shown(const char *line)
{
    static kv_buf out;
    kv_buf_release(&out);
    kv_buf_init(&out, 0);
    kv_readable_line(kv_slice_str(line), false, &out);
    return kv_buf_str(&out);
}

static void test_fields(void **state)
{
    (void)state;
    assert_string_equal(
        shown("{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"warn\",\"process\":\"up\","
              "\"event\":\"child_died\",\"child\":\"broker\",\"exit\":1,\"size\":2048,"
              "\"late\":true,\"none\":null,\"ms\":1.25}"),
        "03:04:05 up       warn child_died  child=broker  exit=1  size=2.0 KiB  late=yes  "
        "ms=1.25\n");
    assert_string_equal(shown("not JSON, çığ"), "not JSON, çığ\n");
}

/* Paths, names and details are a client's: no escape sequence (ESC or the C1 one), no line of its
 * own, no turned text. */
static void test_hostile(void **state)
{
    (void)state;
    assert_string_equal(shown("{\"time\":\"2026-01-02T03:04:05Z\",\"level\":\"info\",\"process\":"
                              "\"gateway\",\"event\":\"request\",\"path\":\"/\xc2\x9b"
                              "31m\xe2\x80\xae\\u001b[2J\\nkervan is ready\"}"),
                        "03:04:05 gateway  request  path=/?31m??[2J kervan is ready\n");
    assert_string_equal(shown("\x1b[2J"), "?[2J\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fields),
                                       cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
