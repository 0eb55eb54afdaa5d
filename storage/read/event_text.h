/* How the log keeps the events of a commit: "[{"type":…},…]", without the members "id" and "at",
 * which are the row's `first`, counted on, and its `at`. Rows of before migration 7 have them; they
 * are taken as they are. Any thread.
 */
#ifndef KV_STORAGE_READ_EVENT_TEXT_H
#define KV_STORAGE_READ_EVENT_TEXT_H

#include "proto/base/buf.h"

/* The events as they were published: "[{"id":…,"type":…,"at":…},…]". `out` is cleared first. */
void kv_event_text(uint64_t first, int64_t at_ms, kv_slice kept, kv_buf *out);

/* Where the element of a JSON array ends that begins at `from` (behind '[' or ','): at its ',', at
 * the last ']', or at the array's end, should it be torn. */
size_t kv_event_end(kv_slice array, size_t from);

#endif
