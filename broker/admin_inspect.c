#include "broker/admin_inspect.h"

#include <stdlib.h>

#include "storage/read/jobs_list.h"

enum { PAGE = 200 };

typedef struct listing {
    const kv_inspect_view *views;
    int n, at; /* the view in hand */
    char service[65];
    uint64_t after;
    size_t rows;  /* of this view, so far */
    json_t *held; /* rows that are sorted once all are there */
    kv_table table;
} listing;

static void drop(void *state)
{
    listing *l = state;
    kv_table_release(&l->table);
    json_decref(l->held);
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

/* ---- a queue that is named ---- */

static void told(kv_admin_call *call, kv_slice service, bool known)
{
    call->known = known;
    if (known || !call->must)
        call->then(call);
    else
        kv_admin_error(call, "not_found",
                       "There is no queue named \"%.*s\"; \"queues\" lists them.",
                       KV_SLICE_FMT(service));
}

static void on_queue(kv_admin_call *call, const kv_msg *answer)
{
    json_t *page = kv_admin_json(call, answer->stats_ok.text);
    if (!page)
        return;
    bool known = json_array_size(json_object_get(page, "queues")) > 0;
    json_decref(page);
    told(call, call->wanted, known);
}

/* The broker may have forgotten a queue whose jobs have ended, and the database not have seen one
 * that was only paused. */
void kv_admin_with_queue(kv_admin_call *call, kv_slice service, bool must, kv_admin_fn then)
{
    bool known = false;
    kv_db *db = kv_admin_db_if(call);
    call->must = must;
    call->then = then;
    call->wanted = service;
    if (db && kv_jobs_service_known(db, service, &known) == KV_OK && known)
        told(call, service, true);
    else
        kv_admin_ask_inspect(call, "queues", service, 0, 1, on_queue);
}

/* ---- views ---- */

static void ask_page(kv_admin_call *call);

static void begin_view(kv_admin_call *call)
{
    listing *l = call->state;
    const kv_inspect_view *v = &l->views[l->at];
    l->after = l->rows = 0;
    json_decref(l->held);
    l->held = v->compare ? json_array() : NULL;
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
    else if (l->rows == 0 && l->service[0] && strcmp(v->what, "queues") == 0)
        kv_buf_addf(call->out, "%s: nothing waits or runs, nor did since the broker's start\n",
                    l->service);
    else if (l->rows == 0 && l->service[0])
        kv_buf_addf(call->out, "%s: no %s\n", l->service, v->what);
    else if (l->rows == 0)
        kv_buf_addf(call->out, "%s\n", v->none);
    if (++l->at < l->n) {
        begin_view(call);
        return;
    }
    if (call->json)
        kv_buf_adds(call->out, "}\n");
    kv_admin_ok(call);
}

static void write_row(kv_admin_call *call, const json_t *row)
{
    listing *l = call->state;
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

static void add_row(kv_admin_call *call, json_t *row)
{
    const listing *l = call->state;
    if (l->views[l->at].enrich)
        l->views[l->at].enrich(call, row);
    if (l->held)
        json_array_append(l->held, row);
    else
        write_row(call, row);
}

/* All rows of a view that is sorted. */
static void write_held(kv_admin_call *call)
{
    listing *l = call->state;
    size_t n = json_array_size(l->held);
    const json_t **rows = n > 0 ? malloc(n * sizeof *rows) : NULL;
    for (size_t i = 0; i < n && rows; i++)
        rows[i] = json_array_get(l->held, i);
    if (rows)
        qsort(rows, n, sizeof *rows, l->views[l->at].compare);
    for (size_t i = 0; i < n; i++)
        write_row(call, rows ? rows[i] : json_array_get(l->held, i));
    free(rows);
    json_array_clear(l->held);
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
    l->after = (uint64_t)json_integer_value(json_object_get(page, "next"));
    json_decref(page);
    if (l->held && l->after == 0)
        write_held(call);
    if (!call->json && l->rows > 0)
        kv_table_write(&l->table, call->out);
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
    if (service.len > 0)
        kv_admin_with_queue(call, kv_slice_str(l->service), true, begin_view);
    else
        begin_view(call);
}
