#include "proto/base/metrics.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX   192 /* of a metric with two labels */
#define BUCKETS_MAX 16

typedef enum kind { COUNTER, GAUGE, HISTOGRAM, SIZES } kind;

static const struct row {
    const char *name, *label, *text;
    kind kind;
} rows[] = {
#define KV_METRIC_ROW(name, prom, type, label, text) {prom, label, text, type},
    KV_METRICS(KV_METRIC_ROW)
#undef KV_METRIC_ROW
};

/* Upper bounds in microseconds and as Prometheus writes them; those of sizes. */
typedef struct bound {
    int64_t most;
    const char *le;
} bound;
static const bound times[BUCKETS_MAX] = {
    {500, "0.0005"},  {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},
    {10000, "0.01"},  {25000, "0.025"}, {50000, "0.05"},  {100000, "0.1"},
    {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},   {2500000, "2.5"},
    {5000000, "5"},   {15000000, "15"}, {60000000, "60"}, {300000000, "300"},
};

static const bound sizes[BUCKETS_MAX] = {
    {1, "1"},       {2, "2"},       {4, "4"},         {8, "8"},
    {16, "16"},     {32, "32"},     {64, "64"},       {128, "128"},
    {256, "256"},   {512, "512"},   {1024, "1024"},   {2048, "2048"},
    {4096, "4096"}, {8192, "8192"}, {16384, "16384"}, {32768, "32768"},
};

typedef struct histogram {
    _Atomic int64_t sum; /* in microseconds, or as counted */
    _Atomic int64_t buckets[BUCKETS_MAX + 1];
} histogram;

typedef struct slot {
    _Atomic(char *) label; /* set once */
    _Atomic int64_t value;
    _Atomic(histogram *) histogram; /* made with the first value */
} slot;

static struct metric {
    _Atomic bool shown;
    _Atomic int64_t value;
    histogram histogram;
    slot slots[PAIRS_MAX];
} all[KV_METRIC_COUNT];

#define RELAXED memory_order_relaxed

/* `as`: HISTOGRAM or SIZES; COUNTER stands for a GAUGE, too. */
static struct metric *use(kv_metric m, bool labelled, kind as)
{
    assert((unsigned)m < KV_METRIC_COUNT);
    assert((rows[m].label[0] != '\0') == labelled);
    assert((rows[m].kind == GAUGE ? COUNTER : rows[m].kind) == as);
    (void)labelled, (void)as;
    if (!atomic_load_explicit(&all[m].shown, RELAXED))
        atomic_store_explicit(&all[m].shown, true, RELAXED);
    return &all[m];
}

void kv_metric_add(kv_metric m, int64_t by)
{
    atomic_fetch_add_explicit(&use(m, false, COUNTER)->value, by, RELAXED);
}

void kv_metric_set(kv_metric m, int64_t value)
{
    atomic_store_explicit(&use(m, false, COUNTER)->value, value, RELAXED);
}

static int places(const struct metric *metric)
{
    return strchr(rows[metric - all].label, ',') ? PAIRS_MAX : KV_METRIC_LABELS;
}

/* The place of a label value; a new one is claimed by putting its name in. */
static slot *place(struct metric *metric, const char *value)
{
    int n = places(metric);

    for (int i = 0; i < n; i++) {
        const char *wanted = i == n - 1 ? KV_METRIC_OTHER : value;
        slot *s = &metric->slots[i];
        char *have = atomic_load_explicit(&s->label, memory_order_acquire);
        if (!have) {
            char *copy = strdup(wanted);
            if (!copy)
                return NULL;
            if (atomic_compare_exchange_strong(&s->label, &have, copy))
                return s;
            free(copy); /* another thread was first: `have` is its name */
        }
        if (strcmp(have, wanted) == 0)
            return s;
    }
    return &metric->slots[n - 1];
}

void kv_metric_add_label(kv_metric m, const char *label_value, int64_t by)
{
    slot *at = place(use(m, true, COUNTER), label_value);

    if (at)
        atomic_fetch_add_explicit(&at->value, by, RELAXED);
}

void kv_metric_set_label(kv_metric m, const char *label_value, int64_t value)
{
    slot *at = place(use(m, true, COUNTER), label_value);

    if (at)
        atomic_store_explicit(&at->value, value, RELAXED);
}

static void observe(histogram *h, const bound *bounds, int64_t value)
{
    int i = 0;

    if (value < 0)
        value = 0;
    while (i < BUCKETS_MAX && value > bounds[i].most)
        i++;
    atomic_fetch_add_explicit(&h->buckets[i], 1, RELAXED);
    atomic_fetch_add_explicit(&h->sum, value, RELAXED);
}

void kv_metric_observe_us(kv_metric m, int64_t microseconds)
{
    observe(&use(m, false, HISTOGRAM)->histogram, times, microseconds);
}

void kv_metric_observe_size(kv_metric m, int64_t size)
{
    observe(&use(m, false, SIZES)->histogram, sizes, size);
}

/* NULL: no memory. */
static histogram *histogram_of(slot *s)
{
    histogram *have = atomic_load_explicit(&s->histogram, memory_order_acquire);

    if (have)
        return have;
    histogram *made = calloc(1, sizeof *made);
    if (!made || atomic_compare_exchange_strong(&s->histogram, &have, made))
        return made;
    free(made); /* another thread was first: `have` is its own */
    return have;
}

void kv_metric_observe_label_us(kv_metric m, const char *label_value, int64_t microseconds)
{
    slot *at = place(use(m, true, HISTOGRAM), label_value);
    histogram *h = at ? histogram_of(at) : NULL;

    if (h)
        observe(h, times, microseconds);
}

static int64_t count_of(const histogram *h)
{
    int64_t sum = 0;

    for (int i = 0; h && i <= BUCKETS_MAX; i++)
        sum += atomic_load_explicit(&h->buckets[i], RELAXED);
    return sum;
}

int64_t kv_metric_get(kv_metric m)
{
    struct metric *metric = &all[m];
    int64_t sum = 0;

    if (!rows[m].label[0])
        return rows[m].kind >= HISTOGRAM ? count_of(&metric->histogram)
                                         : atomic_load_explicit(&metric->value, RELAXED);
    for (int i = 0; i < PAIRS_MAX; i++)
        sum += atomic_load_explicit(&metric->slots[i].value, RELAXED) +
               count_of(atomic_load_explicit(&metric->slots[i].histogram, memory_order_acquire));
    return sum;
}

void kv_metrics_declare(const kv_metric *list, int n)
{
    for (int i = 0; i < n; i++)
        atomic_store_explicit(&all[list[i]].shown, true, RELAXED);
}

/* Escapes as the text format asks: backslash, line feed, and in label values the quote. */
static void add_escaped(kv_buf *out, const char *text, bool quote)
{
    for (; *text; text++) {
        if (*text == '\\' || (quote && *text == '"'))
            kv_buf_addc(out, '\\');
        if (*text == '\n')
            kv_buf_adds(out, "\\n");
        else
            kv_buf_addc(out, *text);
    }
}

/* name="value", and name2="value2" behind it: two names and two values are joined by a comma. */
static void add_labels(const struct row *row, const char *value, kv_buf *out)
{
    const char *name_end = strchr(row->label, ','), *value_end = strchr(value, ',');
    char one[128];

    if (!name_end) {
        kv_buf_addf(out, "%s=\"", row->label);
        add_escaped(out, value, true);
    } else {
        int len = value_end ? (int)(value_end - value) : (int)strlen(value);
        snprintf(one, sizeof one, "%.*s", len, value);
        kv_buf_addf(out, "%.*s=\"", (int)(name_end - row->label), row->label);
        add_escaped(out, one, true);
        kv_buf_addf(out, "\",%s=\"", name_end + 1);
        add_escaped(out, value_end ? value_end + 1 : "", true);
    }
    kv_buf_addc(out, '"');
}

/* `value`: of the label; NULL: it has none. */
static void render_histogram(const struct row *row, const char *value, const histogram *h,
                             kv_buf *out)
{
    int64_t count = 0, sum = atomic_load_explicit(&h->sum, RELAXED);
    const bound *bounds = row->kind == SIZES ? sizes : times;
    char total[48];
    kv_buf labels;

    if (row->kind == SIZES)
        snprintf(total, sizeof total, "%lld", (long long)sum);
    else
        snprintf(total, sizeof total, "%lld.%06lld", (long long)(sum / 1000000),
                 (long long)(sum % 1000000));

    kv_buf_init(&labels, 0);
    if (value)
        add_labels(row, value, &labels);
    const char *pair = kv_buf_str(&labels);
    for (int i = 0; i <= BUCKETS_MAX; i++) {
        count += atomic_load_explicit(&h->buckets[i], RELAXED);
        kv_buf_addf(out, "%s_bucket{%s%sle=\"%s\"} %lld\n", row->name, pair, value ? "," : "",
                    i == BUCKETS_MAX ? "+Inf" : bounds[i].le, (long long)count);
    }
    const char *open = value ? "{" : "", *close = value ? "}" : "";
    kv_buf_addf(out, "%s_sum%s%s%s %s\n%s_count%s%s%s %lld\n", row->name, open, pair, close, total,
                row->name, open, pair, close, (long long)count);
    if (!kv_buf_ok(&labels))
        out->failed = true;
    kv_buf_release(&labels);
}

static void render_labels(const struct row *row, struct metric *metric, kv_buf *out)
{
    for (int i = 0; i < PAIRS_MAX; i++) {
        slot *s = &metric->slots[i];
        const char *value = atomic_load_explicit(&s->label, memory_order_acquire);
        if (!value)
            continue;
        if (row->kind == HISTOGRAM) {
            const histogram *h = atomic_load_explicit(&s->histogram, memory_order_acquire);
            if (h)
                render_histogram(row, value, h, out);
            continue;
        }
        kv_buf_addf(out, "%s{", row->name);
        add_labels(row, value, out);
        kv_buf_adds(out, "} ");
        kv_buf_addi(out, atomic_load_explicit(&s->value, RELAXED));
        kv_buf_addc(out, '\n');
    }
}

void kv_metrics_render(kv_buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram", "histogram"};

    for (int m = 0; m < KV_METRIC_COUNT; m++) {
        const struct row *row = &rows[m];
        if (!atomic_load_explicit(&all[m].shown, RELAXED))
            continue;
        kv_buf_addf(out, "# HELP %s ", row->name);
        add_escaped(out, row->text, false);
        kv_buf_addf(out, "\n# TYPE %s %s\n", row->name, kinds[row->kind]);
        if (row->label[0])
            render_labels(row, &all[m], out);
        else if (row->kind >= HISTOGRAM)
            render_histogram(row, NULL, &all[m].histogram, out);
        else
            kv_buf_addf(out, "%s %lld\n", row->name,
                        (long long)atomic_load_explicit(&all[m].value, RELAXED));
    }
}

void kv_metrics_reset(void)
{
    for (int m = 0; m < KV_METRIC_COUNT; m++) {
        atomic_store(&all[m].shown, false);
        atomic_store(&all[m].value, 0);
        atomic_store(&all[m].histogram.sum, 0);
        for (int i = 0; i <= BUCKETS_MAX; i++)
            atomic_store(&all[m].histogram.buckets[i], 0);
        for (int i = 0; i < PAIRS_MAX; i++) {
            free(atomic_exchange(&all[m].slots[i].label, NULL));
            free(atomic_exchange(&all[m].slots[i].histogram, NULL));
            atomic_store(&all[m].slots[i].value, 0);
        }
    }
}
