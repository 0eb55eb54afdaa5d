/* The configuration as text: `kervan config`, .env.example, the manual. */
#include "proto/base/config_rows.h"

/* A heading stands before the variable it names. */
static const struct section {
    const char *env, *title;
} sections[] = {
    {"ENV", "Where kervan lives and listens"},
    {"DATABASE_URL", "Engines"},
    {"SECRET_KEY", "Secrets"},
    {"MAX_UPLOAD_SIZE_MB", "Uploads"},
    {"HEADER_TIMEOUT", "HTTP"},
    {"ALLOWED_MIME_TYPES", "What is kept, and how"},
    {"IMAGE_PROCESSING_ENABLED", "Images"},
    {"JOB_MAX_ATTEMPTS", "Jobs and events"},
    {"DRAIN_TIMEOUT", "Stopping"},
    {"ALLOWED_HOSTS", "Who may ask"},
};

static const char *section_of(const kv_config_row *row)
{
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (strcmp(sections[i].env, row->env) == 0)
            return sections[i].title;
    }
    return NULL;
}

/* "1 to 64 MiB", "true or false", "a|b", "url" */
static void add_allowed(const kv_config_row *row, kv_buf *out)
{
    switch (row->type) {
    case KV_CONFIG_INT:
        kv_buf_addf(out, "%lld to %lld", (long long)row->min, (long long)row->max);
        if (row->unit[0])
            kv_buf_addf(out, " %s", row->unit);
        break;
    case KV_CONFIG_BOOL:
        kv_buf_adds(out, "true or false");
        break;
    case KV_CONFIG_LIST:
        kv_buf_addf(out, "list%s%s, separated by commas", row->unit[0] ? " of " : "", row->unit);
        break;
    case KV_CONFIG_ENUM:
        for (const char *c = row->unit; *c; c++)
            kv_buf_adds(out, *c == '|' ? ", " : (char[]){*c, '\0'});
        break;
    case KV_CONFIG_STR:
        kv_buf_adds(out, row->unit[0] ? row->unit : "text");
        break;
    }
}

static void add_value(const kv_config *cfg, const kv_config_row *row, kv_buf *out)
{
    const void *at = (const char *)cfg + row->offset;

    if (row->type == KV_CONFIG_INT)
        kv_buf_addi(out, *(const int64_t *)at);
    else if (row->type == KV_CONFIG_BOOL)
        kv_buf_adds(out, *(const bool *)at ? "true" : "false");
    else if (row->secret && **(const char *const *)at)
        kv_buf_adds(out, "***");
    else
        kv_buf_adds(out, *(const char *const *)at);
}

void kv_config_print(const kv_config *cfg, kv_buf *out)
{
    for (size_t i = 0; i < kv_config_row_count; i++) {
        const kv_config_row *row = &kv_config_rows[i];
        kv_buf_addf(out, "%s=", row->env);
        add_value(cfg, row, out);
        kv_buf_addf(out, "  # %s\n", row->text);
    }
}

void kv_config_example(kv_buf *out)
{
    kv_buf_adds(out, "# Every variable kervan reads, with its default. An empty value means the "
                     "default.\n");
    for (size_t i = 0; i < kv_config_row_count; i++) {
        const kv_config_row *row = &kv_config_rows[i];
        const char *title = section_of(row);
        if (title)
            kv_buf_addf(out, "\n# ---- %s ----\n", title);
        kv_buf_addf(out, "\n# %s\n# ", row->text);
        add_allowed(row, out);
        kv_buf_addf(out, "%s\n%s=%s\n", row->secret ? "; secret" : "", row->env, row->def);
    }
}

/* A "|" would end a cell of a Markdown table. */
static void add_cell(kv_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            kv_buf_addc(out, '\\');
        kv_buf_addc(out, *text);
    }
}

void kv_config_manual(kv_buf *out)
{
    for (size_t i = 0; i < kv_config_row_count; i++) {
        const kv_config_row *row = &kv_config_rows[i];
        const char *title = section_of(row);
        if (title)
            kv_buf_addf(out,
                        "%s### %s\n\n| Variable | Allowed | Default | Read by | Meaning "
                        "|\n|---|---|---|---|---|\n",
                        i ? "\n" : "", title);
        kv_buf_addf(out, "| `%s` | ", row->env);
        add_allowed(row, out);
        kv_buf_adds(out, row->secret ? "; secret | " : " | ");
        if (row->def[0])
            kv_buf_addf(out, "`%s`", row->def);
        kv_buf_addf(out, " | %s | ", row->readers);
        add_cell(out, row->text);
        kv_buf_adds(out, " |\n");
    }
}
