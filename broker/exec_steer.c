/* What operators change. */
#include "broker/exec.h"

#include "storage/write/settings.h"

enum { PURGE_ROWS = 1000 };

kv_err kv_exec_queue_set(kv_exec *x, kv_cmd *cmd)
{
    const kv_queue_set *m = &cmd->queue_set;
    kv_setting set = kv_cmd_setting(cmd);
    KV_TRY(kv_setting_set(x->db, &set, &cmd->setting_removed));
    kv_buf *b = kv_exec_event(x, KV_EVENT_QUEUE_CHANGED);
    if (!b)
        return KV_E_NO_MEMORY;
    kv_json_key(b, "service");
    kv_json_str(b, m->service);
    return kv_exec_event_end(x);
}

/* A slice: whoever asks asks again until nothing goes. */
kv_err kv_exec_purge_dead(kv_exec *x, kv_cmd *cmd)
{
    int64_t removed;
    KV_TRY(kv_jobs_purge_dead(x->db, cmd->service, PURGE_ROWS, &removed));
    cmd->other = (uint64_t)removed;
    return KV_OK;
}
