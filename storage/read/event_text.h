/* How the log keeps the events of a commit: "[{"type":…},…]", without the members "id" and "at",
 * which are the row's `first`, counted on, and its `at`. Rows of before migration 7 have them; all
 * but their ids is taken as it is. Any thread.
 *
 * Since migration 8 a job's event that says of another job what an earlier one of its row said is
 * {"0":"06yc01sk9smxh"}: the number of that one among the row's first KV_EVENT_LIKES whole events
 * of jobs, the id of the job, and then what is its own ("user" to "error_detail"), if anything.
 */
#ifndef KV_STORAGE_READ_EVENT_TEXT_H
#define KV_STORAGE_READ_EVENT_TEXT_H

#include "proto/base/buf.h"

enum { KV_EVENT_LIKES = 10 };

/* Where a whole event of a job has its parts, in bytes from its '{'. */
typedef struct kv_event_parts {
    size_t type_end; /* behind the type's closing quote */
    size_t id;       /* the job's, KV_ID_TEXT characters */
    size_t own;      /* behind attempt and lane: ",\"user\":…}", or "}" */
} kv_event_parts;

/* False: no such event. Writer and reader of the log number by it what may be referred to. */
bool kv_event_parts_of(kv_slice event, kv_event_parts *ret);

/* The events as they were published: "[{"id":…,"type":…,"at":…},…]". `out` is cleared first. */
void kv_event_text(uint64_t first, int64_t at_ms, kv_slice kept, kv_buf *out);

/* Where the element of a JSON array ends that begins at `from` (behind '[' or ','): at its ',', at
 * the last ']', or at the array's end, should it be torn. */
size_t kv_event_end(kv_slice array, size_t from);

#endif
