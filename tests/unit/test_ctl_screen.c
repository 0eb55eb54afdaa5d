/* `kervan ctl top` on screens of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/ctl_screen.c"

static char lines[200][512];
static int lines_n, widest;

/* So many queues and workers; the first two queues are in trouble. */
static json_t *answer(int queues, int workers)
{
    json_t *all = json_pack("{s:[],s:[]}", "queues", "workers");
    for (int i = 0; i < queues; i++) {
        char name[80];
        snprintf(name, sizeof name,
                 "a-queue-whose-name-has-nearly-sixty-four-characters-in-it-%05d", i);
        json_array_append_new(json_object_get(all, "queues"),
                              json_pack("{s:s,s:i,s:i,s:i,s:i,s:{s:f},s:{s:i},s:{s:i},s:f,s:i,s:s}",
                                        "service", name, "waiting", 100000, "running", 64,
                                        "delayed", 3, "workers", 2, "throughput", "s10", 1234.5,
                                        "wait_ms", "p99", 192000, "service_ms", "p99", 61000,
                                        "error_rate", 0.125, "oldest_waiting_s", 273600, "health",
                                        i == 0 ? "workers_busy" : "ok"));
    }
    for (int i = 0; i < workers; i++)
        json_array_append_new(json_object_get(all, "workers"),
                              json_pack("{s:s,s:s,s:i,s:i,s:i}", "service", "ai", "name",
                                        "çalışan-işçi", "credit", 4, "leased", 1, "heard_ms", 12));
    return all;
}

static void draw(int queues, int workers, int width, int height)
{
    json_t *all = answer(queues, workers);
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_ctl_screen(all, "kervan", width, height, &out);
    assert_true(kv_buf_ok(&out));
    lines_n = widest = 0;
    for (const char *at = kv_buf_str(&out); *at; at += strcspn(at, "\n") + 1) {
        snprintf(lines[lines_n], sizeof lines[0], "%.*s", (int)strcspn(at, "\n"), at);
        int n = characters(lines[lines_n++]);
        widest = n > widest ? n : widest;
    }
    kv_buf_release(&out);
    json_decref(all);
}

static bool has_line(const char *text)
{
    for (int i = 0; i < lines_n; i++) {
        if (strcmp(lines[i], text) == 0)
            return true;
    }
    return false;
}

static void ends_with(const char *line, const char *end)
{
    assert_true(strlen(line) >= strlen(end));
    assert_string_equal(line + strlen(line) - strlen(end), end);
}

static void small_and_large_screens(void **state)
{
    (void)state;
    draw(31, 12, 80, 24);
    assert_int_equal(lines_n, 24);
    assert_true(widest <= 80);
    ends_with(lines[2], "HEALTH");
    ends_with(lines[3], "workers_busy");
    ends_with(lines[4], "ok");
    assert_non_null(strstr(lines[3], "…"));
    assert_non_null(strstr(lines[3], "-00000 ")); /* cut in its middle */
    assert_true(has_line("… 19 more queues"));
    assert_true(has_line("… 7 more workers"));
    assert_non_null(strstr(lines[18], "çalışan-işçi"));
    draw(31, 12, 200, 50);
    assert_int_equal(lines_n, 5 + 31 + 12);
    assert_non_null(strstr(lines[2], "DELAYED"));
    assert_non_null(strstr(lines[3], "-whose-name-has-nearly-sixty-four-characters-in-it-00000"));
}

static void little_and_nothing(void **state)
{
    (void)state;
    draw(0, 0, 80, 24);
    assert_true(has_line("no queues") && has_line("no workers"));
    draw(3, 40, 80, 24); /* what queues do not need is for the workers */
    assert_true(has_line("… 25 more workers"));
    assert_int_equal(lines_n, 24);
    draw(40, 1, 80, 24);
    assert_true(has_line("… 23 more queues"));
    assert_int_equal(lines_n, 24);
}

static void screens_of_any_size(void **state)
{
    (void)state;
    for (int width = 1; width <= 220; width += 3) {
        for (int height = 1; height <= 60; height += 7) {
            draw(20, 9, width, height);
            assert_true(lines_n <= height && widest <= width);
            if (width >= 40 && height >= 12)
                ends_with(lines[3], "workers_busy");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_and_large_screens),
        cmocka_unit_test(little_and_nothing),
        cmocka_unit_test(screens_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
