/* Calls on the admin socket: how they end, and what they ask the database and the broker. */
#include <assert.h>
#include <stdlib.h>

#include "broker/admin_conn.h"

/* ---- ends of calls ---- */

void kv_admin_end(kv_admin_call *call)
{
    kv_admin_conn *c = call->conn;
    if (call->drop)
        call->drop(call->state);
    call->drop = NULL;
    call->state = NULL;
    call->again = NULL;
    call->ended = true;
    c->busy = false;
    c->closing = c->closing || call->quit;
}

void kv_admin_ok(kv_admin_call *call)
{
    kv_buf_adds(call->out, "OK\n");
    kv_admin_end(call);
}

/* Slugs of the API may have blanks; here the slug is one word. */
static void add_slug(kv_buf *out, const char *slug)
{
    for (; *slug; slug++)
        kv_buf_addc(out,
                    *slug == ' ' ? '_' : (char)(*slug >= 'A' && *slug <= 'Z' ? *slug | 32 : *slug));
}

void kv_admin_error(kv_admin_call *call, const char *slug, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    va_end(args);
    kv_buf_adds(call->out, "ERROR ");
    add_slug(call->out, slug);
    kv_buf_addc(call->out, ' ');
    kv_plain_text(kv_slice_str(text), 0, call->out);
    kv_buf_addc(call->out, '\n');
    kv_admin_end(call);
}

void kv_admin_fail(kv_admin_call *call, kv_err err)
{
    kv_admin_error(call, kv_err_info_of(err)->slug, "%s", kv_err_info_of(err)->en);
}

void kv_admin_again(kv_admin_call *call, int64_t delay_ms, kv_admin_fn fn)
{
    call->again = fn;
    call->again_at = kv_mono_ms(call->clock) + delay_ms;
}

bool kv_admin_interrupted(const kv_admin_call *call)
{
    const kv_admin_conn *c = call->conn;
    return kv_admin_input_waits(&c->in);
}

static kv_err open_db(kv_admin_call *call, kv_db **ret)
{
    kv_admin *a = ((kv_admin_conn *)call->conn)->admin;
    kv_err err = a->db ? KV_OK : kv_db_open(a->cfg, KV_DB_READ, &a->db);
    *ret = a->db;
    return err;
}

kv_db *kv_admin_db(kv_admin_call *call)
{
    kv_db *db;
    kv_err err = open_db(call, &db);
    if (err != KV_OK)
        kv_admin_fail(call, err);
    return db;
}

kv_db *kv_admin_db_if(kv_admin_call *call)
{
    kv_db *db;
    (void)open_db(call, &db);
    return db;
}

/* ---- questions to the broker ---- */

static void forget(kv_admin_question *q)
{
    if (q->prev)
        q->prev->next = q->next;
    else
        q->admin->asks = q->next;
    if (q->next)
        q->next->prev = q->prev;
    free(q);
}

static void refused(kv_admin_call *call, kv_err err, const kv_msg *answer)
{
    kv_slice detail =
        answer && answer->code == KV_ERROR ? answer->error.detail : kv_slice_of("", 0);
    const kv_err_info *info = kv_err_info_of(err);
    if (detail.len > 0)
        kv_admin_error(call, info->slug, "%.*s", KV_SLICE_FMT(detail));
    else
        kv_admin_fail(call, err);
}

static void on_answer(void *arg, kv_err err, const kv_msg *answer)
{
    kv_admin_question q = *(kv_admin_question *)arg;
    forget(arg);
    if (!q.conn)
        return;
    q.conn->ask = NULL;
    if (err == KV_OK || q.any)
        q.fn(&q.conn->call, answer);
    else
        refused(&q.conn->call, err, answer);
    assert(q.conn->call.ended || q.conn->ask || q.conn->call.again);
}

static kv_err open_client(kv_admin *a)
{
    if (a->client)
        return KV_OK;
    char name[KV_SESSION_NAME];
    kv_session_name(name, "admin");
    kv_client_opts opts = {.zmq = a->zmq,
                           .endpoint = a->cfg->broker,
                           .role = "tool",
                           .name = name,
                           .clock = a->clock,
                           .max_waiting = 4096};
    return kv_client_new(&opts, &a->client);
}

static void ask_broker(kv_admin_call *call, const kv_msg *m, int64_t timeout_ms,
                       kv_admin_question question)
{
    kv_admin_conn *c = call->conn;
    kv_admin *a = c->admin;
    kv_admin_question *q = malloc(sizeof *q);
    kv_err err = q ? open_client(a) : KV_E_NO_MEMORY;
    if (err == KV_OK) {
        *q = question;
        q->conn = c;
        q->admin = a;
        err = kv_client_ask(a->client, m, timeout_ms, on_answer, q);
    }
    if (err != KV_OK) {
        free(q);
        kv_admin_fail(call, err);
        return;
    }
    q->prev = NULL;
    q->next = a->asks;
    if (q->next)
        q->next->prev = q;
    a->asks = q;
    c->ask = q;
}

void kv_admin_ask(kv_admin_call *call, const kv_msg *m, int64_t timeout_ms, kv_admin_answer_fn fn)
{
    ask_broker(call, m, timeout_ms, (kv_admin_question){.fn = fn});
}

void kv_admin_ask_any(kv_admin_call *call, const kv_msg *m, int64_t timeout_ms,
                      kv_admin_answer_fn fn)
{
    ask_broker(call, m, timeout_ms, (kv_admin_question){.fn = fn, .any = true});
}

void kv_admin_ask_drop(kv_admin_conn *c)
{
    if (c->ask)
        c->ask->conn = NULL;
    c->ask = NULL;
}

void kv_admin_asks_free(kv_admin *a)
{
    for (kv_admin_question *q = a->asks, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    a->asks = NULL;
}
