#include "actors/notifier.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "proto/base/text.h"
#include "proto/base/words.h"
#include "storage/read/events.h"
#include "storage/read/notifications.h"

enum {
    TICK_MS = 200,     /* how late a notification may be */
    READ_COMMITS = 32, /* a read of the log */
    READS = 64,        /* a tick; each is short, so that the log can be tidied up */
    ASK_MS = 30000,
    MARK_EVENTS = 5000, /* without anybody to tell, the mark moves on after so many, */
    MARK_MS = 600000,   /* or so long: it must not be left behind what is kept */
    FOUND_MAX = 4096,   /* a read ends above it */
    NOTICE_MAX = 4096,  /* bytes of NOTIFY's json */
    DETAIL_MAX = 512    /* of a detail in a notice that is too long; six times that when escaped */
};

typedef struct notice {
    struct notice *next;
    uint64_t event;
    char user[65], kind[33];
    char *json;
} notice;

typedef struct notifier {
    const kv_config *cfg;
    kv_db *db;             /* NULL: not open yet */
    bool known;            /* `marked` was read */
    bool asking;           /* a NOTIFY is on its way */
    uint64_t marked, read; /* as the ledger has it; how far the log was read */
    int64_t marked_us;     /* when that was heard */
    notice *first, *last;
    size_t found;
    kv_err failed; /* of the read that runs */
} notifier;

/* ---- events to notifications (pure) ---- */

static bool tells(const char *type)
{
    for (int i = KV_EVENT_JOB_COMPLETE; i <= KV_EVENT_JOB_CANCELLED; i++) {
        if (kv_slice_is(kv_event_names[i], type))
            return true;
    }
    return false;
}

static json_t *cut(const json_t *text)
{
    kv_slice s = kv_slice_of(json_string_value(text), json_string_length(text));
    s = kv_utf8_cut(s, DETAIL_MAX);
    return json_stringn(s.ptr, s.len);
}

/* NULL: no memory. Control characters grow when they are escaped: a detail that does not fit any
 * more is cut; the job has all of it. */
static char *notice_text(json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    const json_t *detail = json_object_get(body, "error_detail");
    if (!text || strlen(text) <= NOTICE_MAX || !detail)
        return text;
    free(text);
    return json_object_set_new(body, "error_detail", cut(detail)) == 0
               ? json_dumps(body, JSON_COMPACT)
               : NULL;
}

static void one_notice(const json_t *event, uint64_t after, void (*fn)(void *, const kv_notice *),
                       void *arg, kv_err *err)
{
    static const char *const kept[] = {"jobId",  "service", "status",      "attempt",
                                       "tenant", "error",   "error_detail"};
    const char *type = json_string_value(json_object_get(event, "type"));
    const char *user = json_string_value(json_object_get(event, "user"));
    uint64_t id = (uint64_t)json_integer_value(json_object_get(event, "id"));
    if (!type || !user || !user[0] || strlen(user) > 64 || id <= after || !tells(type))
        return;
    json_t *body = json_object();
    for (size_t i = 0; i < sizeof kept / sizeof *kept && body; i++) {
        json_t *v = json_object_get(event, kept[i]);
        if (v && json_object_set(body, kept[i], v) != 0)
            *err = KV_E_NO_MEMORY;
    }
    char *text = body ? notice_text(body) : NULL;
    if (text)
        fn(arg, &(kv_notice){id, kv_slice_str(user), kv_slice_str(type), kv_slice_str(text)});
    else
        *err = KV_E_NO_MEMORY;
    free(text);
    json_decref(body);
}

kv_err kv_notices_of(kv_slice events, uint64_t after, void (*fn)(void *arg, const kv_notice *n),
                     void *arg)
{
    static const char user[] = "\"user\":\"";
    kv_err err = KV_OK;
    if (events.len == 0 || !memmem(events.ptr, events.len, user, sizeof user - 1))
        return KV_OK; /* most commits: nothing is parsed */
    json_t *array =
        json_loadb(events.ptr, events.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (!json_is_array(array))
        err = KV_E_BAD_MESSAGE;
    for (size_t i = 0; err == KV_OK && i < json_array_size(array); i++)
        one_notice(json_array_get(array, i), after, fn, arg, &err);
    json_decref(array);
    return err;
}

/* ---- reading the log ---- */

static void keep(void *arg, const kv_notice *n)
{
    notifier *self = arg;
    notice *kept = calloc(1, sizeof *kept);
    char *json = strndup(n->json.ptr, n->json.len);
    if (!kept || !json) {
        free(kept);
        free(json);
        self->failed = KV_E_NO_MEMORY;
        return;
    }
    kept->event = n->event;
    kept->json = json;
    memcpy(kept->user, n->user.ptr, n->user.len);
    memcpy(kept->kind, n->kind.ptr, n->kind.len);
    if (self->last)
        self->last->next = kept;
    else
        self->first = kept;
    self->last = kept;
    self->found++;
}

static bool on_commit(void *arg, uint64_t first, uint64_t last, kv_slice events)
{
    notifier *self = arg;
    if (self->failed == KV_OK)
        self->failed = kv_notices_of(events, self->read, keep, self);
    if (self->failed == KV_E_BAD_MESSAGE) { /* it will not get better: others must be told */
        kv_log(KV_LOG_ERROR, "notifications_unreadable", KV_U64("first", first),
               KV_U64("last", last));
        self->failed = KV_OK;
    }
    if (self->failed == KV_OK)
        self->read = last;
    return self->failed == KV_OK && self->found < FOUND_MAX;
}

static void pop(notifier *self)
{
    notice *n = self->first;
    self->first = n->next;
    if (!self->first)
        self->last = NULL;
    self->found--;
    free(n->json);
    free(n);
}

/* From the ledger's mark on, all over again. */
static void forget(notifier *self)
{
    while (self->first)
        pop(self);
    self->known = false;
}

static void set_mark(notifier *self, uint64_t mark, kv_out *out)
{
    self->marked = mark;
    self->marked_us = kv_mono_us(kv_out_clock(out));
}

static kv_err know_mark(notifier *self, kv_out *out)
{
    uint64_t mark;
    kv_db_close_moved(&self->db);
    if (!self->db) {
        forget(self); /* another database has a mark of its own */
        KV_TRY(kv_db_open(self->cfg, KV_DB_READ, &self->db));
    }
    if (!self->known) {
        KV_TRY(kv_notified_get(self->db, &mark));
        set_mark(self, mark, out);
        self->read = mark;
        self->known = true;
    }
    return KV_OK;
}

/* It was away for longer than events are kept: what is left of them is told. */
static kv_err pass_lost(notifier *self)
{
    uint64_t oldest, newest;
    KV_TRY(kv_events_kept(self->db, &oldest, &newest));
    kv_log(KV_LOG_WARN, "notifications_missed", KV_U64("after", self->read),
           KV_U64("oldest", oldest), KV_U64("newest", newest));
    self->read = self->read < oldest ? oldest - 1 : newest;
    return KV_OK;
}

static kv_err read_log(notifier *self)
{
    self->failed = KV_OK;
    kv_err err = kv_events_after(self->db, self->read, READ_COMMITS, on_commit, self);
    if (err == KV_E_NOT_FOUND)
        return pass_lost(self);
    return err == KV_OK ? self->failed : err;
}

/* ---- telling the ledger ---- */

static void tell(notifier *self, kv_out *out);

static void on_answer(void *arg_self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    notifier *self = arg_self;
    (void)arg;
    (void)answer;
    self->asking = false;
    if (err != KV_OK) {
        if (err != KV_E_BROKER_AWAY)
            kv_log(KV_LOG_WARN, "notify_refused", KV_ERRNAME("code", err));
        forget(self); /* the tick reads the mark again */
        return;
    }
    if (self->first) {
        set_mark(self, self->first->event, out);
        pop(self);
    } else {
        set_mark(self, self->read, out);
    }
    tell(self, out);
}

/* Nobody is to be told, but all who were are behind us. */
static bool mark_is_old(const notifier *self, kv_out *out)
{
    return self->read - self->marked >= MARK_EVENTS ||
           (self->read != self->marked &&
            kv_mono_us(kv_out_clock(out)) - self->marked_us >= MARK_MS * 1000LL);
}

static void tell(notifier *self, kv_out *out)
{
    kv_msg m;
    const notice *n = self->first;
    if (self->asking || (!n && !mark_is_old(self, out)))
        return;
    kv_msg_defaults(KV_NOTIFY, &m);
    m.notify.event = n ? n->event : self->read;
    if (n) {
        m.notify.user = kv_slice_str(n->user);
        m.notify.kind = kv_slice_str(n->kind);
        m.notify.json = kv_slice_str(n->json);
    }
    self->asking = kv_out_ask(out, NULL, &m, ASK_MS, on_answer, NULL) == KV_OK;
}

/* ---- shell ---- */

static void tick(void *arg, int64_t now_us, kv_out *out)
{
    notifier *self = arg;
    (void)now_us;
    if (self->asking)
        return;
    kv_err err = know_mark(self, out);
    uint64_t before = self->read - 1;
    /* one that could not be asked for waits still: no more is read then, and it is told again */
    for (int i = 0; err == KV_OK && i < READS && !self->first && self->read != before; i++) {
        before = self->read;
        err = read_log(self);
    }
    if (err != KV_OK) {
        kv_log(KV_LOG_WARN, "notifier_cannot_read", KV_ERRNAME("code", err));
        forget(self);
        return;
    }
    tell(self, out);
}

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    notifier *self = calloc(1, sizeof *self);
    (void)arg;
    if (!self)
        return KV_E_NO_MEMORY;
    self->cfg = cfg;
    *ret_self = self;
    return KV_OK;
}

static void destroy(void **arg)
{
    notifier *self = *arg;
    if (!self)
        return;
    forget(self);
    kv_db_close(&self->db);
    free(self);
    *arg = NULL;
}

static bool drained(void *arg)
{
    (void)arg;
    return true; /* what is not told yet is told by the next one */
}

static const kv_handler handlers[] = {{0, NULL}};

const kv_actor_def kv_notifier_actor = {
    .name = KV_WORKER_NOTIFIER,
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
    .tick = tick,
    .tick_ms = TICK_MS,
    .drained = drained,
};
