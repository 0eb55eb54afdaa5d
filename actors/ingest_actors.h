/* The ingest actors and what their create() is handed. Only ingest.c wires them; an actor includes
 * this for its own definition, and knows its peers by these indices alone. */
#ifndef KV_ACTORS_INGEST_ACTORS_H
#define KV_ACTORS_INGEST_ACTORS_H

#include <stdatomic.h>

#include "proto/actor.h"
#include "storage/object.h"

/* Small uploads take turns on the first (4 beside 2 and 8: 4,867, 4,474 and 3,902 uploads/s). Syncs
 * of large ones hold nobody up, and no sync holds up a release. */
enum { KV_PLACERS_SMALL = 4, KV_PLACER_LARGE = KV_PLACERS_SMALL, KV_PLACER_RELEASES, KV_PLACERS };
#define KV_PLACE_LARGE  (4u << 20) /* bytes */
#define KV_RELEASES_MAX 64         /* uploads in a RELEASE */

extern const kv_actor_def kv_scanner, kv_hasher, kv_store_writer, kv_placer, kv_dedup;

/* Shared by all: what is in flight, and the end. */
typedef struct kv_ingest_state {
    atomic_uint in_flight; /* uploads begun and not yet answered */
    atomic_bool halted;    /* time is up: nobody sends any more, peers may be gone */
} kv_ingest_state;

struct kv_puts; /* store/puts.h: temporary files on their way from the writers to the placers */

typedef struct kv_ingest_arg {
    kv_ingest_state *state;
    kv_store *store;
    struct kv_puts *puts;
    unsigned loops, pipelines;
} kv_ingest_arg;

/* Peers. */
enum { KV_SCANNER_TO_HASHER, KV_SCANNER_TO_STORE, KV_SCANNER_TO_DEDUP };
enum { KV_HASHER_TO_DEDUP };
enum { KV_STORE_TO_DEDUP }; /* writer and placer */
/* dedup: first the loops, then the scanners, then the placers. */

#endif
