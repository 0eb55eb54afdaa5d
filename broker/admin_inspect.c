#include "broker/admin_inspect.h"

#include <stdlib.h>

enum { PAGE = 200 };

typedef struct listing {
    const kv_inspect_view *views;
    int n, at; /* the view in hand */
    char service[65];
    uint64_t after;
    size_t rows; /* of this view, so far */
    kv_table table;
} listing;

static void drop(void *state)
{
    listing *l = state;
    kv_table_release(&l->table);
    free(l);
}

void kv_admin_ask_inspect(kv_admin_call *call, const char *what, kv_slice service, uint64_t after,
                          uint64_t limit, kv_admin_answer_fn fn)
{
    kv_msg m;
    kv_msg_defaults(KV_INSPECT, &m);
    m.inspect.what = kv_slice_str(what);
    m.inspect.service = service;
    m.inspect.after = after;
    m.inspect.limit = limit;
    kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, fn);
}

static void ask_page(kv_admin_call *call);

static void begin_view(kv_admin_call *call)
{
    listing *l = call->state;
    const kv_inspect_view *v = &l->views[l->at];
    l->after = l->rows = 0;
    kv_table_release(&l->table);
    kv_table_init_columns(&l->table, v->columns, v->n);
    if (call->json)
        kv_buf_addf(call->out, "%s\"%s\":[", l->at == 0 ? "{" : ",", v->what);
    else if (l->at > 0)
        kv_buf_addc(call->out, '\n');
    ask_page(call);
}

static void end_view(kv_admin_call *call)
{
    listing *l = call->state;
    const kv_inspect_view *v = &l->views[l->at];
    if (call->json)
        kv_buf_addc(call->out, ']');
    else if (l->rows == 0 && v->none)
        kv_buf_addf(call->out, "%s\n", v->none);
    if (++l->at < l->n) {
        begin_view(call);
        return;
    }
    if (call->json)
        kv_buf_adds(call->out, "}\n");
    kv_admin_ok(call);
}

static void add_row(kv_admin_call *call, json_t *row)
{
    listing *l = call->state;
    if (l->views[l->at].enrich)
        l->views[l->at].enrich(call, row);
    if (call->json) {
        char *text = json_dumps(row, JSON_COMPACT);
        kv_buf_adds(call->out, l->rows ? "," : "");
        kv_buf_adds(call->out, text ? text : "null");
        free(text);
    } else {
        kv_table_row(&l->table, l->views[l->at].columns, row);
    }
    l->rows++;
}

static void on_page(kv_admin_call *call, const kv_msg *answer)
{
    listing *l = call->state;
    json_t *page = kv_admin_json(call, answer->stats_ok.text);
    if (!page)
        return;
    const json_t *rows = json_object_get(page, l->views[l->at].what);
    size_t n = json_array_size(rows);
    for (size_t i = 0; i < n; i++)
        add_row(call, json_array_get(rows, i));
    if (!call->json && l->rows > 0)
        kv_table_write(&l->table, call->out);
    l->after = (uint64_t)json_integer_value(json_object_get(page, "next"));
    json_decref(page);
    if (l->after != 0)
        kv_admin_again(call, 0, ask_page);
    else
        end_view(call);
}

static void ask_page(kv_admin_call *call)
{
    const listing *l = call->state;
    kv_admin_ask_inspect(call, l->views[l->at].what, kv_slice_str(l->service), l->after, PAGE,
                         on_page);
}

void kv_admin_inspect(kv_admin_call *call, const kv_inspect_view *views, int n, kv_slice service)
{
    listing *l = calloc(1, sizeof *l);
    if (!l) {
        kv_admin_fail(call, KV_E_NO_MEMORY);
        return;
    }
    l->views = views;
    l->n = n;
    memcpy(l->service, service.ptr, service.len);
    call->state = l;
    call->drop = drop;
    begin_view(call);
}
