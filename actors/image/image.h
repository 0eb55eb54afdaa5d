/* The image actor, service "image-process": a job is one picture, handed to a sandboxed child of
 * its own.
 *
 * params {"blob":"<id>","key":"banners/<hash>.jpg","mime":"image/jpeg"}. Result as
 * kv_image_result_json makes it; the variants are durable before it is told. What a picture does to
 * its child (crash, limit, damage) ends the job at once; what the machine does (disk full, zygote
 * gone, memory used up by all together) may be tried again. What it lacks before a child begins is
 * waited for, two minutes at most. After a child was killed for want of memory pictures come one at
 * a time for five minutes. */
#ifndef KV_IMAGE_H
#define KV_IMAGE_H

#include "proto/actor.h"

extern const kv_actor_def kv_image_actor;

/* Pictures at once: IMAGE_CONCURRENCY, or one a core. */
uint64_t kv_image_credit(const kv_config *cfg);

#endif
