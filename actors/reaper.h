/* The reaper actor, service "blob-reap": removes the objects of blobs nobody refers to any more.
 *
 * params {"blob":"<id>","keys":["banners/<hash>.jpg"],"variants":true}: the keys, and the variants
 * folder of the blob. Removing what is gone already is success, so a job may run twice. */
#ifndef KV_ACTORS_REAPER_H
#define KV_ACTORS_REAPER_H

#include "proto/actor.h"

extern const kv_actor_def kv_reaper_actor;

#endif
