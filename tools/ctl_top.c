#include "tools/ctl_top.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { EACH_MS = 1000, SCREEN_MAX = 1 << 20 };

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

/* The line, cut to so many characters. */
static void add_cut(kv_buf *out, const char *line, size_t len, int width)
{
    int seen = 0;
    size_t i = 0;
    for (; i < len; i++) {
        bool begins = ((unsigned char)line[i] & 0xc0) != 0x80;
        if (begins && seen++ == width)
            break;
    }
    kv_buf_add(out, line, i);
}

/* Written over what is there, line by line, so that it does not flicker. */
static void draw(const kv_buf *text)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    kv_buf out;
    kv_buf_init(&out, SCREEN_MAX * 2);
    kv_buf_adds(&out, "\033[H");
    const char *line = kv_buf_str(text);
    for (int row = 1; *line && row < size.ws_row; row++) {
        size_t len = strcspn(line, "\n");
        add_cut(&out, line, len, size.ws_col);
        kv_buf_adds(&out, "\033[K\r\n");
        line += len + (line[len] == '\n');
    }
    kv_buf_adds(&out, "\033[J");
    fputs("\033[?25l", stdout);
    fwrite(kv_buf_str(&out), 1, out.len, stdout);
    fflush(stdout);
    kv_buf_release(&out);
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

int kv_ctl_top(kv_ctl_link *link)
{
    struct termios before, raw;
    struct sigaction stop = {.sa_handler = on_signal}, old_int, old_term;
    kv_buf text;
    int rc = KV_CTL_OK;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return KV_CTL_ERROR;
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    kv_buf_init(&text, SCREEN_MAX);
    stopped = 0;
    sigaction(SIGINT, &stop, &old_int);
    sigaction(SIGTERM, &stop, &old_term);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs("\033[2J", stdout);
    do {
        kv_buf_clear(&text);
        rc = kv_ctl_send(link, "top", 3);
        if (rc == KV_CTL_OK)
            rc = kv_ctl_reply(link, collect, &text, false);
        if (rc == KV_CTL_OK)
            draw(&text);
    } while (rc == KV_CTL_OK && !quit_asked());
    fputs("\033[?25h\n", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    kv_buf_release(&text);
    return rc;
}
