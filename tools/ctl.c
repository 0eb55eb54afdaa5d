#include "tools/ctl.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ctl_reply.h"
#include "tools/ctl_top.h"

enum { FAILED = 1, WRONG = 2 }; /* exit status */

typedef struct session {
    bool json, yes;
    size_t written; /* bytes of the reply in hand */
    kv_ctl_link link;
} session;

static void to_stdout(void *arg, const char *bytes, size_t len)
{
    session *s = arg;
    s->written += len;
    fwrite(bytes, 1, len, stdout);
    if (bytes[len - 1] == '\n')
        fflush(stdout); /* `events follow` in a pipe */
}

static bool first_word_is(const char *line, const char *word)
{
    line += strspn(line, " \t");
    size_t len = strcspn(line, " \t\n");
    return len == strlen(word) && memcmp(line, word, len) == 0;
}

/* ---- how it ends ---- */

/* With -j one value of JSON on stdout, whatever happens; behind a part of another it would be read
 * as one of it, so then, and without -j, a sentence on stderr. */
static void complain(const session *s, const char *slug, const char *why)
{
    json_t *error =
        s->json && s->written == 0 ? json_pack("{s:s,s:s}", "error", slug, "detail", why) : NULL;
    if (error)
        json_dumpf(error, stdout, JSON_COMPACT);
    if (error)
        fputc('\n', stdout);
    fflush(stdout);
    if (!error)
        fprintf(stderr, "kervan ctl: %s\n", why);
    json_decref(error);
}

/* A broker that hangs is what doctor looks for. */
static void find_silent(session *s)
{
    const kv_ctl_link *l = &s->link;
    if (s->json) {
        json_t *all = json_pack("{s:b,s:n,s:n,s:[{s:s,s:s,s:s,s:s}]}", "healthy", 0, "queues",
                                "workers", "findings", "level", "problem", "where", "broker",
                                "what", l->what, "remedy", l->remedy);
        char *text = json_dumps(all, JSON_COMPACT);
        printf("%s\n", text ? text : "null");
        free(text);
        json_decref(all);
    } else {
        printf("problem  broker: %s. %s\n", l->what, l->remedy);
    }
    s->written = 1;
}

/* What the operator typed was wrong, and nothing was done. */
static bool wrong_usage(const char *slug)
{
    static const char *const slugs[] = {"unknown_command", "usage", "bad_parameter", "bad_id",
                                        "bad_line"};
    for (size_t i = 0; i < sizeof slugs / sizeof *slugs; i++) {
        if (strcmp(slug, slugs[i]) == 0)
            return true;
    }
    return false;
}

static int ended(session *s, kv_ctl_end end, const char *line)
{
    if (end == KV_CTL_OK)
        return 0;
    if (end == KV_CTL_SILENT && first_word_is(line, "doctor") && s->written == 0)
        find_silent(s);
    complain(s, s->link.slug, s->link.why);
    if (end != KV_CTL_ERROR)
        kv_ctl_close(&s->link);
    return end == KV_CTL_GONE || (end == KV_CTL_ERROR && wrong_usage(s->link.slug)) ? WRONG
                                                                                    : FAILED;
}

static int usage(const session *s, const char *what)
{
    char why[256];
    snprintf(why, sizeof why,
             "%s; usage: kervan ctl [-s SOCKET] [-j] [--yes] [COMMAND …]; `kervan ctl help` lists "
             "the commands",
             what);
    complain(s, "usage", why);
    return WRONG;
}

/* ---- where ---- */

/* False: its path is too long. */
static bool find_socket(session *s, const char *given)
{
    const char *admin = getenv("KERVAN_ADMIN"), *data = getenv("KERVAN_DATA");
    char *path = s->link.path;
    size_t room = sizeof s->link.path;
    int n;
    if (given || (admin && *admin))
        n = snprintf(path, room, "%s", given ? given : admin);
    else
        n = snprintf(path, room, "%s/run/admin.sock", data && *data ? data : "./data");
    return n > 0 && n < (int)room;
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

static kv_ctl_end send_line(session *s, const char *line, bool at_terminal)
{
    kv_buf whole;
    kv_buf_init(&whole, 0);
    kv_buf_adds(&whole, s->json ? "-j " : "");
    kv_buf_adds(&whole, line);
    bool follow = at_terminal && first_word_is(line, "events") && strstr(line, "follow");
    if (follow)
        fprintf(stderr, "(Enter ends it)\n");
    s->written = 0;
    kv_ctl_end end = kv_ctl_send(&s->link, kv_buf_str(&whole), whole.len);
    if (end == KV_CTL_OK)
        end = kv_ctl_reply(&s->link, to_stdout, s, follow);
    fflush(stdout);
    kv_buf_release(&whole);
    return end;
}

/* What is asked for with a word to repeat: "ERROR confirm <sentence> yes-<n>". */
static bool agrees(const session *s)
{
    char answer[16] = "";
    if (s->yes)
        return true;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    fprintf(stderr, "%s\nDo it? [y/N] ", s->link.why);
    return fgets(answer, sizeof answer, stdin) && (*answer == 'y' || *answer == 'Y');
}

/* The exit status. */
static int run_line(session *s, const char *line, bool at_terminal)
{
    if (first_word_is(line, "top") && !s->json && kv_ctl_top_possible()) {
        s->written = 0;
        return ended(s, kv_ctl_top(&s->link, line), line);
    }
    kv_ctl_end end = send_line(s, line, at_terminal);
    if (end == KV_CTL_ERROR && strcmp(s->link.slug, "confirm") == 0 && agrees(s)) {
        kv_buf again;
        kv_buf_init(&again, 0);
        const char *token = strrchr(s->link.why, ' ');
        kv_buf_addf(&again, "%s%s", line, token ? token : "");
        end = send_line(s, kv_buf_str(&again), at_terminal);
        kv_buf_release(&again);
    }
    return ended(s, end, line);
}

/* ---- lines from stdin ---- */

static int run_stdin(session *s)
{
    bool at_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    char *line = NULL;
    size_t cap = 0;
    int worst = 0;
    if (at_terminal)
        printf("kervan at %s; \"help\" lists the commands, \"quit\" ends.\n", s->link.path);
    while (s->link.fd >= 0) {
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
        int rc = run_line(s, line, at_terminal);
        worst = rc > worst ? rc : worst;
    }
    free(line);
    return at_terminal && s->link.fd >= 0 ? 0 : worst;
}

/* ---- the command line ---- */

static int run_words(session *s, int argc, char **argv)
{
    kv_buf line;
    kv_buf_init(&line, 0);
    for (int i = 0, words = 0; i < argc; i++) {
        if (strcmp(argv[i], "-j") == 0)
            s->json = true;
        else if (strcmp(argv[i], "--yes") == 0)
            s->yes = true;
        else if (words++ == 1 && strcmp(argv[0], "backup") == 0)
            add_file(&line, argv[i]);
        else
            add_word(&line, argv[i]);
    }
    int rc = kv_buf_ok(&line) && !strchr(kv_buf_str(&line), '\n')
                 ? run_line(s, kv_buf_str(&line), isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
                 : usage(s, "a word holds the end of a line");
    kv_buf_release(&line);
    return rc;
}

int kv_ctl(int argc, char **argv)
{
    static session s;
    const char *given = NULL, *wrong = NULL;
    int i = 0;
    s.link.fd = -1;
    for (int k = 0; k < argc; k++)
        s.json = s.json || strcmp(argv[k], "-j") == 0; /* it stands anywhere */
    for (; i < argc && argv[i][0] == '-' && !wrong; i++) {
        if (strcmp(argv[i], "--yes") == 0)
            s.yes = true;
        else if (strcmp(argv[i], "-s") == 0 && i + 1 < argc)
            given = argv[++i];
        else if (strcmp(argv[i], "-j") != 0)
            wrong = strcmp(argv[i], "-s") == 0 ? "-s needs the path of a socket"
                                               : "there is no such option";
    }
    if (!wrong && !find_socket(&s, given))
        wrong = "the path of the socket is empty or too long";
    if (wrong)
        return usage(&s, wrong);
    kv_ctl_end end = kv_ctl_connect(&s.link);
    int rc = end != KV_CTL_OK ? ended(&s, end, i < argc ? argv[i] : "")
             : i < argc       ? run_words(&s, argc - i, argv + i)
                              : run_stdin(&s);
    kv_ctl_close(&s.link);
    return rc;
}
