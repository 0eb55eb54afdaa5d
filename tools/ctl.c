#include "tools/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ctl_reply.h"
#include "tools/ctl_top.h"

typedef struct session {
    char path[4096];
    bool json, yes;
    kv_ctl_link link;
} session;

static void to_stdout(void *arg, const char *bytes, size_t len)
{
    (void)arg;
    fwrite(bytes, 1, len, stdout);
    if (bytes[len - 1] == '\n')
        fflush(stdout); /* `events follow` in a pipe */
}

/* ---- where ---- */

static int find_socket(session *s, const char *given)
{
    const char *admin = getenv("KERVAN_ADMIN"), *data = getenv("KERVAN_DATA");
    int n;
    if (given || (admin && *admin))
        n = snprintf(s->path, sizeof s->path, "%s", given ? given : admin);
    else
        n = snprintf(s->path, sizeof s->path, "%s/run/admin.sock", data && *data ? data : "./data");
    if (n > 0 && n < (int)sizeof s->path)
        return 0;
    fprintf(stderr, "kervan ctl: the path of the socket is too long\n");
    return KV_CTL_GONE;
}

/* ---- a line ---- */

/* A word as the admin socket reads it. */
static void add_word(kv_buf *line, const char *word)
{
    if (line->len > 0)
        kv_buf_addc(line, ' ');
    if (*word && !strpbrk(word, " \t\"\\")) {
        kv_buf_adds(line, word);
        return;
    }
    kv_buf_addc(line, '"');
    for (; *word; word++) {
        if (*word == '"' || *word == '\\')
            kv_buf_addc(line, '\\');
        kv_buf_addc(line, *word);
    }
    kv_buf_addc(line, '"');
}

/* The broker stands in another folder than the operator. */
static void add_file(kv_buf *line, const char *file)
{
    char here[4096];
    kv_buf whole;
    kv_buf_init(&whole, 0);
    if (file[0] != '/' && getcwd(here, sizeof here))
        kv_buf_addf(&whole, "%s/", here);
    kv_buf_adds(&whole, file);
    add_word(line, kv_buf_str(&whole));
    kv_buf_release(&whole);
}

static bool first_word_is(const char *line, const char *word)
{
    line += strspn(line, " \t");
    size_t len = strcspn(line, " \t\n");
    return len == strlen(word) && memcmp(line, word, len) == 0;
}

static int show_error(const session *s)
{
    const char *sentence = strchr(s->link.head, ' ');
    fflush(stdout);
    fprintf(stderr, "kervan ctl: %s\n", sentence ? sentence + 1 : s->link.head);
    return KV_CTL_ERROR;
}

static int send_line(session *s, const char *line, bool at_terminal)
{
    kv_buf whole;
    kv_buf_init(&whole, 0);
    kv_buf_adds(&whole, s->json ? "-j " : "");
    kv_buf_adds(&whole, line);
    bool follow = at_terminal && first_word_is(line, "events") && strstr(line, "follow");
    if (follow)
        fprintf(stderr, "(Enter ends it)\n");
    int rc = kv_buf_ok(&whole) ? kv_ctl_send(&s->link, whole.data, whole.len) : KV_CTL_ERROR;
    if (rc == KV_CTL_OK)
        rc = kv_ctl_reply(&s->link, to_stdout, NULL, follow);
    fflush(stdout);
    kv_buf_release(&whole);
    return rc;
}

/* What is asked for with a word to repeat: "ERROR confirm <sentence> yes-<n>". */
static bool agrees(const session *s)
{
    char answer[16] = "";
    if (s->yes)
        return true;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    fprintf(stderr, "%s\nDo it? [y/N] ", strchr(s->link.head, ' ') + 1);
    return fgets(answer, sizeof answer, stdin) && (*answer == 'y' || *answer == 'Y');
}

static int run_line(session *s, const char *line, bool at_terminal)
{
    if (first_word_is(line, "top") && !s->json && kv_ctl_top_possible())
        return kv_ctl_top(&s->link) == KV_CTL_ERROR ? show_error(s) : KV_CTL_OK;
    int rc = send_line(s, line, at_terminal);
    if (rc == KV_CTL_ERROR && first_word_is(s->link.head, "confirm") && agrees(s)) {
        kv_buf again;
        kv_buf_init(&again, 0);
        const char *token = strrchr(s->link.head, ' ');
        kv_buf_addf(&again, "%s%s", line, token ? token : "");
        rc = kv_buf_ok(&again) ? send_line(s, again.data, at_terminal) : KV_CTL_ERROR;
        kv_buf_release(&again);
    }
    return rc == KV_CTL_ERROR ? show_error(s) : rc;
}

/* ---- lines from stdin ---- */

static int run_stdin(session *s)
{
    bool at_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    char *line = NULL;
    size_t cap = 0;
    int worst = KV_CTL_OK, rc = KV_CTL_OK;
    if (at_terminal)
        printf("kervan at %s; \"help\" lists the commands, \"quit\" ends.\n", s->path);
    while (rc != KV_CTL_GONE) {
        if (at_terminal) {
            fputs("kervan> ", stdout);
            fflush(stdout);
        }
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0 || first_word_is(line, "quit") || first_word_is(line, "exit"))
            break;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[strspn(line, " \t")] == '\0' || line[0] == '#')
            continue;
        rc = run_line(s, line, at_terminal);
        worst = rc > worst ? rc : worst;
    }
    free(line);
    return at_terminal && rc != KV_CTL_GONE ? KV_CTL_OK : worst;
}

/* ---- the command line ---- */

static int usage(const char *what)
{
    fprintf(stderr,
            "kervan ctl: %s\nusage: kervan ctl [-s SOCKET] [-j] [--yes] [COMMAND …]; `kervan ctl "
            "help` lists the commands\n",
            what);
    return KV_CTL_GONE;
}

static int run_words(session *s, int argc, char **argv)
{
    kv_buf line;
    kv_buf_init(&line, 0);
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "-j") == 0)
            s->json = true;
        else if (strcmp(argv[i], "--yes") == 0)
            s->yes = true;
        else if (i == 1 && strcmp(argv[0], "backup") == 0)
            add_file(&line, argv[i]);
        else
            add_word(&line, argv[i]);
    }
    int rc = kv_buf_ok(&line) && !strchr(kv_buf_str(&line), '\n')
                 ? run_line(s, kv_buf_str(&line), isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
                 : usage("a word holds the end of a line");
    kv_buf_release(&line);
    return rc;
}

int kv_ctl(int argc, char **argv)
{
    static session s;
    const char *given = NULL;
    int i = 0;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-j") == 0)
            s.json = true;
        else if (strcmp(argv[i], "--yes") == 0)
            s.yes = true;
        else if (strcmp(argv[i], "-s") == 0 && i + 1 < argc)
            given = argv[++i];
        else
            return usage(strcmp(argv[i], "-s") == 0 ? "-s needs the path of a socket"
                                                    : "there is no such option");
    }
    int rc = find_socket(&s, given);
    if (rc == KV_CTL_OK)
        rc = kv_ctl_connect(&s.link, s.path);
    if (rc == KV_CTL_OK)
        rc = i < argc ? run_words(&s, argc - i, argv + i) : run_stdin(&s);
    if (s.link.fd > 0)
        close(s.link.fd);
    return rc;
}
