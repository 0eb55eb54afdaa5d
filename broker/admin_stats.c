/* stats: the broker's metrics, summed up. */
#include <math.h>

#include "broker/admin_cmd.h"
#include "broker/admin_prom.h"

/* Names end in _seconds where the unit is that; labels may follow. */
static bool of_time(const char *key)
{
    static const char unit[] = "_seconds";
    const size_t n = sizeof unit - 1, len = strcspn(key, "{");
    return len > n && memcmp(key + len - n, unit, n) == 0;
}

static void add_figure(kv_buf *out, const char *name, double v, bool time)
{
    if (time)
        kv_buf_addf(out, v < 1 ? ", %s %.2f ms" : ", %s %.0f ms", name, v * 1000);
    else
        kv_buf_addf(out, ", %s %.1f", name, v);
}

static void show_text(void *arg, const kv_prom_item *item)
{
    kv_buf *out = arg;
    kv_buf_addf(out, "%-60s ", item->key);
    if (!item->histogram) {
        kv_buf_addf(out, "%.15g\n", item->value);
        return;
    }
    bool time = of_time(item->key);
    kv_buf_addf(out, "%.0f", item->count);
    if (item->count > 0) {
        add_figure(out, "mean", item->sum / item->count, time);
        add_figure(out, "p50", item->p50, time);
        add_figure(out, "p90", item->p90, time);
        add_figure(out, "p99", item->p99, time);
    }
    kv_buf_addc(out, '\n');
}

/* Of nothing there is no percentile: null. */
static json_t *figure(double v)
{
    return isnan(v) ? json_null() : json_real(v);
}

static void add_json(void *arg, const kv_prom_item *item)
{
    json_t *all = arg;
    double mean = item->count > 0 ? item->sum / item->count : (double)NAN;
    json_object_set_new(all, item->key,
                        !item->histogram
                            ? json_real(item->value)
                            : json_pack("{s:f,s:o,s:o,s:o,s:o}", "count", item->count, "mean",
                                        figure(mean), "p50", figure(item->p50), "p90",
                                        figure(item->p90), "p99", figure(item->p99)));
}

static void on_stats(kv_admin_call *call, const kv_msg *answer)
{
    if (call->json) {
        json_t *all = json_object();
        kv_prom_read(answer->stats_ok.text, add_json, all);
        kv_admin_dump(call, all);
        json_decref(all);
    } else {
        kv_prom_read(answer->stats_ok.text, show_text, call->out);
    }
    kv_admin_ok(call);
}

static void stats(kv_admin_call *call)
{
    kv_msg m;
    kv_msg_defaults(KV_STATS, &m);
    m.stats.what = 0;
    kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_stats);
}

static const kv_admin_command commands[] = {
    {"stats", "", "the broker's metrics since its start, summed up", 0, 0, NULL, false, stats},
};
const kv_admin_module kv_admin_stats = {"Figures", commands, sizeof commands / sizeof commands[0]};
