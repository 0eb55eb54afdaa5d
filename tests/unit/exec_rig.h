/* The ledger's commands on a database in memory, without its thread: a transaction a call, with a
 * fake clock. */
#ifndef KV_TESTS_EXEC_RIG_H
#define KV_TESTS_EXEC_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "broker/exec.h"
#include "broker/hooks.h"
#include "proto/codec.h"
#include "storage/read/jobs.h"
#include "storage/read/media.h"
#include "tests/unit/event_log.h"

typedef struct rig {
    kv_fake_clock clock;
    kv_exec x;
    uint64_t seq;
    kv_buf events;       /* all bodies since rig_forget, joined */
    kv_cmd_job made[64]; /* jobs the ledger made */
    int made_n;
} rig;

static inline void rig_start(rig *r)
{
    kv_db *db;
    memset(r, 0, sizeof *r);
    kv_fake_clock_init(&r->clock, 1790000000000);
    kv_buf_init(&r->events, 0);
    assert_int_equal(kv_db_open_memory(&db), KV_OK);
    assert_int_equal(kv_exec_attach(db, "", 3, &r->clock.clock, &r->x), KV_OK);
}

static inline void rig_stop(rig *r)
{
    kv_exec_close(&r->x);
    kv_buf_release(&r->events);
}

static inline void rig_collect(rig *r)
{
    kv_event_row *rows = kv_exec_take_rows(&r->x);
    for (kv_event_row *row = rows; row; row = row->next) {
        kv_buf_add(&r->events, row->body.data, row->body.len);
        assert_true(event_log_has(r->x.db, row));
    }
    kv_event_rows_free(&rows);
}

/* Executes and commits one command; gives it back for its result. */
static inline kv_cmd *rig_run(rig *r, kv_cmd *cmd)
{
    cmd->seq = r->seq += 2;
    kv_fake_clock_advance(&r->clock, 1);
    assert_int_equal(kv_exec_begin(&r->x), KV_OK);
    assert_int_equal(kv_exec_run(&r->x, cmd, NULL), KV_OK);
    assert_int_equal(kv_exec_commit(&r->x), KV_OK);
    rig_collect(r);
    for (int i = 0; i < cmd->jobs_n; i++) {
        assert_true(r->made_n < 64);
        r->made[r->made_n++] = cmd->jobs[i];
    }
    return cmd;
}

/* The same where only how it ended matters. */
static inline kv_err rig_end(rig *r, kv_cmd *cmd)
{
    kv_err err = rig_run(r, cmd)->err;
    kv_cmd_free(&cmd);
    return err;
}

/* MEDIA_DELETE, MEDIA_RETRY. */
static inline kv_err rig_change(rig *r, kv_cmd_type type, uint64_t media)
{
    kv_cmd *cmd = kv_cmd_new(type, 0);
    cmd->id = media;
    return rig_end(r, cmd);
}

static inline bool rig_saw(const rig *r, const char *text)
{
    return strstr(kv_buf_str(&r->events), text) != NULL;
}

static inline void rig_forget(rig *r)
{
    kv_buf_clear(&r->events);
}

/* `sql` is a literal: statements are cached by its address. */
static inline int64_t rig_number(rig *r, const char *sql)
{
    kv_stmt *s;
    bool row;
    int64_t v = -1;
    assert_int_equal(kv_db_prepare(r->x.db, sql, &s), KV_OK);
    assert_int_equal(kv_db_step(s, &row), KV_OK);
    if (row)
        v = kv_col_i64(s, 0);
    kv_db_done(s);
    return v;
}

/* An ordinary job; a test changes what it is about. */
static inline kv_cmd *rig_submit_cmd(uint64_t job, const char *service)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_SUBMIT, 0);
    cmd->submit = (kv_cmd_submit){.job = job,
                                  .max_attempts = 3,
                                  .lane = 1,
                                  .service = kv_slice_str(service),
                                  .tenant = kv_slice_str(""),
                                  .params = kv_slice_str("{\"n\":1}")};
    return cmd;
}

/* What `sql` reads is the time of the last command. */
static inline void rig_stamped(rig *r, const char *sql)
{
    assert_int_equal(rig_number(r, sql), kv_wall_ms(&r->clock.clock));
}

/* A job goes through a lease to its end. */
static inline kv_err rig_move(rig *r, uint64_t job, const char *service, int from, int to,
                              uint64_t attempt, const char *result, const char *error)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MOVE, 0);
    bool lease = to == KV_JOB_PROCESSING;
    cmd->code = lease ? 0 : KV_JOB_DONE;
    cmd->move = (kv_cmd_move){.job = job,
                              .from = from,
                              .to = to,
                              .epoch = from == KV_JOB_PROCESSING ? 1 : 0,
                              .attempt = lease ? attempt - 1 : attempt,
                              .new_epoch = 1,
                              .new_attempt = attempt,
                              .service = kv_slice_str(service),
                              .worker = kv_slice_str("w\"1"),
                              .result = kv_slice_str(result),
                              .error = kv_slice_str(error),
                              .error_detail = kv_slice_str(error ? "why" : NULL)};
    return rig_end(r, cmd);
}

#endif
