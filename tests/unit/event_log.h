/* Reads a commit's events back from the log. */
#ifndef KV_TESTS_EVENT_LOG_H
#define KV_TESTS_EVENT_LOG_H

#include <string.h>

#include "broker/exec.h"
#include "storage/read/events.h"

typedef struct event_reread {
    const kv_event_row *row;
    bool same;
} event_reread;

static inline bool event_reread_compare(void *arg, uint64_t first, uint64_t last, kv_slice events)
{
    event_reread *r = arg;
    r->same = first == r->row->first && last == r->row->last && events.len == r->row->body.len &&
              memcmp(events.ptr, r->row->body.data, events.len) == 0;
    return true;
}

/* What is published is what the log will say. */
static inline bool event_log_has(kv_db *db, const kv_event_row *row)
{
    event_reread r = {.row = row};
    return kv_events_after(db, row->prev, 1, event_reread_compare, &r) == KV_OK && r.same;
}

#endif
