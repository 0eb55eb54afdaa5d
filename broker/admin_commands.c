/* The list of modules, what a row of theirs promises, and the commands about the session itself. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/admin_cmd.h"
#include "proto/base/text.h"

enum { HELP_AT = 42 };

const kv_admin_module *const kv_admin_modules[] = {
    &kv_admin_queues, &kv_admin_jobs,   &kv_admin_workers, &kv_admin_credits, &kv_admin_events,
    &kv_admin_stats,  &kv_admin_doctor, &kv_admin_backup,  &kv_admin_session, NULL};

const kv_admin_command *kv_admin_find(kv_slice name)
{
    for (const kv_admin_module *const *m = kv_admin_modules; *m; m++) {
        for (int i = 0; i < (*m)->n; i++) {
            if (kv_slice_is(name, (*m)->commands[i].name))
                return &(*m)->commands[i];
        }
    }
    return NULL;
}

/* ---- words and options ---- */

/* "a,b,c" holds the word. */
static bool lists(const char *options, kv_slice word)
{
    for (const char *at = options; at && *at; at += *at == ',') {
        size_t len = strcspn(at, ",");
        if (kv_slice_eq(word, kv_slice_of(at, len)))
            return true;
        at += len;
    }
    return false;
}

static bool is_option(const kv_admin_line *line, int i, kv_slice *ret_name, kv_slice *ret_value)
{
    return kv_admin_split(line->words[i], ret_name, ret_value);
}

bool kv_admin_check(const kv_admin_command *command, const kv_admin_line *line, kv_buf *why)
{
    int words = 0;
    kv_slice name, value, other, rest;
    for (int i = 1; i < line->n; i++) {
        if (!command->options || !is_option(line, i, &name, &value)) {
            words++;
            continue;
        }
        if (!lists(command->options, name)) {
            kv_buf_addf(why, "%s has no option %.*s=; usage: %s %s", command->name,
                        KV_SLICE_FMT(name), command->name, command->usage);
            return false;
        }
        for (int j = 1; j < i; j++) {
            if (is_option(line, j, &other, &rest) && kv_slice_eq(name, other)) {
                kv_buf_addf(why, "%.*s= is given twice", KV_SLICE_FMT(name));
                return false;
            }
        }
    }
    if (words >= command->words_min && words <= command->words_max)
        return true;
    kv_buf_addf(why, "%s; usage: %s %s",
                words < command->words_min ? "something is missing" : "there are too many words",
                command->name, command->usage);
    return false;
}

kv_slice kv_admin_word(const kv_admin_call *call, int i)
{
    kv_slice name, value;
    for (int k = 1; k < call->line.n; k++) {
        bool option = call->command->options && is_option(&call->line, k, &name, &value);
        if (!option && i-- == 0)
            return call->line.words[k];
    }
    return kv_slice_of("", 0);
}

kv_slice kv_admin_option(const kv_admin_call *call, const char *name)
{
    kv_slice found, value;
    for (int k = 1; k < call->line.n; k++) {
        if (is_option(&call->line, k, &found, &value) && kv_slice_is(found, name))
            return value;
    }
    return kv_slice_of(NULL, 0);
}

bool kv_admin_id(kv_admin_call *call, kv_slice word, uint64_t *ret)
{
    if (kv_id_parse(word.ptr, word.len, ret))
        return true;
    kv_admin_error(call, "bad_id", "\"%.*s\" is not a job's id (13 letters and digits).",
                   KV_SLICE_FMT(word));
    return false;
}

bool kv_admin_number_option(kv_admin_call *call, const char *name, uint64_t min, uint64_t max,
                            uint64_t *ret)
{
    kv_slice text = kv_admin_option(call, name);
    uint64_t v = 0;
    if (!text.ptr)
        return true;
    if (kv_admin_number(text, max, &v) && v >= min) {
        *ret = v;
        return true;
    }
    kv_admin_error(call, "bad_parameter", "%s= takes a number from %llu to %llu.", name,
                   (unsigned long long)min, (unsigned long long)max);
    return false;
}

bool kv_admin_service_name(kv_admin_call *call, kv_slice word)
{
    bool ok = kv_service_name_valid(word);
    if (!ok)
        kv_admin_error(call, "bad_parameter",
                       "\"%.*s\" is no name of a queue: 1 to 64 of a-z, 0-9 and -.",
                       KV_SLICE_FMT(word));
    return ok;
}

bool kv_admin_service(kv_admin_call *call, int i, kv_slice *ret)
{
    *ret = kv_admin_word(call, i);
    return kv_admin_service_name(call, *ret);
}

bool kv_admin_agreed(kv_slice word, uint64_t count)
{
    uint64_t seen;
    return word.len > 4 && memcmp(word.ptr, "yes-", 4) == 0 &&
           kv_admin_number(kv_slice_of(word.ptr + 4, word.len - 4), INT64_MAX / 2, &seen) &&
           count <= seen + seen / 10;
}

/* ---- JSON ---- */

json_t *kv_admin_json(kv_admin_call *call, kv_slice text)
{
    json_t *v =
        json_loadb(text.ptr ? text.ptr : "", text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!v)
        kv_admin_error(call, "bad_message",
                       "The broker's answer is not JSON: is it another version?");
    return v;
}

void kv_admin_dump(kv_admin_call *call, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    kv_buf_adds(call->out, text ? text : "null");
    kv_buf_addc(call->out, '\n');
    call->out->failed = call->out->failed || !text;
    free(text);
}

void kv_admin_done(kv_admin_call *call, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    va_end(args);
    if (call->json)
        kv_buf_adds(call->out, "{\"ok\":true}");
    else
        kv_plain_text(kv_slice_str(text), 0, call->out);
    kv_buf_addc(call->out, '\n');
    kv_admin_ok(call);
}

/* ---- help, version, quit ---- */

static void help_row(kv_admin_call *call, json_t *list, const kv_admin_command *c)
{
    kv_buf *out = call->out;
    if (call->json) {
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:s}", "name", c->name, "usage", c->usage, "help", c->help));
        return;
    }
    size_t begun = out->len;
    kv_buf_addf(out, "  %s %s", c->name, c->usage);
    size_t width = out->len - begun;
    if (width > HELP_AT - 2) {
        kv_buf_addc(out, '\n');
        width = 0;
    }
    kv_buf_addf(out, "%*s%s\n", (int)(HELP_AT - width), "", c->help);
}

static void help(kv_admin_call *call)
{
    kv_slice name = kv_admin_word(call, 0);
    const kv_admin_command *only = name.len ? kv_admin_find(name) : NULL;
    if (name.len && !only) {
        kv_admin_error(call, "unknown_command",
                       "There is no command \"%.*s\"; \"help\" lists them.", KV_SLICE_FMT(name));
        return;
    }
    json_t *list = json_array();
    for (const kv_admin_module *const *m = kv_admin_modules; *m; m++) {
        if (!only && !call->json)
            kv_buf_addf(call->out, "%s:\n", (*m)->title);
        for (int i = 0; i < (*m)->n; i++) {
            if (!only || only == &(*m)->commands[i])
                help_row(call, list, &(*m)->commands[i]);
        }
    }
    if (call->json)
        kv_admin_dump(call, list);
    else if (!only)
        kv_buf_adds(call->out,
                    "-j before a command gives JSON. Each reply ends with OK or ERROR.\n");
    json_decref(list);
    kv_admin_ok(call);
}

static void version(kv_admin_call *call)
{
    if (call->json)
        kv_buf_addf(call->out, "{\"version\":\"%s\",\"schema\":%d}\n", KERVAN_VERSION,
                    kv_db_schema_version());
    else
        kv_buf_addf(call->out, "kervan %s (schema %d)\n", KERVAN_VERSION, kv_db_schema_version());
    kv_admin_ok(call);
}

static void quit(kv_admin_call *call)
{
    call->quit = true;
    kv_admin_done(call, "bye");
}

static const kv_admin_command commands[] = {
    {"help", "[COMMAND]", "this list, or one line of it", 0, 1, NULL, false, help},
    {"version", "", "of program and schema", 0, 0, NULL, false, version},
    {"quit", "", "close the connection", 0, 0, NULL, false, quit},
};
const kv_admin_module kv_admin_session = {"Session", commands,
                                          sizeof commands / sizeof commands[0]};
