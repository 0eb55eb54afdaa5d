/* What dedup knows of an upload, and the steps to its end. For actors/dedup/ only; one thread.
 *
 *   GATHER → PLACING → COMMITTING → RELEASING → answered
 *               ↑         ↓  ↑
 *            RELINK     DYING (WAITING, 5 ms)
 *
 * Scanner, hasher and store each say one last word about every upload, good or bad, in no order
 * among each other; even BEGIN may come behind them. The record is made by the first message;
 * nothing is decided before all four have come, so none comes late. A whole upload comes with
 * everything at once (whole.c) and is never in GATHER. */
#ifndef KV_ACTORS_DEDUP_ENDING_H
#define KV_ACTORS_DEDUP_ENDING_H

#include "actors/ingest_actors.h"
#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "storage/db.h"

#define KV_HASH_LEN 32
#define KV_HASH_HEX (2 * KV_HASH_LEN + 1)

/* Open files during a long outage of the broker; then nothing new is linked. */
#define KV_ORPHANS_MAX 512

typedef enum kv_ending_state {
    KV_GATHER,
    KV_PLACING,
    KV_COMMITTING,
    KV_WAITING, /* for another try of the commit */
    KV_RELEASING,
    KV_ORPHAN /* answered; a link whose row is not decided */
} kv_ending_state;

typedef struct kv_ending {
    uint64_t upload; /* first: the key of the tree */
    kv_header head;
    kv_ending_state state;
    unsigned loop, pipeline, placer; /* placer: for a small file */
    char folder[KV_FOLDER_MAX + 1], filename[KV_FILENAME_MAX + 1], key[401];
    /* who has spoken */
    bool begun, scanned, hashed, closed;
    bool has_file, has_hash; /* … and had something good to say */
    /* what they said */
    uint8_t hash[KV_HASH_LEN], stored_hash[KV_HASH_LEN];
    char mime[129], ext[9];
    uint64_t kept_size, written;
    uint32_t width, height, strip_version;
    bool metadata_kept;
    /* commit */
    uint64_t media, gone_seq; /* gone_seq: newest known when PLACE was sent */
    int64_t commit_until_us, again_us;
    bool linked;  /* a file may stand under the key */
    bool rowless; /* there is no row of it, and will be none */
    bool shared;  /* others were told that its row is theirs */
    /* result */
    kv_err failure;
    char detail[513];
    uint64_t retry_after_ms;
    bool deduplicated, answered;
    kv_buf json;
    /* times, for the log line */
    int64_t begun_us, gathered_us, placed_us, committed_us;
} kv_ending;

typedef struct kv_dedup_actor {
    const kv_config *cfg;
    const kv_ingest_arg *ingest;
    kv_id_maker ids;
    kv_db *db;     /* reader; NULL until there is a database */
    void *endings; /* tsearch(3) tree of kv_ending */
    uint64_t gone_seq;
    size_t waiting, orphans; /* how many are in these states */
    unsigned next_placer;
    size_t releases; /* of this batch */
    char to_release[KV_RELEASES_MAX * KV_ID_BYTES];
    int timer_fd;
    bool timer_watched;
    int64_t sweep_at_us;
    bool sweep_asked, sweep_may; /* the ledger has been heard since the start */
    kv_sweep *sweep;             /* under way; NULL: none is */
} kv_dedup_actor;

/* ---- ending.c ---- */
kv_ending *kv_ending_find(kv_dedup_actor *a, uint64_t upload);
void kv_ending_free(void *ending);
void kv_ending_set_state(kv_dedup_actor *a, kv_ending *e, kv_ending_state state);
void kv_ending_copy(char *to, size_t size, kv_slice from); /* cut to size */
void kv_ending_hex(const uint8_t hash[KV_HASH_LEN], char out[KV_HASH_HEX]);
int64_t kv_ending_now(kv_out *out);
/* With the request and trace of `e`, or none where it is NULL. */
void kv_dedup_send(kv_dedup_actor *a, kv_out *out, unsigned peer, const kv_ending *e,
                   const kv_msg *m, zmq_msg_t *payload);
/* Without memory for a record there is no way to keep the promise of one answer: the process ends,
 * and its restart cleans up. */
kv_ending *kv_dedup_record(kv_dedup_actor *a, uint64_t upload, const kv_header *head);
unsigned kv_dedup_placer(const kv_dedup_actor *a, const kv_ending *e); /* peer */
/* Sends UPLOAD_DONE and the log line; once. */
void kv_ending_answer(kv_dedup_actor *a, kv_ending *e, kv_out *out);
void kv_ending_release(kv_dedup_actor *a, kv_ending *e, kv_out *out); /* the temporary file */
void kv_dedup_release(void *self, kv_out *out); /* sends what was to be released; batch_end */
/* Notes the first failure, and its detail whoever has it. */
void kv_ending_fail(kv_ending *e, kv_err err, kv_slice detail);
/* Lets the scanner, and behind it hasher and store, drop an upload that failed here. */
void kv_ending_drop_upstream(kv_dedup_actor *a, const kv_ending *e, kv_out *out);
/* Nothing is left of it: answers if nobody has, and frees the record. */
void kv_ending_end(kv_dedup_actor *a, kv_ending *e, kv_out *out);

/* ---- commit.c ---- */
/* Makes media id and key and has the file placed. `bytes` of a whole upload go along (moved); else
 * NULL: they are written already. */
void kv_ending_complete(kv_dedup_actor *a, kv_ending *e, zmq_msg_t *bytes, kv_out *out);
void kv_ending_commit(kv_dedup_actor *a, kv_ending *e, kv_out *out);
/* There will be no row: answers, takes the file back, and releases. Where the disk or the database
 * does not let it, the temporary file stays and leads to the linked one, until it does. */
void kv_ending_undo(kv_dedup_actor *a, kv_ending *e, kv_out *out);
void kv_dedup_run_due(kv_dedup_actor *a, kv_out *out); /* what waited long enough */
void kv_dedup_wake(kv_dedup_actor *a, kv_out *out);    /* each few ms, while there is why */

/* ---- whole.c ---- */
void kv_dedup_whole(void *self, const kv_in *in, kv_out *out); /* handler of WHOLE_JUDGED */

/* ---- orphan.c ---- */
kv_db *kv_dedup_reader(kv_dedup_actor *a); /* NULL: there is no database yet */
/* Removes the linked file unless a row or another upload under way relies on it. False: that cannot
 * be said or done now. */
bool kv_ending_take_back(kv_dedup_actor *a, kv_ending *e);
/* Whether a commit was made is not known, for it was not answered, or the disk failed: tells the
 * client (kv_ending_fail was called), and sees to row and file later. */
void kv_ending_doubt(kv_dedup_actor *a, kv_ending *e, kv_out *out);
bool kv_ending_has_row(kv_dedup_actor *a, const kv_ending *e); /* true, too, when not known */
void kv_ending_unrow(kv_dedup_actor *a, kv_ending *e, kv_out *out);
/* `e` was given the row of another upload. True: that one is being taken back, do not count on it;
 * else it will not be. */
bool kv_ending_share(kv_dedup_actor *a, kv_ending *e, uint64_t media);
void kv_dedup_sweep(kv_dedup_actor *a, int64_t now_us, kv_out *out);
void kv_dedup_sweep_on(kv_dedup_actor *a, kv_out *out); /* a slice of the one under way */

#endif
