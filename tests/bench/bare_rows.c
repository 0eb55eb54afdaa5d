#include "tests/bench/bare_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/exec.h"
#include "proto/codec.h"

static const int64_t LOG_ROOM = 24 << 20; /* as the ledger's */

static kv_exec exec;
static kv_id_maker ids;

static void must(const char *what, kv_err err)
{
    if (err == KV_OK)
        return;
    fprintf(stderr, "bare: %s: %s\n", what, kv_err_info_of(err)->slug);
    exit(1);
}

void bare_rows_open(const char *folder)
{
    kv_config cfg = {.data = folder,
                     .durability = "full",
                     .database_url = "",
                     .media_base_url = "",
                     .job_max_attempts = 3};
    kv_id_maker_init(&ids, kv_id_random_node());
    must("database", kv_exec_open(&cfg, &kv_clock_real, &exec));
    must("room in the log", kv_db_wal_extend(exec.db, LOG_ROOM));
}

void bare_rows_begin(void)
{
    must("begin", kv_exec_begin(&exec));
}

void bare_rows_add(const unsigned char hash[32], size_t size)
{
    kv_msg m;
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MEDIA_COMMIT, 0);
    if (!cmd)
        must("memory", KV_E_NO_MEMORY);
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    cmd->commit = m.media_commit;
    cmd->commit.media = kv_id_make(&ids, &kv_clock_real);
    cmd->commit.folder = kv_slice_str("bench");
    cmd->commit.filename = kv_slice_str("a.png");
    cmd->commit.hash = cmd->commit.stored_hash = kv_slice_of((const char *)hash, 32);
    cmd->commit.size = size;
    cmd->commit.mime = kv_slice_str("image/png");
    cmd->commit.ext = kv_slice_str("png");
    cmd->commit.width = 640;
    cmd->commit.height = 480;
    must("row", kv_exec_run(&exec, cmd, NULL));
    must("row", cmd->err);
    kv_cmd_free(&cmd);
}

void bare_rows_commit(void)
{
    must("commit", kv_exec_commit(&exec));
    kv_event_row *rows = kv_exec_take_rows(&exec);
    kv_event_rows_free(&rows);
}
