/* What the files of the scanner share: an upload as the scanner sees it, the stages that judge it,
 * and what goes out. For actors/scanner/ only; one thread. */
#ifndef KV_ACTORS_SCANNER_SCAN_H
#define KV_ACTORS_SCANNER_SCAN_H

#include "actors/ingest_actors.h"
#include "actors/scanner/types.h"
#include "actors/scanner/walk.h"

typedef struct kv_scan {
    uint64_t upload; /* first: the key of the tree */
    kv_header head;  /* trace of the upload */
    kv_claim claim;
    const kv_mime_info *type; /* NULL until the head is judged */
    kv_walk walk;
    uint8_t *head_bytes; /* a head that came in pieces; owned */
    size_t head_len;
    uint64_t received, kept; /* bytes handed on */
    char detail[256];
} kv_scan;

typedef struct kv_scanner_actor {
    const kv_config *cfg;
    kv_ingest_state *state;
    kv_types *types;
    void *scans; /* tsearch(3) tree of kv_scan */
} kv_scanner_actor;

/* ---- stages.c ---- */
/* The first min(KV_TYPE_HEAD, size) bytes of the file, at the start of `bytes`. */
kv_err kv_scan_head(kv_scanner_actor *a, kv_scan *s, const void *bytes, size_t len);
/* The next bytes. Sets `cow` up; the caller takes what is kept and then calls kv_cow_release, also
 * after an error. */
kv_err kv_scan_chunk(kv_scanner_actor *a, kv_scan *s, const void *in, size_t len, kv_cow *cow);
kv_err kv_scan_end(kv_scanner_actor *a, kv_scan *s);

/* What was found out; behind kv_scan_end. */
typedef struct kv_scan_found {
    uint32_t width, height, strip_version;
    bool metadata_kept;
    char ext[8];
} kv_scan_found;
void kv_scan_find(const kv_scan *s, kv_scan_found *ret);

/* ---- scanner.c ---- */
void kv_scan_send(kv_scanner_actor *a, kv_out *out, int peer, const kv_header *head,
                  const kv_msg *m, zmq_msg_t *payload);

/* ---- kept.c ---- */
/* A message over the original's bytes from `from` on, or over `copy` (malloc; taken, unless it
 * fails). While it lives, so does the original, whose release is the sender's credit. */
kv_err kv_kept_wrap(zmq_msg_t *original, size_t from, uint8_t *copy, size_t len, zmq_msg_t *ret);
/* The kept bytes of a chunk; empty if nothing of it is kept. */
kv_err kv_kept_make(kv_cow *cow, zmq_msg_t *original, zmq_msg_t *ret);

/* ---- whole.c ---- */
void kv_scan_whole(void *self, const kv_in *in, kv_out *out); /* handler of UPLOAD_WHOLE */

#endif
