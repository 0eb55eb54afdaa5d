/* The ledger with its thread, on a real file. */
#ifndef KV_TESTS_LEDGER_RIG_H
#define KV_TESTS_LEDGER_RIG_H

#include <poll.h>

#include "broker/ledger.h"
#include "tests/unit/exec_rig.h"
#include "tests/unit/scratch.h"

typedef struct thread_rig {
    scratch s;
    kv_ledger *ledger;
    uint64_t seq;
    kv_err health; /* as last heard */
} thread_rig;

static inline void thread_open_at(thread_rig *t, const kv_clock *clock)
{
    t->s.cfg.event_retention_hours = 72;
    t->s.cfg.job_retention_hours = 168;
    t->s.cfg.job_max_attempts = 3;
    assert_int_equal(kv_ledger_open(&t->s.cfg, clock, &t->ledger), KV_OK);
}

static inline void thread_open(thread_rig *t)
{
    thread_open_at(t, &kv_clock_real);
}

static inline void give(thread_rig *t, kv_cmd_list *list, kv_cmd *cmd)
{
    cmd->seq = t->seq += 2;
    kv_cmd_push(list, cmd);
}

static inline void take_some(thread_rig *t, kv_cmd_list *all, uint64_t *last_event)
{
    struct pollfd p = {.fd = kv_ledger_fd(t->ledger), .events = POLLIN};
    kv_ledger_out out;
    assert_true(poll(&p, 1, 10000) > 0);
    if (!kv_ledger_take(t->ledger, &out))
        return;
    for (const kv_event_row *row = out.rows; row && last_event; row = row->next) {
        assert_int_equal(row->prev, *last_event);
        assert_int_equal(row->first, *last_event + 1);
        *last_event = row->last;
    }
    t->health = out.health;
    kv_event_rows_free(&out.rows);
    kv_cmd_append(all, &out.cmds);
}

/* Waits until n commands came back; their order is that of their giving. */
static inline kv_cmd_list take(thread_rig *t, size_t n, uint64_t *last_event)
{
    kv_cmd_list all = {.n = 0};
    while (all.n < n)
        take_some(t, &all, last_event);
    return all;
}

#endif
