/* What a SUBMIT may ask for, and the command that is made of it. */
#include "broker/core_types.h"

#include "broker/json_check.h"
#include "broker/services.h"

bool kv_json_is_object(kv_slice text)
{
    size_t i = 0;
    while (i < text.len && strchr(" \n\t\r", text.ptr[i]) && text.ptr[i])
        i++;
    return i < text.len && text.ptr[i] == '{' && kv_json_valid(text);
}

/* Names go into logs, lists and JSON: no control characters. */
bool kv_text_plain(kv_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return false;
    }
    return true;
}

/* Words joined by single commas. */
static bool tags_valid(kv_slice tags)
{
    size_t words = 0;
    if (tags.len == 0)
        return true;
    for (size_t i = 0, from = 0; i <= tags.len; i++) {
        if (i < tags.len && tags.ptr[i] != ',')
            continue;
        if (++words > KV_TAGS_MAX || !kv_tag_valid(kv_slice_of(tags.ptr + from, i - from)))
            return false;
        from = i + 1;
    }
    return true;
}

static const char *job_wrong(const kv_submit *m)
{
    if (m->job == 0 || m->job >> 63)
        return "a job id is a number of 63 bits, not 0";
    if (m->retry_of >> 63)
        return "retry_of is a job id: a number of 63 bits";
    if (!kv_service_name_valid(m->service))
        return KV_SERVICE_NAMES;
    if (kv_service_reserved(m->service))
        return "jobs of this service are made by kervan itself";
    if (m->backoff_ms && m->backoff_max_ms && m->backoff_max_ms < m->backoff_ms)
        return "backoff_max_ms is not below backoff_ms";
    return NULL;
}

static const char *text_wrong(const kv_submit *m)
{
    if (m->params.len && !kv_json_valid(m->params))
        return "params is not valid JSON";
    if (m->metadata.len && !kv_json_is_object(m->metadata))
        return "metadata is not a JSON object";
    if (!tags_valid(m->tags))
        return "tags are at most 8 words of [A-Za-z0-9_.:-]{1,64}, joined by commas";
    if (!kv_text_plain(m->tenant) || !kv_text_plain(m->unique_key) || !kv_text_plain(m->user) ||
        !kv_text_plain(m->operation))
        return "tenant, unique_key, user and operation hold no control characters";
    if (m->credits && !m->user.len)
        return "credits are held of a user: name one";
    return NULL;
}

const char *kv_submit_wrong(const kv_submit *m)
{
    const char *wrong = job_wrong(m);
    if (!wrong)
        wrong = text_wrong(m);
    return !wrong && m->deadline_ms >> 53 ? "deadline_ms is Unix time in milliseconds" : wrong;
}

bool kv_submit_late(const kv_core *c, const kv_submit *m, kv_refusal *ret)
{
    uint64_t now = (uint64_t)c->now.wall_ms;
    if (m->deadline_ms && m->deadline_ms <= now)
        *ret = (kv_refusal){KV_E_JOB_DEADLINE, NULL, 0};
    else if (m->deadline_ms && m->deadline_ms <= now + m->delay_ms)
        *ret = (kv_refusal){KV_E_BAD_PARAMETER, "the delay ends after the deadline", 0};
    else
        return false;
    return true;
}

/* An empty option is none. */
static kv_slice keep(kv_cmd *cmd, kv_slice s)
{
    return s.len ? kv_cmd_keep(cmd, s) : kv_slice_of(NULL, 0);
}

kv_cmd *kv_submit_command(kv_core *c, const kv_from *from, const kv_submit *m)
{
    kv_slice params = m->params.len ? m->params : kv_slice_str("null");
    size_t bytes = m->service.len + m->tenant.len + params.len + m->unique_key.len + m->tags.len +
                   m->user.len + m->operation.len + m->metadata.len;
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_SUBMIT, bytes);
    if (!cmd)
        return NULL;
    cmd->submit = (kv_cmd_submit){
        .job = m->job,
        .max_attempts = m->max_attempts ? m->max_attempts : c->opts.job_max_attempts,
        .lane = (int)m->lane,
        .not_before = m->delay_ms ? c->now.wall_ms + (int64_t)m->delay_ms : 0,
        .backoff_ms = m->backoff_ms,
        .backoff_max_ms = m->backoff_max_ms,
        .retention_s = m->retention_s,
        .credits = m->credits,
        .retry_of = m->retry_of,
        .deadline_ms = (int64_t)m->deadline_ms,
        .service = kv_cmd_keep(cmd, m->service),
        .tenant = kv_cmd_keep(cmd, m->tenant),
        .params = kv_cmd_keep(cmd, params),
        .unique_key = keep(cmd, m->unique_key),
        .tags = keep(cmd, m->tags),
        .user = keep(cmd, m->user),
        .operation = keep(cmd, m->operation),
        .metadata = keep(cmd, m->metadata)};
    cmd->seq = kv_core_seq(c);
    return cmd;
}
