#include "tools/ctl_top.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "tools/ctl_screen.h"

enum { EACH_MS = 1000, SCREEN_MAX = 1 << 20, ANSWER_MAX = 16 << 20 };

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

bool kv_ctl_top_possible(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && term && *term &&
           strcmp(term, "dumb") != 0;
}

static void collect(void *arg, const char *bytes, size_t len)
{
    kv_buf_add(arg, bytes, len);
}

static size_t count(const json_t *all, const char *name)
{
    return json_array_size(json_object_get(all, name));
}

static size_t in_trouble(const json_t *all)
{
    size_t n = 0, i;
    const json_t *queue;
    json_array_foreach(json_object_get(all, "queues"), i, queue)
    {
        const char *health = json_string_value(json_object_get(queue, "health"));
        n += health && strcmp(health, "ok") != 0;
    }
    return n;
}

static void title(const json_t *all, char *out, size_t size)
{
    char now[KV_TIME_TEXT + 1];
    kv_time_format(kv_wall_ms(&kv_clock_real), now);
    snprintf(out, size, "kervan %s  %.8s UTC  %zu queues, %zu not ok, %zu workers  (q quits)",
             KERVAN_VERSION, now + 11, count(all, "queues"), in_trouble(all),
             count(all, "workers"));
}

/* Written over what is there, line by line, so that it does not flicker. */
static void draw(const json_t *all)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char head[256];
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    kv_buf text, out;
    kv_buf_init(&text, SCREEN_MAX);
    kv_buf_init(&out, SCREEN_MAX * 2);
    title(all, head, sizeof head);
    kv_ctl_screen(all, head, size.ws_col, size.ws_row, &text);
    kv_buf_adds(&out, "\033[?25l\033[H");
    for (const char *line = kv_buf_str(&text); *line;) {
        size_t len = strcspn(line, "\n");
        kv_buf_add(&out, line, len);
        line += len + (line[len] == '\n');
        kv_buf_adds(&out, *line ? "\033[K\r\n" : "\033[K"); /* below the last one it would scroll */
    }
    kv_buf_adds(&out, "\033[J");
    fwrite(kv_buf_str(&out), 1, out.len, stdout);
    fflush(stdout);
    kv_buf_release(&out);
    kv_buf_release(&text);
}

/* Until the next drawing; true: q, or a signal. */
static bool quit_asked(void)
{
    struct pollfd in = {STDIN_FILENO, POLLIN, 0};
    char key = 0;
    if (poll(&in, 1, EACH_MS) > 0 && read(STDIN_FILENO, &key, 1) <= 0)
        return true;
    return stopped || key == 'q' || key == 'Q' || key == 3 || key == 4;
}

static kv_ctl_end show(kv_ctl_link *link, const kv_buf *line, kv_buf *answer)
{
    kv_buf_clear(answer);
    kv_ctl_end end = kv_ctl_send(link, kv_buf_str(line), line->len);
    if (end == KV_CTL_OK)
        end = kv_ctl_reply(link, collect, answer, false);
    json_t *all = end == KV_CTL_OK ? json_loadb(kv_buf_str(answer), answer->len, 0, NULL) : NULL;
    if (all)
        draw(all);
    json_decref(all);
    return end;
}

kv_ctl_end kv_ctl_top(kv_ctl_link *link, const char *command)
{
    struct termios before, raw;
    struct sigaction stop = {.sa_handler = on_signal}, old_int, old_term;
    kv_buf line, answer;
    kv_ctl_end end;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return KV_CTL_OK;
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    kv_buf_init(&line, 0);
    kv_buf_init(&answer, ANSWER_MAX);
    kv_buf_addf(&line, "-j %s", command);
    stopped = 0;
    sigaction(SIGINT, &stop, &old_int);
    sigaction(SIGTERM, &stop, &old_term);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs("\033[2J", stdout);
    do
        end = show(link, &line, &answer);
    while (end == KV_CTL_OK && !quit_asked());
    fputs("\033[?25h\n", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    kv_buf_release(&line);
    kv_buf_release(&answer);
    return end;
}
