/* What the image actor tells the broker of a picture in hand: how far it is and how it ended. An
 * answer that cannot be sent, or is not taken, is sent again by the actor's next tick. Called by
 * the actor's thread. */
#ifndef KV_IMAGE_ANSWER_H
#define KV_IMAGE_ANSWER_H

#include "actors/image/job.h"
#include "proto/actor.h"

/* The end of a picture, good or bad: one log line and the answer, JOB_DONE or JOB_FAIL. A cancelled
 * one is let go of without. */
void kv_image_finish(kv_image_job *j, kv_out *out);
void kv_image_fail(kv_image_job *j, kv_err err, bool retry, const char *detail, kv_out *out);
void kv_image_answer(kv_image_job *j, kv_out *out);                           /* once more */
void kv_image_tell_progress(kv_image_job *j, uint64_t progress, kv_out *out); /* 0: nothing */
/* A JOB over the credit of this worker: given back as it came. */
void kv_image_refuse(const kv_in *in, kv_out *out);
/* The lease is over, and the slot free. */
void kv_image_let_go(kv_image_job *j, kv_out *out);

#endif
