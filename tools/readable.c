#include "tools/readable.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "broker/admin_text.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static void add_size(kv_buf *out, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) {
        bytes /= 1024;
        u++;
    }
    kv_buf_addf(out, u == 0 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
}

/* Long hex digests are cut: they are for grep in the JSON log, not for eyes. Texts are often a
 * client's: nothing in them may be a command to the terminal. */
static void add_value(kv_buf *out, const char *key, const json_t *v)
{
    if (json_is_string(v)) {
        const char *s = json_string_value(v);
        bool digest = strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
        if (digest)
            kv_buf_addf(out, "%.12s…", s);
        else
            (void)kv_plain_text(kv_slice_str(s), 0, out);
    } else if (json_is_integer(v)) {
        if (strcmp(key, "size") == 0 || strcmp(key, "bytes") == 0)
            add_size(out, (double)json_integer_value(v));
        else
            kv_buf_addi(out, json_integer_value(v));
    } else if (json_is_real(v)) {
        kv_buf_addf(out, "%.3g", json_real_value(v));
    } else if (json_is_boolean(v)) {
        kv_buf_adds(out, json_is_true(v) ? "yes" : "no");
    } else {
        kv_buf_adds(out, "…");
    }
}

static bool is_head(const char *key)
{
    static const char *const heads[] = {"time", "level", "process", "event"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        if (strcmp(key, heads[i]) == 0)
            return true;
    return false;
}

static const char *color_of(const char *level)
{
    if (strcmp(level, "error") == 0)
        return "\033[31m";
    if (strcmp(level, "warn") == 0)
        return "\033[33m";
    return "\033[36m";
}

void kv_readable_line(kv_slice line, bool color, kv_buf *out)
{
    json_t *o = json_loadb(line.ptr, line.len, 0, NULL);
    if (!json_is_object(o)) {
        (void)kv_plain_text(line, 0, out);
        kv_buf_addc(out, '\n');
        json_decref(o);
        return;
    }
    const char *time = text_of(o, "time"), *level = text_of(o, "level");
    const char *clock = strchr(time, 'T');
    kv_buf_addf(out, "%.8s %-8s ", clock ? clock + 1 : "", text_of(o, "process"));
    if (strcmp(level, "info") != 0)
        kv_buf_addf(out, "%s ", level);
    kv_buf_addf(out, "%s%s%s", color ? color_of(level) : "", text_of(o, "event"),
                color ? "\033[0m" : "");
    const char *key;
    json_t *value;
    json_object_foreach(o, key, value)
    {
        if (is_head(key) || json_is_null(value))
            continue;
        kv_buf_addf(out, "  %s=", key);
        add_value(out, key, value);
    }
    kv_buf_addc(out, '\n');
    json_decref(o);
}
