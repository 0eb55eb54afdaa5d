#include "broker/admin_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/text.h"

enum { CELL_MAX = 120 };

/* ---- units ---- */

void kv_human_ms(int64_t ms, kv_buf *out)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};
    if (ms < 0)
        ms = 0;
    if (ms < 1000) {
        kv_buf_addf(out, "%lld ms", (long long)ms);
        return;
    }
    for (int i = 0; i < 4; i++) {
        if (ms < units[i].ms)
            continue;
        kv_buf_addf(out, "%lld %s", (long long)(ms / units[i].ms), units[i].name);
        int64_t rest = i < 3 ? ms % units[i].ms / units[i + 1].ms : 0;
        if (rest > 0)
            kv_buf_addf(out, " %lld %s", (long long)rest, units[i + 1].name);
        return;
    }
}

void kv_human_bytes(int64_t bytes, kv_buf *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    int unit = 0;
    for (; v >= 1024 && unit < 4; unit++)
        v /= 1024;
    kv_buf_addf(out, unit == 0 ? "%.0f %s" : "%.1f %s", v, units[unit]);
}

void kv_human_count(uint64_t n, const char *what, kv_buf *out)
{
    kv_buf_addf(out, "%llu %s%s", (unsigned long long)n, what, n == 1 ? "" : "s");
}

/* ---- text of others ---- */

size_t kv_plain_text(kv_slice text, size_t max, kv_buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; n++) {
        uint32_t cp = 0;
        size_t len = kv_utf8_next(text.ptr + i, text.len - i, &cp);
        if (max > 0 && n + 1 == max && i + (len ? len : 1) < text.len) {
            kv_buf_adds(out, "…");
            return n + 1;
        }
        /* C0, DEL and C1; line and paragraph separators; marks that turn the direction of text */
        bool bad = len == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0) ||
                   (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
        if (bad)
            kv_buf_addc(out, cp == '\n' || cp == '\t' ? ' ' : '?');
        else
            kv_buf_add(out, text.ptr + i, len);
        i += len ? len : 1;
    }
    return n;
}

/* ---- tables ---- */

static size_t characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void init_table(kv_table *t, const char *const *heads, int cols)
{
    memset(t, 0, sizeof *t);
    kv_buf_init(&t->cells, 4 << 20);
    t->cols = cols;
    for (int i = 0; i < cols; i++) {
        t->heads[i] = heads[i];
        t->widths[i] = characters(heads[i]) - (heads[i][0] == '>');
    }
}

void kv_table_release(kv_table *t)
{
    kv_buf_release(&t->cells);
}

/* Cut to 120 characters. */
static void add_cell(kv_table *t, kv_slice text)
{
    size_t n = kv_plain_text(text, CELL_MAX, &t->cells);
    kv_buf_addc(&t->cells, '\0');
    if (n > t->widths[t->col])
        t->widths[t->col] = n;
    t->col = (t->col + 1) % t->cols;
}

static void write_cell(const kv_table *t, int col, const char *text, kv_buf *out)
{
    static const char blanks[] = "                                        ";
    size_t pad = t->widths[col] - characters(text);
    bool right = t->heads[col][0] == '>', last = col == t->cols - 1;
    if (col > 0)
        kv_buf_adds(out, "  ");
    if (!right)
        kv_buf_adds(out, text);
    for (; pad > 0 && (right || !last); pad -= pad < 40 ? pad : 40)
        kv_buf_add(out, blanks, pad < 40 ? pad : 40);
    if (right)
        kv_buf_adds(out, text);
}

void kv_table_write(kv_table *t, kv_buf *out)
{
    const char *cell = kv_buf_str(&t->cells), *end = cell + t->cells.len;
    if (!t->head_written) {
        for (int i = 0; i < t->cols; i++)
            write_cell(t, i, t->heads[i] + (t->heads[i][0] == '>'), out);
        kv_buf_addc(out, '\n');
        t->head_written = true;
    }
    for (int col = 0; cell < end; cell += strlen(cell) + 1) {
        write_cell(t, col, cell, out);
        col = (col + 1) % t->cols;
        if (col == 0)
            kv_buf_addc(out, '\n');
    }
    if (!kv_buf_ok(&t->cells))
        out->failed = true;
    kv_buf_clear(&t->cells);
}

/* ---- columns of JSON ---- */

/* The member at "a.b", or NULL. */
static const json_t *member_at(const json_t *object, const char *path)
{
    char name[64];
    const char *dot = strchr(path, '.');
    if (!dot)
        return json_object_get(object, path);
    snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
    return member_at(json_object_get(object, name), dot + 1);
}

static void add_value(const json_t *v, kv_buf *out)
{
    if (json_is_string(v)) {
        kv_buf_add(out, json_string_value(v), json_string_length(v));
    } else if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            kv_buf_adds(out, i ? "," : "");
            add_value(json_array_get(v, i), out);
        }
    } else if (v && !json_is_null(v)) {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        kv_buf_adds(out, text ? text : "?");
        free(text);
    }
}

/* In lists seconds are enough to read; in JSON they are exact. */
static void add_time(const json_t *v, bool exact, kv_buf *out)
{
    const char *text = json_string_value(v);
    if (text && strlen(text) == 24)
        kv_buf_addf(out, "%.10s %.*s", text, exact ? 12 : 8, text + 11);
    else
        add_value(v, out);
}

void kv_column_text(const json_t *object, const char *path, kv_column_kind kind, kv_buf *out)
{
    const json_t *v = member_at(object, path);
    size_t begun = out->len;
    bool number = json_is_number(v);
    if (number && kind == KV_COLUMN_MS)
        kv_human_ms((int64_t)json_number_value(v), out);
    else if (number && kind == KV_COLUMN_S)
        kv_human_ms((int64_t)(json_number_value(v) * 1000), out);
    else if (number && kind == KV_COLUMN_PERCENT)
        kv_buf_addf(out, "%.1f %%", json_number_value(v) * 100);
    else if (number && kind == KV_COLUMN_RATE)
        kv_buf_addf(out, "%.1f", json_number_value(v));
    else if (kind == KV_COLUMN_TIME || kind == KV_COLUMN_TIME_MS)
        add_time(v, kind == KV_COLUMN_TIME_MS, out);
    else
        add_value(v, out);
    if (out->len == begun)
        kv_buf_addc(out, '-');
}

void kv_table_init_columns(kv_table *t, const kv_column *columns, int n)
{
    const char *heads[KV_TABLE_COLS];
    for (int i = 0; i < n; i++)
        heads[i] = columns[i].head;
    init_table(t, heads, n);
}

void kv_table_row(kv_table *t, const kv_column *columns, const json_t *object)
{
    kv_buf text;
    kv_buf_init(&text, 1 << 20);
    for (int i = 0; i < t->cols; i++) {
        kv_buf_clear(&text);
        kv_column_text(object, columns[i].path, columns[i].kind, &text);
        add_cell(t, kv_buf_slice(&text));
    }
    kv_buf_release(&text);
}
