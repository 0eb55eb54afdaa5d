/* Positions in JSON: what the broker says of waiting jobs, put into jobs as the database has them.
 * Pure; any thread. */
#ifndef KV_GATEWAY_POSITION_H
#define KV_GATEWAY_POSITION_H

#include "proto/base/buf.h"
#include "proto/messages.h"

#define KV_POSITIONS_MAX 256 /* of one POSITION message */

/* One element of POSITIONS; the values are raw JSON. */
typedef struct kv_rank {
    uint64_t job;
    kv_slice status, queue, lane, eta;
} kv_rank;

/* false: not an element of POSITIONS. */
bool kv_position_of(kv_slice json, kv_rank *ret);
/* At most `max` of them; returns how many. */
size_t kv_positions_of(kv_slice array, kv_rank *ret, size_t max);

/* ,"queue_position":…,"lane_position":…,"eta_seconds":… behind other members: of `p`, or null where
 * it is NULL. */
void kv_position_put(kv_buf *out, const kv_rank *p);
/* A job's JSON with its position: 0 while processing, null when terminal; `p` (may be NULL) counts
 * while it waits. */
void kv_position_into(kv_buf *out, kv_slice job_json, const kv_rank *p);
bool kv_position_waits(kv_slice job_json, uint64_t *ret_id); /* status queued */

/* {"jobId","status","queue_position","lane_position","eta_seconds","created"} */
void kv_submitted_json(kv_buf *out, const kv_submit_ok *ok);

#endif
