/* events: the event log, from the database, and followed. */
#include <stdlib.h>

#include "broker/admin_cmd.h"
#include "storage/read/events.h"

enum {
    LAST = 20,            /* shown without after= */
    COMMITS = 200,        /* read at once */
    PAGE_OUT = 128 << 10, /* bytes written at once */
    FOLLOW_MS = 200,
    REST_MAX = 300
};

typedef struct reader {
    kv_admin_call *call;
    uint64_t after, left;
    bool follow;
    size_t out_until; /* length of the output at which a page ends */
    bool full;
} reader;

/* All but what stands in front. */
static void rest_text(const json_t *event, kv_buf *out)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)event, key, value)
    {
        if (strcmp(key, "id") == 0 || strcmp(key, "at") == 0 || strcmp(key, "type") == 0)
            continue;
        kv_buf_addf(out, "%s%s=", out->len ? " " : "", key);
        kv_column_text(event, key, KV_COLUMN_TEXT, out);
    }
}

static void show(kv_admin_call *call, const json_t *event)
{
    kv_buf text;
    if (call->json) {
        kv_admin_dump(call, event);
        return;
    }
    kv_buf_init(&text, 1 << 20);
    kv_buf_addf(&text, "%lld  ", (long long)json_integer_value(json_object_get(event, "id")));
    kv_column_text(event, "at", KV_COLUMN_TIME, &text);
    kv_buf_adds(&text, "  ");
    size_t begun = text.len;
    kv_column_text(event, "type", KV_COLUMN_TEXT, &text);
    kv_buf_addf(&text, "%*s", text.len - begun < 20 ? (int)(20 - (text.len - begun)) : 1, "");
    kv_plain_text(kv_buf_slice(&text), 0, call->out);
    kv_buf_clear(&text);
    rest_text(event, &text);
    kv_plain_text(kv_buf_slice(&text), REST_MAX, call->out);
    kv_buf_addc(call->out, '\n');
    kv_buf_release(&text);
}

/* A commit, from the first event that was not shown on. False: enough for now. */
static bool on_commit(void *arg, uint64_t first, uint64_t last, kv_slice body)
{
    reader *r = arg;
    json_t *events = json_loadb(body.ptr, body.len, JSON_ALLOW_NUL, NULL);
    for (size_t i = 0; i < json_array_size(events) && !r->full; i++) {
        uint64_t id = first + i;
        if (id <= r->after)
            continue;
        show(r->call, json_array_get(events, i));
        r->after = id;
        r->left--;
        r->full = r->left == 0 || r->call->out->len > r->out_until;
    }
    if (!r->full) /* also where not all of it can be shown: the next one */
        r->after = last;
    json_decref(events);
    return !r->full;
}

static void page(kv_admin_call *call)
{
    reader *r = call->state;
    if (r->follow && kv_admin_interrupted(call)) {
        kv_admin_ok(call);
        return;
    }
    kv_db *db = kv_admin_db(call);
    if (!db)
        return;
    uint64_t before = r->after;
    r->full = false;
    r->out_until = call->out->len + PAGE_OUT;
    kv_err err = kv_events_after(db, r->after, COMMITS, on_commit, r);
    if (err == KV_E_NOT_FOUND)
        kv_admin_error(call, "not_found",
                       "Event %llu is not kept any more (EVENT_RETENTION_HOURS), or not there yet; "
                       "\"events\" shows the newest, after=0 all that are kept.",
                       (unsigned long long)r->after);
    else if (err != KV_OK)
        kv_admin_fail(call, err);
    else if (r->left == 0 || (r->after == before && !r->follow))
        kv_admin_ok(call);
    else
        kv_admin_again(call, r->after == before ? FOLLOW_MS : 1, page);
}

/* Where the newest few begin. */
static kv_err find_start(kv_admin_call *call, reader *r)
{
    kv_db *db = kv_admin_db(call);
    if (!db)
        return KV_E_DB;
    kv_err err = kv_events_last(db, &r->after);
    if (err != KV_OK) {
        kv_admin_fail(call, err);
        return err;
    }
    uint64_t back = r->left < LAST ? r->left : LAST;
    uint64_t newest = r->after;
    r->after = newest > back ? newest - back : 0;
    if (kv_events_after(db, r->after, 0, on_commit, r) == KV_E_NOT_FOUND)
        r->after = 0; /* so few are kept */
    return KV_OK;
}

static void events(kv_admin_call *call)
{
    kv_slice word = kv_admin_word(call, 0);
    reader *r = calloc(1, sizeof *r);
    if (!r) {
        kv_admin_fail(call, KV_E_NO_MEMORY);
        return;
    }
    r->call = call;
    r->left = UINT64_MAX;
    call->state = r;
    call->drop = free;
    r->follow = kv_slice_is(word, "follow");
    if (word.len > 0 && !r->follow) {
        kv_admin_error(call, "usage", "usage: events [after=ID] [limit=N] [follow]");
        return;
    }
    if (!kv_admin_number_option(call, "after", 0, INT64_MAX, &r->after) ||
        !kv_admin_number_option(call, "limit", 1, INT64_MAX, &r->left))
        return;
    if (kv_admin_option(call, "after").ptr || find_start(call, r) == KV_OK)
        page(call);
}

static const kv_admin_command commands[] = {
    {"events", "[after=ID] [limit=N] [follow]",
     "the newest, or those after one; follow: until a line is sent", 0, 1, "after,limit", false,
     events},
};
const kv_admin_module kv_admin_events = {"Events", commands, sizeof commands / sizeof commands[0]};
