/* Reading the unfinished jobs into the core at start: SQLite on a thread of its own, the core on
 * the caller's, so that both cores of a small machine work (200 k jobs: docs/benchmarks.md, Q5). */
#ifndef KV_BROKER_LOAD_H
#define KV_BROKER_LOAD_H

#include "broker/core.h"
#include "storage/db.h"

/* The handle belongs to the reading thread until this returns. Errors: those of the database,
 * KV_E_NO_MEMORY; the core then holds a part of the jobs and is only good for being destroyed. */
kv_err kv_load_jobs(kv_db *db, kv_core *core, kv_now now);

#endif
