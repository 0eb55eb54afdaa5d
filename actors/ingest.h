/* The ingest actors of one gateway: scanner, hasher, store (one of each a pipeline), placers and
 * dedup, as threads.
 *
 * The HTTP loops post UPLOAD_BEGIN, UPLOAD_CHUNK…, UPLOAD_END or UPLOAD_ABORT to the scanner inbox
 * of the upload's pipeline, or UPLOAD_WHOLE alone, and get UPLOAD_DONE in their own inbox (inproc,
 * bound by the loop before kv_ingest_start). UPLOAD_DONE comes exactly once for each UPLOAD_BEGIN
 * and UPLOAD_WHOLE, also early (a refused type) and also after UPLOAD_ABORT, when nothing of the
 * upload is left. After an early one the loop may go on sending; it is ignored. Payloads are
 * released when store and hasher are done with them: the free function of zmq_msg_init_data is the
 * loop's credit. Order inside a pipeline is kept. */
#ifndef KV_ACTORS_INGEST_H
#define KV_ACTORS_INGEST_H

#include "proto/base/clock.h"
#include "proto/base/config.h"
#include "proto/base/error.h"

kv_err kv_ingest_start(void *zmq, const kv_config *cfg, const kv_clock *clock, unsigned loops,
                       void **ret);
/* Waits until no upload is in flight, at most deadline_ms, then stops the threads and clears *self.
 */
void kv_ingest_stop(void **self, int64_t deadline_ms);

#endif
