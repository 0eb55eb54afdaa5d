/* stats: the broker's metrics, summed up. */
#include "broker/admin_cmd.h"
#include "broker/admin_prom.h"

static void add_ms(kv_buf *out, const char *name, double seconds)
{
    kv_buf_addf(out, seconds < 1 ? ", %s %.2f ms" : ", %s %.0f ms", name, seconds * 1000);
}

/* Names end in _seconds where the unit is that. */
static void show_text(void *arg, const kv_prom_item *item)
{
    kv_buf *out = arg;
    kv_buf_addf(out, "%-60s ", item->key);
    if (!item->histogram) {
        kv_buf_addf(out, "%.15g\n", item->value);
        return;
    }
    kv_buf_addf(out, "%.0f", item->count);
    if (item->count > 0) {
        add_ms(out, "mean", item->sum / item->count);
        add_ms(out, "p50", item->p50);
        add_ms(out, "p90", item->p90);
        add_ms(out, "p99", item->p99);
    }
    kv_buf_addc(out, '\n');
}

static void add_json(void *arg, const kv_prom_item *item)
{
    json_t *all = arg;
    double mean = item->count > 0 ? item->sum / item->count : 0;
    json_object_set_new(all, item->key,
                        !item->histogram
                            ? json_real(item->value)
                            : json_pack("{s:f,s:f,s:f,s:f,s:f}", "count", item->count, "mean", mean,
                                        "p50", item->p50, "p90", item->p90, "p99", item->p99));
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
