/* The generated part of PROTOCOL.md. */
#include "proto/codec.h"
#include "proto/codec_table.h"
#include "proto/base/words.h"

#define INGEST_FIRST 0x60

static const char *type_name(const kv_field_info *f)
{
    static const char *const names[] = {"uint", "int", "bool", "str", "bin"};

    return names[f->type];
}

/* A "|" would end the cell. */
static void add_cell(kv_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            kv_buf_addc(out, '\\');
        kv_buf_addc(out, *text);
    }
}

static void add_limit(const kv_field_info *f, kv_buf *out)
{
    if (f->type == KV_FIELD_str || f->type == KV_FIELD_bin)
        kv_buf_addf(out, "%llu bytes", (unsigned long long)f->limit);
    else if (f->limit)
        kv_buf_addf(out, "≤ %llu", (unsigned long long)f->limit);
}

static void add_default(const kv_field_info *f, kv_buf *out)
{
    if (f->type == KV_FIELD_boolean)
        kv_buf_adds(out, f->def ? "true" : "false");
    else if (f->type == KV_FIELD_str || f->type == KV_FIELD_bin)
        kv_buf_adds(out, "empty");
    else
        kv_buf_addi(out, f->def);
}

static void add_field(size_t i, const kv_field_info *f, kv_buf *out)
{
    kv_buf_addf(out, "| %zu | `%s` | %s | ", i, f->name, type_name(f));
    add_limit(f, out);
    kv_buf_adds(out, " | ");
    add_default(f, out);
    kv_buf_adds(out, " | ");
    add_cell(out, f->unit);
    kv_buf_adds(out, f->unit[0] && f->text[0] ? ": " : "");
    add_cell(out, f->text);
    kv_buf_adds(out, " |\n");
}

static void add_message(const kv_message_info *m, kv_buf *out)
{
    kv_buf_addf(out, "\n#### 0x%02x %s\n\n%s  \n%s", m->code, m->name, m->text, m->from);
    if (m->answer[0])
        kv_buf_addf(out, "; answered with %s or ERROR", m->answer);
    kv_buf_adds(
        out, "\n\n| # | Field | Type | Limit | Default | Meaning |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < m->count; i++)
        add_field(i, &m->fields[i], out);
}

static void add_overview(kv_buf *out)
{
    const kv_message_info *m;

    kv_buf_adds(out,
                "### Overview\n\n| Code | Message | Direction | Answer |\n|---|---|---|---|\n");
    for (size_t i = 0; (m = kv_message_info_at(i)); i++)
        kv_buf_addf(out, "| 0x%02x | %s | %s | %s |\n", m->code, m->name, m->from, m->answer);
}

static void add_errors(kv_buf *out)
{
    kv_buf_adds(
        out,
        "\n### Errors\n\n| Number | Name | Code in HTTP answers | Meaning |\n|---|---|---|---|\n");
#define ADD(name, number, http, slug, en, tr)                                                      \
    if (number) {                                                                                  \
        kv_buf_addf(out, "| %d | %s | `%s` | ", number, #name, slug);                              \
        add_cell(out, en);                                                                         \
        kv_buf_adds(out, " |\n");                                                                  \
    }
    KV_ERRORS(ADD)
#undef ADD
}

static void add_events(kv_buf *out)
{
    kv_buf_adds(out,
                "\n### Types of events\n\n| Type | Members besides id, type, at |\n|---|---|\n");
#define ADD(name, kind, what, members)                                                             \
    kv_buf_adds(out, "| `" kind "." what "` | ");                                                  \
    add_cell(out, members);                                                                        \
    kv_buf_adds(out, " |\n");
    KV_EVENT_TYPES(ADD)
#undef ADD
}

void kv_protocol_tables(kv_buf *out)
{
    const kv_message_info *m;
    bool ingest = false;

    add_overview(out);
    kv_buf_adds(out, "\n### Messages between processes\n");
    for (size_t i = 0; (m = kv_message_info_at(i)); i++) {
        if (!ingest && m->code >= INGEST_FIRST) {
            ingest = true;
            kv_buf_adds(
                out,
                "\n### Messages inside one gateway\n\nThey travel over inproc only. The broker "
                "refuses them with UNKNOWN_CODE.\n");
        }
        add_message(m, out);
    }
    add_events(out);
    add_errors(out);
}
