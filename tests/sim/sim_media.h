/* Files in the simulation: a gateway whose dedup, placers and store are the real ones on a real
 * folder, and workers with the real reaper. They are killed anywhere, also between two calls to
 * the operating system; the disk fails; the broker falls silent in the midst of a commit.
 *
 * sim_gateway.c: the gateway. sim_reaper.c: the workers. sim_media.c: what clients know, and what
 * must hold. sim_shell.c: actors without threads. sim_os.c: the operating system. */
#ifndef KV_TESTS_SIM_MEDIA_H
#define KV_TESTS_SIM_MEDIA_H

#include "actors/dedup/ending.h"
#include "actors/store/puts.h"
#include "tests/sim/sim_shell.h"
#include "tests/unit/scratch.h"

enum {
    SIM_BYTES = 3, /* contents */
    SIM_FOLDERS = 2,
    SIM_UPLOADS = 160, /* of one history */
    SIM_REAPERS = 2,
    SIM_GATEWAY = 1, /* processes: SIM_REAPER + i */
    SIM_REAPER
};

typedef enum sim_outcome { SIM_UNDER_WAY, SIM_STORED, SIM_REFUSED, SIM_UNKNOWN } sim_outcome;

typedef struct sim_upload {
    uint64_t id, media; /* media: of its 201 */
    int bytes, folder;
    sim_outcome outcome; /* UNKNOWN: the gateway died before its answer, or before it was true */
} sim_upload;

/* A row that a 201 told of. */
typedef struct sim_row {
    uint64_t media;
    int bytes, folder;
    bool delete_asked, deleted;
} sim_row;

typedef struct sim_gateway {
    bool up;
    int64_t up_at;
    kv_ingest_state state;
    kv_ingest_arg arg;
    sim_shell dedup, loop, placers[KV_PLACERS];
    sim_box to_dedup[3 + KV_PLACERS]; /* from scanner, hasher, writer and the placers */
    sim_box to_placer[KV_PLACERS], to_loop;
    sim_letter *in_hand;
} sim_gateway;

typedef struct sim_media {
    sim *s;
    scratch dir;
    kv_config cfg;
    unsigned failing; /* of a thousand calls to the operating system */
    sim_gateway gateway;
    sim_shell reapers[SIM_REAPERS];
    int64_t reaper_up_at[SIM_REAPERS];
    sim_upload uploads[SIM_UPLOADS];
    int uploads_n;
    sim_row rows[SIM_UPLOADS];
    int rows_n;
    uint64_t kills; /* for the report */
} sim_media;

/* ---- sim_media.c: all of it, for sim.c ---- */
kv_db *sim_media_start(sim *s);   /* the database of the history */
void sim_media_processes(sim *s); /* once the broker runs */
void sim_media_stop(sim *s);
sim_node *sim_media_node(sim *s, int i); /* NULL behind the last, and without media */
void sim_media_step(sim *s);
void sim_media_calm_step(sim *s); /* everything that can be done now */
void sim_media_calm(sim *s);      /* from now on nothing fails */
bool sim_media_quiet(const sim *s);
void sim_media_check(sim *s); /* at any time */
void sim_media_check_end(sim *s);
void sim_media_count(const sim *s, uint64_t totals[4]); /* stored, refused, not told; kills */
unsigned sim_media_failing(const sim *s);
void sim_media_died(sim *s, int process);     /* it was killed */
kv_db *sim_media_all_died(sim *s, kv_db *db); /* the database, opened anew */
/* Instead of the commit of `cmd`: its frames are in the log, whole, but the sync failed. */
bool sim_media_sync_fails(sim *s, const kv_cmd *cmd);

const char *sim_folder(int i);
void sim_media_answered(sim_media *md, const kv_upload_done *d);
void sim_media_deleted(sim_media *md, uint64_t media, kv_err err);

/* ---- sim_gateway.c ---- */
void sim_gateway_init(sim_media *md);
void sim_gateway_step(sim_media *md);
void sim_gateway_all(sim_media *md); /* until nothing moves */
void sim_gateway_died(sim_media *md);
void sim_gateway_stop(sim_media *md); /* SIGTERM, and time is up at once */
bool sim_gateway_quiet(const sim_gateway *g);
/* Its row is not decided: a commit without an answer, which will be taken back. */
bool sim_gateway_knows(sim_gateway *g, uint64_t upload);
void sim_gateway_free(sim_media *md);

/* ---- sim_reaper.c ---- */
void sim_reaper_init(sim_media *md, int i);
void sim_reaper_step(sim_media *md, int i);
void sim_reaper_died(sim_media *md, int i);

#endif
