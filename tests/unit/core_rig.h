/* A broker core without sockets and ledger: what it sends is kept, its commands wait until the test
 * commits or fails them. */
#ifndef KV_TESTS_CORE_RIG_H
#define KV_TESTS_CORE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "broker/core.h"
#include "proto/codec_table.h"

enum { RIG_TEXT = 800 };

typedef struct rig_sent {
    char peer[16];
    uint64_t request;
    kv_msg m; /* strings point into store, cut to RIG_TEXT bytes */
    char store[2048];
} rig_sent;

typedef struct rig {
    kv_core *core;
    kv_now now;
    kv_cmd_list commands;
    rig_sent sent[256];
    int n;
    uint64_t next_request;
} rig;

static inline kv_slice rig_copy(rig_sent *s, size_t *at, kv_slice v)
{
    size_t len = v.len < RIG_TEXT ? v.len : RIG_TEXT;
    assert_true(*at + len <= sizeof s->store);
    if (len)
        memcpy(s->store + *at, v.ptr, len);
    kv_slice out = kv_slice_of(s->store + *at, len);
    *at += len;
    return out;
}

static inline void rig_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    rig *r = arg;
    assert_true(r->n < 256);
    rig_sent *s = &r->sent[r->n++];
    size_t at = 0;
    snprintf(s->peer, sizeof s->peer, "%.*s", KV_SLICE_FMT(peer));
    s->request = request;
    s->m = *m;
    const kv_message_info *info = kv_message_info_of(m->code);
    for (size_t i = 0; i < info->count; i++) {
        const kv_field_info *f = &info->fields[i];
        kv_slice *text = (kv_slice *)((char *)&s->m + f->offset);
        if (f->type == KV_FIELD_str || f->type == KV_FIELD_bin)
            *text = rig_copy(s, &at, *text);
    }
}

static inline void rig_command(void *arg, kv_cmd *cmd)
{
    kv_cmd_push(&((rig *)arg)->commands, cmd);
}

static inline kv_core_opts rig_opts(rig *r, uint64_t epoch)
{
    kv_core_opts opts;
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){r, rig_send, rig_command};
    opts.epoch = epoch;
    opts.seed = 42;
    return opts;
}

static inline void rig_start_with(rig *r, const kv_core_opts *opts)
{
    memset(r, 0, sizeof *r);
    r->now = (kv_now){1790000000000, 1000000};
    assert_int_equal(kv_core_new(opts, r->now, &r->core), KV_OK);
}

static inline void rig_start(rig *r, uint64_t epoch)
{
    kv_core_opts opts = rig_opts(r, epoch);
    rig_start_with(r, &opts);
}

static inline void rig_stop(rig *r)
{
    kv_core_destroy(&r->core);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&r->commands));)
        kv_cmd_free(&cmd);
}

static inline void rig_tick(rig *r, int64_t ms)
{
    r->now.wall_ms += ms;
    r->now.mono_ms += ms;
    kv_core_tick(r->core, r->now);
}

static inline uint64_t rig_say(rig *r, const char *peer, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = ++r->next_request};
    kv_core_message(r->core, r->now, kv_slice_str(peer), &head, m);
    return head.request;
}

/* The ledger's word for the oldest command; the job's params are {"n":1}. */
static inline void rig_answer(rig *r, kv_err err)
{
    kv_cmd *cmd = kv_cmd_pop(&r->commands);
    assert_non_null(cmd);
    cmd->err = err;
    cmd->created = err == KV_OK;
    if (cmd->type == KV_CMD_MOVE && cmd->move.to == KV_JOB_PROCESSING)
        kv_buf_adds(&cmd->text, "{\"n\":1}");
    kv_core_result(r->core, r->now, cmd);
}

static inline void rig_commit(rig *r)
{
    while (r->commands.first)
        rig_answer(r, KV_OK);
}

/* As the peer that had a session with the broker of `epoch`; 0: with none. */
static inline void rig_hello_after(rig *r, const char *peer, const char *role, const char *name,
                                   uint64_t instance, uint64_t epoch)
{
    kv_msg m;
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = kv_slice_str(role);
    m.hello.name = kv_slice_str(name);
    m.hello.instance = instance;
    m.hello.epoch = epoch;
    rig_say(r, peer, &m);
}

static inline void rig_hello(rig *r, const char *peer, const char *role, const char *name,
                             uint64_t instance)
{
    rig_hello_after(r, peer, role, name, instance, 0);
}

static inline uint64_t rig_claim(rig *r, const char *peer, uint64_t job, uint64_t epoch,
                                 uint64_t attempt)
{
    kv_msg m;
    kv_msg_defaults(KV_LEASE_HELD, &m);
    m.lease_held = (kv_lease_held){job, epoch, attempt};
    return rig_say(r, peer, &m);
}

static inline void rig_beat(rig *r, const char *peer, uint64_t busy)
{
    kv_msg m;
    kv_msg_defaults(KV_BEAT, &m);
    m.beat.busy = busy;
    rig_say(r, peer, &m);
}

static inline void rig_ready(rig *r, const char *peer, const char *service, uint64_t credit)
{
    kv_msg m;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str(service);
    m.ready.credit = credit;
    rig_say(r, peer, &m);
}

/* A SUBMIT to be filled. */
static inline kv_msg rig_job(uint64_t job, const char *service, uint64_t lane)
{
    kv_msg m;
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.job = job;
    m.submit.service = kv_slice_str(service);
    m.submit.lane = lane;
    m.submit.params = kv_slice_str("{\"n\":1}");
    return m;
}

static inline uint64_t rig_submit(rig *r, const char *peer, uint64_t job, const char *service,
                                  uint64_t lane)
{
    kv_msg m = rig_job(job, service, lane);
    return rig_say(r, peer, &m);
}

static inline uint64_t rig_done(rig *r, const char *peer, uint64_t job, uint64_t epoch,
                                uint64_t attempt)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_DONE, &m);
    m.job_done = (kv_job_done){job, epoch, attempt, kv_slice_str("{}")};
    return rig_say(r, peer, &m);
}

static inline uint64_t rig_fail(rig *r, const char *peer, uint64_t job, uint64_t epoch,
                                uint64_t attempt, bool retry)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_FAIL, &m);
    m.job_fail = (kv_job_fail){job, epoch, attempt, KV_E_IO, kv_slice_str("disk"), retry};
    return rig_say(r, peer, &m);
}

/* The last message of this code to this peer; NULL: none. */
static inline const rig_sent *rig_last(const rig *r, const char *peer, uint16_t code)
{
    for (int i = r->n - 1; i >= 0; i--) {
        if (r->sent[i].m.code == code && strcmp(r->sent[i].peer, peer) == 0)
            return &r->sent[i];
    }
    return NULL;
}

static inline const rig_sent *rig_reply(const rig *r, uint64_t request)
{
    for (int i = r->n - 1; i >= 0; i--) {
        if (r->sent[i].request == request)
            return &r->sent[i];
    }
    return NULL;
}

static inline int rig_count(const rig *r, uint16_t code)
{
    int n = 0;
    for (int i = 0; i < r->n; i++)
        n += r->sent[i].m.code == code;
    return n;
}

/* Worker "w" has the job, submitted by client "c". */
static inline const rig_sent *rig_start_one(rig *r, uint64_t job)
{
    rig_hello(r, "w", "worker", "image", 1);
    rig_ready(r, "w", "ai", 1);
    rig_hello(r, "c", "client", "cli", 2);
    rig_submit(r, "c", job, "ai", 1);
    rig_commit(r);
    const rig_sent *got = rig_last(r, "w", KV_JOB);
    assert_non_null(got);
    return got;
}

/* A client "c", and nothing else. */
static inline void rig_client(rig *r)
{
    rig_start(r, 1);
    rig_hello(r, "c", "client", "cli", 2);
}

static inline const kv_submit_ok *rig_submitted(const rig *r, uint64_t request)
{
    const rig_sent *s = rig_reply(r, request);
    assert_non_null(s);
    assert_int_equal(s->m.code, KV_SUBMIT_OK);
    return &s->m.submit_ok;
}

#define rig_expect_error(r, request_, number_)                                                     \
    do {                                                                                           \
        const rig_sent *rig_s_ = rig_reply((r), (request_));                                       \
        assert_non_null(rig_s_);                                                                   \
        assert_int_equal(rig_s_->m.code, KV_ERROR);                                                \
        assert_int_equal(rig_s_->m.error.number, (number_));                                       \
    } while (0)
#define rig_expect_code(r, request_, code_)                                                        \
    do {                                                                                           \
        const rig_sent *rig_s_ = rig_reply((r), (request_));                                       \
        assert_non_null(rig_s_);                                                                   \
        assert_int_equal(rig_s_->m.code, (code_));                                                 \
    } while (0)

#endif
