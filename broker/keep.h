/* How a row of the log keeps one more event: short, when it says of another job what an earlier one
 * of the row said (storage/read/event_text.h). The ledger's thread. */
#ifndef KV_BROKER_KEEP_H
#define KV_BROKER_KEEP_H

#include "storage/read/event_text.h"

/* What the row has so far that may be referred to; all zero at its begin. */
typedef struct kv_keep {
    struct {
        size_t from; /* in the row's text */
        kv_event_parts at;
    } like[KV_EVENT_LIKES];
    int n;
} kv_keep;

/* The published event in two pieces: "type":"…" and what stands behind "at":…, with its '}'. `own`:
 * where in `rest` begins what is only this job's; 0: not a job's, kept whole. On no memory `kept`
 * has failed. */
void kv_keep_event(kv_keep *k, kv_buf *kept, kv_slice type, kv_slice rest, size_t own);

#endif
