/* Commands about queues: how they are, and steering. */
#include <stdlib.h>

#include "broker/admin_views.h"
#include "proto/base/words.h"
#include "storage/read/jobs_list.h"

enum {
    PURGE_MS = 600 * 1000,
    DEAD_COUNTED = 100000 /* counting is a read, and reads are short */
};

/* ---- how they are ---- */

static void queues(kv_admin_call *call)
{
    kv_slice service = {"", 0};
    if (kv_admin_word(call, 0).len == 0 || kv_admin_service(call, 0, &service))
        kv_admin_inspect(call, &kv_view_queues, 1, service);
}

static void tenants(kv_admin_call *call)
{
    kv_slice service;
    if (kv_admin_service(call, 0, &service))
        kv_admin_inspect(call, &kv_view_tenants, 1, service);
}

static void draw_top(kv_admin_call *call)
{
    char now[KV_TIME_TEXT + 1];
    kv_time_format(kv_wall_ms(call->clock), now);
    if (!call->json)
        kv_buf_addf(call->out, "kervan %s  %.10s %.8s UTC\n\n", KERVAN_VERSION, now, now + 11);
    kv_admin_inspect(call, kv_views_top, kv_views_top_n, kv_admin_word(call, 0));
}

static void top(kv_admin_call *call)
{
    kv_slice service;
    if (kv_admin_word(call, 0).len == 0)
        draw_top(call);
    else if (kv_admin_service(call, 0, &service))
        kv_admin_with_queue(call, service, true, draw_top);
}

/* ---- pause, resume, drain, limit ---- */

/* A queue may be steered before its first job; a name that was mistyped is seen by it. */
static void on_set(kv_admin_call *call, const kv_msg *answer)
{
    kv_slice service = kv_admin_word(call, 0);
    (void)answer;
    kv_admin_done(call, "%.*s: %s is in force, and kept over restarts%s", KV_SLICE_FMT(service),
                  call->command->name,
                  call->known ? "" : "; it is a new queue, no job has come for it yet");
}

static void set(kv_admin_call *call, int64_t paused, int64_t draining)
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    m.queue_set.service = kv_admin_word(call, 0);
    m.queue_set.paused = paused;
    m.queue_set.draining = draining;
    kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_set);
}

static void set_paused(kv_admin_call *call)
{
    set(call, 1, -1);
}

static void set_resumed(kv_admin_call *call)
{
    set(call, 0, 0);
}

static void set_draining(kv_admin_call *call)
{
    set(call, -1, 1);
}

static void steer(kv_admin_call *call, bool must, kv_admin_fn then)
{
    kv_slice service;
    if (kv_admin_service(call, 0, &service))
        kv_admin_with_queue(call, service, must, then);
}

static void pause_queue(kv_admin_call *call)
{
    steer(call, false, set_paused);
}

static void resume(kv_admin_call *call)
{
    steer(call, true, set_resumed);
}

static void drain(kv_admin_call *call)
{
    steer(call, false, set_draining);
}

/* True: the option is not there, or what it says went to *ret. */
static bool read_count(kv_admin_call *call, const char *name, uint64_t min, uint64_t max,
                       int64_t *ret)
{
    uint64_t v = UINT64_MAX;
    if (!kv_admin_number_option(call, name, min, max, &v))
        return false;
    if (v != UINT64_MAX)
        *ret = (int64_t)v;
    return true;
}

static bool read_word(kv_admin_call *call, const char *name, uint64_t min, uint64_t max,
                      int64_t *ret)
{
    kv_slice word = kv_admin_option(call, name);
    (void)min, (void)max;
    if (!word.ptr)
        return true;
    *ret = kv_word_find(kv_overflow_names, KV_OVERFLOW_COUNT, word);
    if (*ret < 0)
        kv_admin_error(call, "bad_parameter", "overflow= is reject or evict.");
    return *ret >= 0;
}

/* Those have commands of their own. */
static bool read_flag(kv_admin_call *call, const char *name, uint64_t min, uint64_t max,
                      int64_t *ret)
{
    (void)call, (void)name, (void)min, (void)max, (void)ret;
    return true;
}

static bool read_limits(kv_admin_call *call, kv_queue_set *m)
{
    kv_slice tenant = kv_admin_option(call, "tenant");
    m->tenant_set = tenant.ptr != NULL;
    m->tenant = tenant.ptr ? tenant : kv_slice_of("", 0);
    if (tenant.len > 64) {
        kv_admin_error(call, "bad_parameter", "The name of a tenant has 64 bytes at most.");
        return false;
    }
#define READ(F, T, name, kind, option, low, high, unit, text)                                      \
    &&read_##kind(call, option, low, high, &m->name)
    return kv_admin_service(call, 0, &m->service) KV_QUEUE_SETTINGS(READ, , );
#undef READ
}

/* What goes together: in the words of the command, not of the message. */
static bool fits(kv_admin_call *call, const kv_queue_set *m)
{
    const char *why = NULL;
    if (m->weight >= 0 && !m->tenant_set)
        why = "weight= needs tenant=NAME: it is the share of a tenant in the queue.";
    else if (m->tenant_set && (m->max_waiting >= 0 || m->overflow >= 0))
        why = "max-waiting= and overflow= are of the whole queue: leave tenant= out.";
    if (why)
        kv_admin_error(call, "usage", "%s", why);
    return !why;
}

static bool says_nothing(const kv_queue_set *m)
{
#define UNSAID(F, T, name, kind, option, low, high, unit, text) &&m->name < 0
    return true KV_QUEUE_SETTINGS(UNSAID, , );
#undef UNSAID
}

static void set_limit(kv_admin_call *call)
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    if (read_limits(call, &m.queue_set))
        kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_set);
}

static void limit(kv_admin_call *call)
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    const kv_queue_set *set_to = &m.queue_set;
    if (!read_limits(call, &m.queue_set) || !fits(call, set_to))
        return;
    if (says_nothing(set_to))
        kv_admin_inspect(call, &kv_view_limits, 1, set_to->service);
    else
        kv_admin_with_queue(call, set_to->service, false, set_limit);
}

/* ---- purge ---- */

static void on_purged(kv_admin_call *call, const kv_msg *answer)
{
    if (call->json)
        kv_buf_addf(call->out, "{\"jobs\":%llu}", (unsigned long long)answer->okay.id);
    else
        kv_human_count(answer->okay.id, "job", call->out);
    kv_buf_addc(call->out, '\n');
    kv_admin_ok(call);
}

static bool purges_dead(const kv_admin_call *call)
{
    return kv_slice_is(kv_admin_word(call, 1), "dead");
}

static void purge_if_agreed(kv_admin_call *call, uint64_t count)
{
    kv_slice service = kv_admin_word(call, 0);
    bool dead = purges_dead(call), more = dead && count == DEAD_COUNTED;
    if (count > 0 && !kv_admin_agreed(kv_admin_word(call, 2), count)) {
        kv_admin_error(call, "confirm", "This %s %llu%s %s%s of \"%.*s\". Repeat it with: yes-%llu",
                       dead ? "removes" : "cancels", (unsigned long long)count,
                       more ? " or more" : "", dead ? "dead letter" : "waiting job",
                       count == 1 ? "" : "s", KV_SLICE_FMT(service), (unsigned long long)count);
        return;
    }
    kv_msg m;
    kv_msg_defaults(KV_PURGE, &m);
    m.purge.service = service;
    m.purge.what = purges_dead(call);
    kv_admin_ask(call, &m, PURGE_MS, on_purged);
}

static void on_count(kv_admin_call *call, const kv_msg *answer)
{
    json_t *page = kv_admin_json(call, answer->stats_ok.text);
    if (!page)
        return;
    uint64_t count = kv_view_waiting(json_array_get(json_object_get(page, "queues"), 0));
    json_decref(page);
    purge_if_agreed(call, count);
}

static void purge_dead(kv_admin_call *call, kv_slice service)
{
    kv_db *db = kv_admin_db(call);
    uint64_t count = 0;
    kv_err err = db ? kv_jobs_dead_count(db, service, DEAD_COUNTED, &count) : KV_OK;
    if (err != KV_OK)
        kv_admin_fail(call, err);
    else if (db)
        purge_if_agreed(call, count);
}

static void purge_known(kv_admin_call *call)
{
    kv_slice service = kv_admin_word(call, 0);
    if (purges_dead(call))
        purge_dead(call, service);
    else
        kv_admin_ask_inspect(call, "queues", service, 0, 1, on_count);
}

static void purge(kv_admin_call *call)
{
    kv_slice service;
    if (!kv_admin_service(call, 0, &service))
        return;
    if (purges_dead(call) || kv_slice_is(kv_admin_word(call, 1), "waiting"))
        kv_admin_with_queue(call, service, true, purge_known);
    else
        kv_admin_error(call, "bad_parameter", "Say what goes: purge SERVICE waiting, or dead.");
}

static void on_maintained(kv_admin_call *call, const kv_msg *answer)
{
    if (call->json) {
        kv_buf_addf(call->out, "{\"ended\":%llu}\n", (unsigned long long)answer->okay.id);
    } else {
        kv_human_count(answer->okay.id, "job", call->out);
        kv_buf_adds(call->out, " ended in error by it\n");
    }
    kv_admin_ok(call);
}

static void maintain(kv_admin_call *call)
{
    kv_msg m;
    kv_msg_defaults(KV_MAINTAIN, &m);
    kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_maintained);
}

static const kv_admin_command commands[] = {
    {"queues", "[SERVICE]", "what waits and runs, how fast it goes, and how it is; by name", 0, 1,
     NULL, false, queues},
    {"tenants", "SERVICE", "whose jobs wait and run in a queue", 1, 1, NULL, false, tenants},
    {"top", "[SERVICE]",
     "queues, what is worst first, and workers; kervan ctl draws it again each second", 0, 1, NULL,
     false, top},
    {"pause", "SERVICE", "no job begins any more; new ones are still taken", 1, 1, NULL, true,
     pause_queue},
    {"resume", "SERVICE", "the end of pause and drain", 1, 1, NULL, true, resume},
    {"drain", "SERVICE", "no new job is taken; what is there is worked off", 1, 1, NULL, true,
     drain},
    {"limit", "SERVICE [tenant= concurrency= rate= weight= max-waiting= overflow=]",
     "limits of a queue or of a tenant in it (0: none; rate a minute); without values: what they "
     "are",
     1, 1, "tenant,concurrency,rate,weight,max-waiting,overflow", true, limit},
    {"purge", "SERVICE waiting|dead [yes-N]", "cancel all that wait, or remove the dead letters", 2,
     3, NULL, true, purge},
    {"maintain", "", "look for stuck jobs and passed deadlines now, not in 30 s", 0, 0, NULL, true,
     maintain},
};
const kv_admin_module kv_admin_queues = {"Queues", commands, sizeof commands / sizeof commands[0]};
