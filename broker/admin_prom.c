#include "broker/admin_prom.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUCKETS = 64 };

typedef struct reader {
    void (*fn)(void *arg, const kv_prom_item *item);
    void *arg;
    char histogram[128]; /* the name that the last TYPE line gave, if it is one */
    kv_prom_item item;   /* the histogram in hand */
    double bounds[BUCKETS], counts[BUCKETS];
    int n;
} reader;

static double percentile(const reader *r, double share)
{
    double wanted = share * r->item.count, below = 0, from = 0;
    if (r->item.count <= 0)
        return NAN;
    for (int i = 0; i < r->n; i++) {
        if (r->counts[i] >= wanted && r->counts[i] > below) {
            if (isinf(r->bounds[i]))
                return from;
            return from + (r->bounds[i] - from) * (wanted - below) / (r->counts[i] - below);
        }
        below = r->counts[i];
        if (!isinf(r->bounds[i]))
            from = r->bounds[i];
    }
    return from;
}

static void flush(reader *r)
{
    if (r->n > 0) {
        r->item.p50 = percentile(r, 0.50);
        r->item.p90 = percentile(r, 0.90);
        r->item.p99 = percentile(r, 0.99);
        r->fn(r->arg, &r->item);
    }
    r->n = 0;
    memset(&r->item, 0, sizeof r->item);
    r->item.histogram = true;
}

/* `labels` without its le; the bound to *ret_le. Both with their quotes, without braces. */
static void cut_le(char *labels, double *ret_le)
{
    char *le = strstr(labels, "le=\"");
    if (!le)
        return;
    *ret_le = strtod(le + 4, NULL);
    char *end = strchr(le + 4, '"');
    char *from = le > labels && le[-1] == ',' ? le - 1 : le;
    char *rest = end ? end + 1 : le + strlen(le);
    if (from == labels && *rest == ',')
        rest++;
    memmove(from, rest, strlen(rest) + 1);
}

static void on_part(reader *r, const char *part, const char *labels, double le, double value)
{
    char key[KV_PROM_KEY];
    int n = snprintf(key, sizeof key, *labels ? "%s{%s}" : "%s%s", r->histogram, labels);
    if (n < 0 || n >= (int)sizeof key)
        return;
    if (strcmp(key, r->item.key) != 0) {
        flush(r);
        memcpy(r->item.key, key, sizeof key);
    }
    if (strcmp(part, "_bucket") == 0 && r->n < BUCKETS) {
        r->bounds[r->n] = le;
        r->counts[r->n++] = value;
    } else if (strcmp(part, "_sum") == 0) {
        r->item.sum = value;
    } else if (strcmp(part, "_count") == 0) {
        r->item.count = value;
    }
}

static void on_sample(reader *r, char *name, char *labels, double value)
{
    size_t len = strlen(r->histogram);
    double le = INFINITY;
    if (len > 0 && strncmp(name, r->histogram, len) == 0 && name[len] == '_') {
        cut_le(labels, &le);
        on_part(r, name + len, labels, le, value);
        return;
    }
    flush(r);
    kv_prom_item item = {.value = value};
    int n = snprintf(item.key, sizeof item.key, *labels ? "%s{%s}" : "%s%s", name, labels);
    if (n > 0 && n < (int)sizeof item.key)
        r->fn(r->arg, &item);
}

static void on_line(reader *r, char *line)
{
    char name[128], type[16];
    if (*line == '#') {
        if (sscanf(line, "# TYPE %127s %15s", name, type) == 2)
            snprintf(r->histogram, sizeof r->histogram, "%s",
                     strcmp(type, "histogram") == 0 ? name : "");
        return;
    }
    char *value = strrchr(line, ' ');
    if (!value || value == line)
        return;
    *value++ = '\0';
    char *brace = strchr(line, '{'), *end = strrchr(line, '}');
    char none[1] = "";
    if (brace && end > brace) {
        *brace = *end = '\0';
        on_sample(r, line, brace + 1, strtod(value, NULL));
    } else if (!brace) {
        on_sample(r, line, none, strtod(value, NULL));
    }
}

void kv_prom_read(kv_slice text, void (*fn)(void *arg, const kv_prom_item *item), void *arg)
{
    reader r = {.fn = fn, .arg = arg};
    for (size_t at = 0; at < text.len;) {
        const char *nl = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = nl ? (size_t)(nl - (text.ptr + at)) : text.len - at;
        char line[1024];
        if (len > 0 && len < sizeof line) {
            memcpy(line, text.ptr + at, len);
            line[len] = '\0';
            on_line(&r, line);
        }
        at += len + 1;
    }
    flush(&r);
}
