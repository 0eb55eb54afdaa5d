/* The kv_out of unit tests: keeps what a handler put out. */
#include <assert.h>
#include <stdlib.h>

#include "proto/out.h"

/* A message with the bytes its slices point into. */
typedef struct kept {
    int peer;
    kv_buf body, payload;
    kv_msg msg;
    kv_out_answer_fn fn;
    void *arg;
} kept;

typedef struct kept_list {
    kept **items;
    size_t count;
} kept_list;

typedef struct fake {
    kv_out out; /* first */
    kept_list sent, asked;
    uint64_t credit;
    kv_err refused; /* what kv_out_ask says */
} fake;

static kept *keep(kept_list *l, const kv_msg *m)
{
    kept *k = calloc(1, sizeof *k);
    kept **items = realloc(l->items, (l->count + 1) * sizeof *items);
    const char *why = NULL;

    if (!k || !items)
        abort(); /* a test without memory has nothing to say */
    l->items = items;
    l->items[l->count++] = k;
    kv_body_encode(m, &k->body);
    if (kv_body_decode(m->code, k->body.data, k->body.len, &k->msg, &why))
        abort(); /* the handler broke a limit of messages.h; `why` says which */
    return k;
}

static void release(kept *k)
{
    kv_buf_release(&k->body);
    kv_buf_release(&k->payload);
    free(k);
}

static void clear(kept_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        release(l->items[i]);
    free(l->items);
    *l = (kept_list){0};
}

static void fake_send(kv_out *out, int peer, const kv_header *head, const kv_msg *m,
                      zmq_msg_t *payload)
{
    kept *k = keep(&((fake *)out)->sent, m);

    (void)head;
    k->peer = peer;
    if (payload) { /* the content moves: the handler's message is empty afterwards */
        kv_buf_add(&k->payload, zmq_msg_data(payload), zmq_msg_size(payload));
        zmq_msg_close(payload);
        zmq_msg_init(payload);
    }
}

static kv_err fake_ask(kv_out *out, const kv_header *head, const kv_msg *m, int64_t timeout_ms,
                       kv_out_answer_fn fn, void *arg)
{
    fake *f = (fake *)out;

    (void)head, (void)timeout_ms;
    if (f->refused)
        return f->refused;
    kept *k = keep(&f->asked, m);
    k->fn = fn;
    k->arg = arg;
    return KV_OK;
}

static void fake_watch_fd(kv_out *out, int fd, kv_out_fd_fn fn)
{
    (void)out, (void)fd, (void)fn;
}

static void fake_unwatch_fd(kv_out *out, int fd)
{
    (void)out, (void)fd;
}

static void fake_set_credit(kv_out *out, uint64_t credit)
{
    ((fake *)out)->credit = credit;
}

static void fake_lease_done(kv_out *out, uint64_t job, uint64_t epoch, uint64_t attempt)
{
    (void)out, (void)job, (void)epoch, (void)attempt;
}

static const kv_out_ops fake_ops = {fake_send,       fake_ask,        fake_watch_fd,
                                    fake_unwatch_fd, fake_set_credit, fake_lease_done};

kv_out *kv_out_fake(const kv_clock *clock)
{
    fake *f = calloc(1, sizeof *f);

    if (!f)
        abort();
    f->out = (kv_out){&fake_ops, clock};
    return &f->out;
}

void kv_out_fake_destroy(kv_out **out)
{
    fake *f = (fake *)*out;

    if (!f)
        return;
    clear(&f->sent);
    clear(&f->asked);
    free(f);
    *out = NULL;
}

uint64_t kv_out_fake_credit(const kv_out *out)
{
    return ((const fake *)out)->credit;
}

size_t kv_out_fake_count(const kv_out *out)
{
    return ((const fake *)out)->sent.count;
}

const kv_msg *kv_out_fake_at(const kv_out *out, size_t i, int *ret_peer, kv_slice *ret_payload)
{
    const kept_list *l = &((const fake *)out)->sent;

    if (i >= l->count)
        return NULL;
    if (ret_peer)
        *ret_peer = l->items[i]->peer;
    if (ret_payload)
        *ret_payload = kv_buf_slice(&l->items[i]->payload);
    return &l->items[i]->msg;
}

void kv_out_fake_clear(kv_out *out)
{
    clear(&((fake *)out)->sent);
}

void kv_out_fake_refuse(kv_out *out, kv_err err)
{
    ((fake *)out)->refused = err;
}

void kv_out_fake_answer(kv_out *out, void *self, size_t i, kv_err err, const kv_msg *answer)
{
    kept_list *l = &((fake *)out)->asked;

    assert(i < l->count);
    kept *k = l->items[i];
    memmove(&l->items[i], &l->items[i + 1], (l->count - i - 1) * sizeof *l->items);
    l->count--;
    k->fn(self, k->arg, err, answer, out);
    release(k);
}

const kv_msg *kv_out_fake_asked(const kv_out *out, size_t i)
{
    const kept_list *l = &((const fake *)out)->asked;

    return i < l->count ? &l->items[i]->msg : NULL;
}
