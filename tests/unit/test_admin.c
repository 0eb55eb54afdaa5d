/* The admin socket: lines, words, tables, metrics read back, its rows of commands, and its life
 * with real connections (commands that need no broker). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "broker/admin.h"
#include "broker/admin_cmd.h"
#include "broker/admin_prom.h"
#include "tests/unit/scratch.h"

/* ---- bytes into lines ---- */

static void put(kv_admin_input *in, const char *bytes, size_t len)
{
    char *where;
    assert_true(kv_admin_input_room(in, &where) >= len);
    memcpy(where, bytes, len);
    in->len += len;
}

static void expect_line(kv_admin_input *in, const char *text)
{
    kv_slice line;
    assert_true(kv_admin_input_waits(in));
    assert_int_equal(kv_admin_input_take(in, &line), KV_ADMIN_LINE);
    assert_int_equal(line.len, strlen(text));
    assert_memory_equal(line.ptr, text, line.len);
}

static void lines_from_pieces(void **state)
{
    static kv_admin_input in;
    kv_slice line;
    (void)state;
    memset(&in, 0, sizeof in);
    put(&in, "que", 3);
    assert_int_equal(kv_admin_input_take(&in, &line), KV_ADMIN_NOTHING);
    put(&in, "ues\r\n\nhel", 9);
    expect_line(&in, "queues");
    expect_line(&in, "");
    assert_false(kv_admin_input_waits(&in));
    put(&in, "p", 1);
    in.ended = true; /* the last line may lack its end */
    expect_line(&in, "help");
    assert_int_equal(kv_admin_input_take(&in, &line), KV_ADMIN_NOTHING);
}

static void a_line_that_is_too_long_is_thrown_away_once(void **state)
{
    static kv_admin_input in;
    static char x[4096];
    kv_slice line;
    (void)state;
    memset(&in, 0, sizeof in);
    memset(x, 'x', sizeof x);
    put(&in, x, 4096);
    put(&in, "\r\n", 2);
    assert_int_equal(kv_admin_input_take(&in, &line), KV_ADMIN_LINE); /* just fits */
    assert_int_equal(line.len, 4096);
    put(&in, x, 4096);
    put(&in, "xx", 2);
    assert_int_equal(kv_admin_input_take(&in, &line), KV_ADMIN_TOO_LONG);
    for (int i = 0; i < 5; i++) {
        put(&in, x, 4000);
        assert_int_equal(kv_admin_input_take(&in, &line), KV_ADMIN_NOTHING);
    }
    put(&in, "x\nhelp\n", 7);
    expect_line(&in, "help");
}

/* ---- a line into words ---- */

static void words_and_quotes(void **state)
{
    static kv_admin_line l;
    (void)state;
    assert_null(kv_admin_parse(kv_slice_str("  jobs\t-j  tag=\"a b\" \"\" \"q\\\"u\\\\o\" "), &l));
    assert_int_equal(l.n, 4);
    assert_true(l.json);
    assert_true(kv_slice_is(l.words[0], "jobs"));
    assert_true(kv_slice_is(l.words[1], "tag=a b"));
    assert_int_equal(l.words[2].len, 0);
    assert_true(kv_slice_is(l.words[3], "q\"u\\o"));
    assert_null(kv_admin_parse(kv_slice_str(""), &l));
    assert_int_equal(l.n, 0);
    assert_non_null(kv_admin_parse(kv_slice_str("a \"b"), &l));
    assert_non_null(kv_admin_parse(kv_slice_str("a\033[2J"), &l));
    assert_non_null(kv_admin_parse(kv_slice_of("a\0b", 3), &l));
    assert_non_null(kv_admin_parse(kv_slice_str("\xff"), &l));
    char many[80];
    for (int i = 0; i < 66; i++)
        many[i] = i % 2 ? ' ' : 'w';
    assert_non_null(kv_admin_parse(kv_slice_of(many, 66), &l));
    assert_null(kv_admin_parse(kv_slice_of(many, 64), &l));
}

static void options_and_numbers(void **state)
{
    kv_slice name, value;
    uint64_t n;
    (void)state;
    assert_true(kv_admin_split(kv_slice_str("max-waiting=5=6"), &name, &value));
    assert_true(kv_slice_is(name, "max-waiting") && kv_slice_is(value, "5=6"));
    assert_true(kv_admin_split(kv_slice_str("tenant="), &name, &value));
    assert_int_equal(value.len, 0);
    assert_false(kv_admin_split(kv_slice_str("/a=b"), &name, &value));
    assert_false(kv_admin_split(kv_slice_str("=b"), &name, &value));
    assert_true(kv_admin_number(kv_slice_str("100"), 100, &n) && n == 100);
    assert_false(kv_admin_number(kv_slice_str("101"), 100, &n));
    assert_false(kv_admin_number(kv_slice_str(""), 100, &n));
    assert_false(kv_admin_number(kv_slice_str("-1"), 100, &n));
    assert_false(kv_admin_number(kv_slice_str("99999999999999999999"), UINT64_MAX, &n));
}

/* ---- rows ---- */

static const char *wrong(const char *text)
{
    static kv_admin_line l;
    static kv_buf why;
    kv_buf_release(&why);
    kv_buf_init(&why, 0);
    assert_null(kv_admin_parse(kv_slice_str(text), &l));
    const kv_admin_command *c = kv_admin_find(l.words[0]);
    assert_non_null(c);
    bool ok = kv_admin_check(c, &l, &why);
    assert_true(ok == (why.len == 0));
    static char copy[512];
    snprintf(copy, sizeof copy, "%s", kv_buf_str(&why));
    kv_buf_release(&why);
    return ok ? NULL : copy;
}

static void rows_are_whole(void **state)
{
    int n = 0;
    (void)state;
    for (const kv_admin_module *const *m = kv_admin_modules; *m; m++) {
        assert_non_null((*m)->title);
        for (int i = 0; i < (*m)->n; i++, n++) {
            const kv_admin_command *c = &(*m)->commands[i];
            assert_true(c->name && c->usage && c->help && *c->help && c->run);
            assert_true(c->words_min <= c->words_max);
            assert_ptr_equal(kv_admin_find(kv_slice_str(c->name)), c); /* names are unique */
        }
    }
    assert_true(n >= 20);
    assert_null(kv_admin_find(kv_slice_str("")));
    assert_null(wrong("queues"));
    assert_null(wrong("limit ai tenant= weight=3"));
    assert_non_null(wrong("pause"));
    assert_non_null(wrong("pause ai now"));
    assert_non_null(wrong("jobs color=red"));
    assert_non_null(wrong("jobs state=error state=queued"));
    assert_non_null(strstr(wrong("pause"), "usage: pause SERVICE"));
    assert_null(wrong("backup a=b")); /* it has no options: a file may be called so */
}

/* ---- text ---- */

static const char *human(void (*fn)(int64_t, kv_buf *), int64_t v)
{
    static char text[64];
    kv_buf out;
    kv_buf_init(&out, 0);
    fn(v, &out);
    snprintf(text, sizeof text, "%s", kv_buf_str(&out));
    kv_buf_release(&out);
    return text;
}

static void units(void **state)
{
    (void)state;
    assert_string_equal(human(kv_human_ms, -5), "0 ms");
    assert_string_equal(human(kv_human_ms, 999), "999 ms");
    assert_string_equal(human(kv_human_ms, 12999), "12 s");
    assert_string_equal(human(kv_human_ms, 192000), "3 m 12 s");
    assert_string_equal(human(kv_human_ms, 7200000), "2 h");
    assert_string_equal(human(kv_human_ms, 273600000), "3 d 4 h");
    assert_string_equal(human(kv_human_bytes, 512), "512 B");
    assert_string_equal(human(kv_human_bytes, 1572864), "1.5 MiB");
}

static void a_terminal_is_not_commanded(void **state)
{
    kv_buf out;
    (void)state;
    kv_buf_init(&out, 0);
    kv_plain_text(kv_slice_str("a\033[2J\nb\x7f\xc2\x9b"
                               "c\xff \xe2\x80\xae"
                               "ş"),
                  0, &out);
    assert_string_equal(kv_buf_str(&out), "a?[2J b??c? ?ş");
    kv_buf_clear(&out);
    assert_int_equal(kv_plain_text(kv_slice_str("ğüşiöç"), 4, &out), 4);
    assert_string_equal(kv_buf_str(&out), "ğüş…");
    kv_buf_clear(&out);
    assert_int_equal(kv_plain_text(kv_slice_str("abcd"), 4, &out), 4);
    assert_string_equal(kv_buf_str(&out), "abcd");
    kv_buf_release(&out);
}

static void tables_are_aligned(void **state)
{
    static const kv_column columns[] = {{"NAME", "name", KV_COLUMN_TEXT},
                                        {">AGE", "age.ms", KV_COLUMN_MS},
                                        {">RATE", "rate", KV_COLUMN_PERCENT},
                                        {"TAGS", "tags", KV_COLUMN_TEXT}};
    static const char *const jobs[] = {
        "{\"name\":\"çok uzun\",\"age\":{\"ms\":61000},\"rate\":0.125,\"tags\":[\"a\",\"b\"]}",
        "{\"name\":\"x\\ny\",\"age\":null}"};
    kv_table t;
    kv_buf out;
    (void)state;
    kv_buf_init(&out, 0);
    kv_table_init_columns(&t, columns, 4);
    for (int i = 0; i < 2; i++) {
        json_t *row = json_loads(jobs[i], 0, NULL);
        kv_table_row(&t, columns, row);
        json_decref(row);
    }
    kv_table_write(&t, &out);
    assert_string_equal(kv_buf_str(&out), "NAME          AGE    RATE  TAGS\n"
                                          "çok uzun  1 m 1 s  12.5 %  a,b\n"
                                          "x y             -       -  -\n");
    kv_table_write(&t, &out); /* nothing new: no second head */
    assert_int_equal(out.data[out.len - 1], '\n');
    assert_ptr_equal(strstr(strstr(out.data, "NAME") + 1, "NAME"), NULL);
    kv_table_release(&t);
    kv_buf_release(&out);
}

static kv_prom_item items[8];
static int items_n;

static void keep_item(void *arg, const kv_prom_item *item)
{
    (void)arg;
    assert_true(items_n < 8);
    items[items_n++] = *item;
}

static void metrics_read_back(void **state)
{
    static const char text[] =
        "# HELP a b c\n# TYPE a counter\na{x=\"1 2\"} 7\n"
        "# TYPE h histogram\nh_bucket{s=\"q\",le=\"0.1\"} 50\nh_bucket{s=\"q\",le=\"0.2\"} 99\n"
        "h_bucket{s=\"q\",le=\"+Inf\"} 100\nh_sum{s=\"q\"} 12.5\nh_count{s=\"q\"} 100\n"
        "h_bucket{s=\"r\",le=\"+Inf\"} 0\nh_sum{s=\"r\"} 0\nh_count{s=\"r\"} 0\n"
        "# TYPE g gauge\ng -3\nrubbish\n{} 1\n";
    (void)state;
    items_n = 0;
    kv_prom_read(kv_slice_str(text), keep_item, NULL);
    assert_true(items_n >= 4);
    assert_string_equal(items[0].key, "a{x=\"1 2\"}");
    assert_true(items[0].value == 7 && !items[0].histogram);
    assert_string_equal(items[1].key, "h{s=\"q\"}");
    assert_true(items[1].histogram && items[1].count == 100 && items[1].sum == 12.5);
    assert_true(items[1].p50 > 0.0999 && items[1].p50 < 0.1001);
    assert_true(items[1].p99 > 0.1999 && items[1].p99 < 0.2001);
    assert_string_equal(items[2].key, "h{s=\"r\"}");
    assert_true(items[2].count == 0 && isnan(items[2].p50) && isnan(items[2].p99));
    assert_string_equal(items[3].key, "g");
    assert_true(items[3].value == -3);
}

/* ---- real connections ---- */

typedef struct rig {
    scratch s;
    char path[300], broker[320];
    void *zmq;
    kv_admin *admin;
} rig;

static int make(void **state)
{
    static rig r;
    memset(&r, 0, sizeof r);
    scratch_make(&r.s);
    snprintf(r.path, sizeof r.path, "%s/admin.sock", r.s.dir);
    snprintf(r.broker, sizeof r.broker, "ipc://%s/none.sock", r.s.dir);
    r.s.cfg.admin = r.path;
    r.s.cfg.broker = r.broker;
    r.zmq = zmq_ctx_new();
    *state = &r;
    return kv_admin_start(&r.s.cfg, &kv_clock_real, r.zmq, &r.admin) == KV_OK ? 0 : -1;
}

static int drop(void **state)
{
    rig *r = *state;
    kv_admin_stop(&r->admin);
    zmq_ctx_term(r->zmq);
    scratch_remove(&r->s);
    return 0;
}

static int dial(const rig *r)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", r->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Until the other side closes. */
static const char *read_all(int fd)
{
    static char got[65536];
    size_t n = 0;
    for (ssize_t more; (more = read(fd, got + n, sizeof got - 1 - n)) > 0;)
        n += (size_t)more;
    got[n] = '\0';
    close(fd);
    return got;
}

static const char *say(const rig *r, const char *text, size_t len)
{
    int fd = dial(r);
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
    shutdown(fd, SHUT_WR); /* as `nc -N`: replies still come, then it is closed */
    return read_all(fd);
}

#define SAY(r, text) say((r), (text), sizeof(text) - 1)

static void replies_end_with_ok_or_error(void **state)
{
    const rig *r = *state;
    const char *got = SAY(r, "version\nhelp pause\nbogus\n\nhelp quit\r\n-j version");
    assert_non_null(strstr(got, "kervan " KERVAN_VERSION));
    assert_non_null(strstr(got, "\nOK\n  pause SERVICE"));
    assert_non_null(strstr(got, "ERROR unknown_command There is no command \"bogus\""));
    assert_non_null(strstr(got, "{\"version\":\"" KERVAN_VERSION "\""));
    assert_string_equal(got + strlen(got) - 4, "\nOK\n");
    got = SAY(r, "quit\nversion\n"); /* what stands behind quit is not done */
    assert_string_equal(got, "bye\nOK\n");
}

static void hostile_lines(void **state)
{
    static char lines[200000];
    const rig *r = *state;
    memset(lines, 'x', sizeof lines);
    memcpy(lines + sizeof lines - 9, "\nversion\n", 9);
    const char *got = say(r, lines, sizeof lines);
    assert_non_null(strstr(got, "ERROR bad_line A line has at most 4096 bytes."));
    assert_non_null(strstr(got, "kervan " KERVAN_VERSION));
    got = SAY(r, "\0\0\n\xff\xfe\nhelp \"\njob ../../etc\n");
    int errors = 0;
    for (const char *at = got; (at = strstr(at, "ERROR ")); at++)
        errors++;
    assert_int_equal(errors, 4);
    got = SAY(r, "pause ../x\n");
    assert_non_null(strstr(got, "ERROR bad_parameter"));
    got = SAY(r, "pause\nretry\nretry service=a 0123456789abc\ngrant u 5\nlimit a weight=3\n");
    for (int i = 0; i < 5; i++) { /* what was typed was wrong: `kervan ctl` tells by the slug */
        got = strstr(got, "ERROR usage ");
        assert_non_null(got);
        got++;
    }
}

static void sixteen_connections(void **state)
{
    const rig *r = *state;
    int fds[16];
    char got[64];
    for (int i = 0; i < 16; i++) {
        fds[i] = dial(r);
        assert_int_equal(send(fds[i], "quit", 4, MSG_NOSIGNAL), 4); /* half a line */
    }
    assert_non_null(strstr(read_all(dial(r)), "ERROR busy"));
    assert_int_equal(send(fds[0], "\n", 1, MSG_NOSIGNAL), 1);
    assert_true(read(fds[0], got, sizeof got) > 0);
    assert_int_equal(read(fds[0], got, sizeof got), 0);
    assert_non_null(strstr(SAY(r, "version\n"), "OK")); /* there is room again */
    for (int i = 0; i < 16; i++)
        close(fds[i]);
}

/* In the place of libc's. */
static atomic_int refusals;
int accept4(int fd, struct sockaddr *at, socklen_t *len, int flags)
{
    if (atomic_load(&refusals) == 0)
        return (int)syscall(SYS_accept4, fd, at, len, flags);
    atomic_fetch_sub(&refusals, 1);
    errno = EMFILE;
    return -1;
}

/* Who cannot be let in waits; the thread does not turn meanwhile. */
static void without_descriptors(void **state)
{
    const rig *r = *state;
    int64_t begun = kv_mono_ms(&kv_clock_real);
    atomic_store(&refusals, 5);
    assert_non_null(strstr(SAY(r, "version\n"), "OK"));
    assert_int_equal(atomic_load(&refusals), 0);
    assert_true(kv_mono_ms(&kv_clock_real) - begun >= 400);
}

/* Replies are made only as fast as they are read: the rest of the input waits. */
static void a_reader_that_sleeps(void **state)
{
    const rig *r = *state;
    int fd = dial(r), wanted = 0, got = 0;
    struct pollfd out = {fd, POLLOUT, 0};
    while (poll(&out, 1, 500) > 0 && (out.revents & POLLOUT) && wanted < 100000) {
        assert_int_equal(send(fd, "help\n", 5, MSG_NOSIGNAL), 5);
        wanted++;
    }
    assert_true(wanted < 100000); /* it did not take it all in */
    assert_non_null(strstr(SAY(r, "version\n"), "OK"));
    shutdown(fd, SHUT_WR);
    char bytes[65536];
    bool fresh = true, okay = false;
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) {
        for (ssize_t i = 0; i < n; i++) {
            okay = fresh ? bytes[i] == 'O' : okay && (bytes[i] == 'K' || bytes[i] == '\n');
            got += okay && bytes[i] == '\n';
            fresh = bytes[i] == '\n';
        }
    }
    assert_int_equal(got, wanted);
    close(fd);
}

static void the_place_of_the_socket(void **state)
{
    rig *r = *state;
    kv_admin *second = NULL;
    struct stat st;
    assert_int_equal(stat(r->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* somebody listens: it is not taken away */
    assert_int_equal(kv_admin_start(&r->s.cfg, &kv_clock_real, r->zmq, &second), KV_E_LOCKED);
    kv_admin_stop(&r->admin);
    assert_int_equal(stat(r->path, &st), -1);
    /* a stale one is replaced */
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", r->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    assert_int_equal(kv_admin_start(&r->s.cfg, &kv_clock_real, r->zmq, &r->admin), KV_OK);
    kv_admin_stop(&r->admin);
    /* what is no socket stays */
    fclose(fopen(r->path, "w"));
    assert_int_equal(kv_admin_start(&r->s.cfg, &kv_clock_real, r->zmq, &r->admin), KV_E_CONFIG);
    assert_int_equal(stat(r->path, &st), 0);
    static char long_path[200];
    memset(long_path, 'a', 150);
    r->s.cfg.admin = long_path;
    assert_int_equal(kv_admin_start(&r->s.cfg, &kv_clock_real, r->zmq, &r->admin), KV_E_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_from_pieces),
        cmocka_unit_test(a_line_that_is_too_long_is_thrown_away_once),
        cmocka_unit_test(words_and_quotes),
        cmocka_unit_test(options_and_numbers),
        cmocka_unit_test(rows_are_whole),
        cmocka_unit_test(units),
        cmocka_unit_test(a_terminal_is_not_commanded),
        cmocka_unit_test(tables_are_aligned),
        cmocka_unit_test(metrics_read_back),
        cmocka_unit_test_setup_teardown(replies_end_with_ok_or_error, make, drop),
        cmocka_unit_test_setup_teardown(hostile_lines, make, drop),
        cmocka_unit_test_setup_teardown(sixteen_connections, make, drop),
        cmocka_unit_test_setup_teardown(without_descriptors, make, drop),
        cmocka_unit_test_setup_teardown(a_reader_that_sleeps, make, drop),
        cmocka_unit_test_setup_teardown(the_place_of_the_socket, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
