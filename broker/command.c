#include "broker/command.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_LIMIT = KV_JSON_MAX * 4 };

kv_cmd *kv_cmd_new(kv_cmd_type type, size_t bytes)
{
    kv_cmd *cmd = malloc(sizeof *cmd + bytes);
    if (!cmd)
        return NULL;
    memset(cmd, 0, sizeof *cmd);
    cmd->type = type;
    cmd->cap = bytes;
    kv_buf_init(&cmd->text, TEXT_LIMIT);
    return cmd;
}

void kv_cmd_free(kv_cmd **cmdp)
{
    kv_cmd *cmd = *cmdp;
    if (!cmd)
        return;
    kv_buf_release(&cmd->text);
    free(cmd);
    *cmdp = NULL;
}

kv_slice kv_cmd_keep(kv_cmd *cmd, kv_slice s)
{
    if (!s.ptr)
        return s;
    assert(s.len <= cmd->cap - cmd->used);
    char *to = cmd->store + cmd->used;
    memcpy(to, s.ptr, s.len);
    cmd->used += s.len;
    return kv_slice_of(to, s.len);
}

kv_setting kv_cmd_setting(const kv_cmd *cmd)
{
    const kv_queue_set *m = &cmd->queue_set;
#define SAME(F, T, name, kind, option, low, high, unit, text) .name = m->name,
    return (kv_setting){.service = m->service,
                        .tenant = m->tenant_set ? m->tenant : kv_slice_str(""),
                        .of_tenant = m->tenant_set,
                        KV_QUEUE_SETTINGS(SAME, , )};
#undef SAME
}

const char *kv_cmd_job_is(int state)
{
    static const char *const said[] = {"the job is queued", "the job is processing",
                                       "the job is complete", "the job is in error",
                                       "the job is cancelled"};
    return said[state];
}

void kv_cmd_reset(kv_cmd *cmd)
{
    cmd->err = KV_OK;
    cmd->detail = NULL;
    cmd->place = (kv_job_place){.found = false};
    cmd->created = cmd->deduplicated = cmd->setting_removed = false;
    cmd->media = cmd->gone_seq = cmd->other = 0;
    cmd->account = (kv_credit_ok){.transaction = 0};
    kv_buf_clear(&cmd->text);
    cmd->jobs_n = 0;
}

static bool is_asked(const kv_cmd *cmd)
{
    return cmd->request != 0 || cmd->batch;
}

void kv_cmd_push(kv_cmd_list *list, kv_cmd *cmd)
{
    cmd->next = NULL;
    if (list->last)
        list->last->next = cmd;
    else
        list->first = cmd;
    list->last = cmd;
    list->n++;
    list->asked += is_asked(cmd);
}

kv_cmd *kv_cmd_pop(kv_cmd_list *list)
{
    kv_cmd *cmd = list->first;
    if (!cmd)
        return NULL;
    list->first = cmd->next;
    if (!list->first)
        list->last = NULL;
    list->n--;
    list->asked -= is_asked(cmd);
    cmd->next = NULL;
    return cmd;
}

void kv_cmd_append(kv_cmd_list *list, kv_cmd_list *tail)
{
    if (!tail->first)
        return;
    if (list->last)
        list->last->next = tail->first;
    else
        list->first = tail->first;
    list->last = tail->last;
    list->n += tail->n;
    list->asked += tail->asked;
    *tail = (kv_cmd_list){.n = 0};
}
