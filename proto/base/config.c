#include "proto/base/config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proto/base/config_rows.h"

const kv_config_row kv_config_rows[] = {
#define KV_CONFIG_ROW(env, member, type, unit, def, min, max, secret, readers, text)               \
    {#env, KV_CONFIG_##type, unit,    def,  min,                                                   \
     max,  secret,           readers, text, offsetof(kv_config, member)},
    KV_CONFIG(KV_CONFIG_ROW)
#undef KV_CONFIG_ROW
};
const size_t kv_config_row_count = sizeof kv_config_rows / sizeof *kv_config_rows;

static void *member(kv_config *cfg, const kv_config_row *row)
{
    return (char *)cfg + row->offset;
}

/* The value of a variable, or its default where it is not set or empty. */
static const char *value_of(char *const *envp, const kv_config_row *row)
{
    size_t n = strlen(row->env);

    for (char *const *e = envp; *e; e++) {
        if (strncmp(*e, row->env, n) == 0 && (*e)[n] == '=')
            return (*e)[n + 1] ? *e + n + 1 : row->def;
    }
    return row->def;
}

/* Strings are cut from cfg->store, which is large enough for all of them. */
typedef struct shelf {
    char *next, *end;
} shelf;

static char *keep(shelf *s, const char *text, size_t len)
{
    assert(len < (size_t)(s->end - s->next));
    char *at = s->next;
    memcpy(at, text, len);
    at[len] = '\0';
    s->next += len + 1;
    return at;
}

/* Without blanks around items and without empty items. */
static char *keep_list(shelf *s, const char *text)
{
    char *at = keep(s, text, strlen(text)), *to = at;

    for (const char *from = text; *from;) {
        from += strspn(from, " \t,");
        size_t n = strcspn(from, ","), trimmed = n;
        while (trimmed && strchr(" \t", from[trimmed - 1]))
            trimmed--;
        if (trimmed) {
            if (to != at)
                *to++ = ',';
            memcpy(to, from, trimmed);
            to += trimmed;
        }
        from += n;
    }
    *to = '\0';
    return at;
}

static bool word_in(const char *words, const char *word)
{
    size_t len = strlen(word);

    while (*words) {
        size_t n = strcspn(words, "|");
        if (n == len && memcmp(words, word, n) == 0)
            return true;
        words += n + (words[n] == '|');
    }
    return false;
}

static bool parse_int(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char *end;

    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || v < min || v > max)
        return false;
    *ret = v;
    return true;
}

/* On a terminal it would not be seen in any other message. */
static bool holds_control(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    }
    return false;
}

static void take(kv_config *cfg, const kv_config_row *row, const char *text, shelf *s,
                 kv_buf *problems)
{
    void *to = member(cfg, row);

    if (holds_control(text)) {
        kv_buf_addf(problems,
                    "%s: holds a control character. In a file with Windows line ends (CRLF) each "
                    "value ends in one.\n",
                    row->env);
        text = row->def;
    }

    switch (row->type) {
    case KV_CONFIG_STR:
        *(const char **)to = keep(s, text, strlen(text));
        break;
    case KV_CONFIG_LIST:
        *(const char **)to = keep_list(s, text);
        break;
    case KV_CONFIG_ENUM:
        *(const char **)to = keep(s, text, strlen(text));
        if (!word_in(row->unit, text))
            kv_buf_addf(problems, "%s: is \"%.64s\"; allowed are %s.\n", row->env, text, row->unit);
        break;
    case KV_CONFIG_INT:
        if (!parse_int(text, row->min, row->max, (int64_t *)to))
            kv_buf_addf(problems,
                        "%s: is \"%.64s\"; a whole number from %lld to %lld%s%s is needed.\n",
                        row->env, text, (long long)row->min, (long long)row->max,
                        row->unit[0] ? " " : "", row->unit);
        break;
    case KV_CONFIG_BOOL:
        *(bool *)to = strcmp(text, "true") == 0;
        if (!word_in("true|false", text))
            kv_buf_addf(problems, "%s: is \"%.64s\"; allowed are true and false.\n", row->env,
                        text);
        break;
    }
}

static void trim_slashes(const char **text, shelf *s)
{
    size_t n = strlen(*text), before = n;

    while (n > 1 && (*text)[n - 1] == '/')
        n--;
    if (n != before)
        *text = keep(s, *text, n);
}

static void derive(const char **endpoint, const char *scheme, const char *data, const char *file,
                   shelf *s)
{
    kv_buf b;

    if (**endpoint)
        return;
    kv_buf_init(&b, 0);
    kv_buf_addf(&b, "%s%s/run/%s", scheme, data, file);
    *endpoint = keep(s, kv_buf_str(&b), b.len);
    kv_buf_release(&b);
}

static kv_err make_shelf(kv_config *cfg, char *const *envp, shelf *ret)
{
    size_t total = 1;

    for (size_t i = 0; i < kv_config_row_count; i++)
        total += strlen(value_of(envp, &kv_config_rows[i])) + strlen(kv_config_rows[i].def) + 2;
    /* a trimmed copy of each, and three endpoints under the data folder */
    for (size_t i = 0; i < kv_config_row_count; i++) {
        if (strcmp(kv_config_rows[i].env, "KERVAN_DATA") == 0)
            total += 3 * (strlen(value_of(envp, &kv_config_rows[i])) + 64);
    }
    total *= 2;
    cfg->store = calloc(1, total);
    if (!cfg->store)
        return KV_E_NO_MEMORY;
    *ret = (shelf){cfg->store, cfg->store + total};
    return KV_OK;
}

kv_err kv_config_load(kv_config *cfg, char *const *envp, kv_buf *problems, kv_buf *warnings)
{
    size_t before = problems->len;
    shelf s;

    memset(cfg, 0, sizeof *cfg);
    KV_TRY(make_shelf(cfg, envp, &s));
    for (size_t i = 0; i < kv_config_row_count; i++)
        take(cfg, &kv_config_rows[i], value_of(envp, &kv_config_rows[i]), &s, problems);
    for (char *const *e = envp; *e; e++)
        kv_config_check_name(kv_slice_of(*e, strcspn(*e, "=")), problems);
    trim_slashes(&cfg->data, &s);
    trim_slashes(&cfg->media_base_url, &s);
    derive(&cfg->broker, "ipc://", cfg->data, "broker.sock", &s);
    derive(&cfg->events, "ipc://", cfg->data, "events.sock", &s);
    derive(&cfg->admin, "", cfg->data, "admin.sock", &s);
    kv_config_check(cfg, problems, warnings);
    if (!kv_buf_ok(problems) || !kv_buf_ok(warnings))
        return KV_E_NO_MEMORY;
    return problems->len == before ? KV_OK : KV_E_CONFIG;
}

void kv_config_release(kv_config *cfg)
{
    if (cfg->store) {
        for (size_t i = 0; i < kv_config_row_count; i++) {
            if (kv_config_rows[i].secret) {
                char *secret = *(char **)member(cfg, &kv_config_rows[i]);
                explicit_bzero(secret, strlen(secret));
            }
        }
    }
    free(cfg->store);
    memset(cfg, 0, sizeof *cfg);
}

bool kv_list_next(const char **list, kv_slice *ret_item)
{
    size_t n = strcspn(*list, ",");

    if (n == 0)
        return false;
    *ret_item = kv_slice_of(*list, n);
    *list += n + ((*list)[n] == ',');
    return true;
}

bool kv_list_has(const char *list, kv_slice item)
{
    kv_slice one;

    while (kv_list_next(&list, &one)) {
        if (kv_slice_eq(one, item))
            return true;
    }
    return false;
}
