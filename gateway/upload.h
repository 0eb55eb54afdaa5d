/* Uploads of one loop: from the head of POST /api/media to its answer.
 *
 * A file of up to 256 KiB that stands in memory in one piece when its body is over goes to the
 * scanner as one UPLOAD_WHOLE; any other as UPLOAD_BEGIN, UPLOAD_CHUNK… and UPLOAD_END.
 *
 * States: RECEIVING (body comes) → COMMITTING (UPLOAD_END or UPLOAD_WHOLE sent) → answered by
 * UPLOAD_DONE; or, on
 * an error of ours after UPLOAD_BEGIN, ABORTING (UPLOAD_ABORT sent, answered by UPLOAD_DONE too, so
 * nothing is left behind when the client reads the problem). An UPLOAD_DONE that comes while the
 * body is still coming is a refusal: answered at once. Errors before UPLOAD_BEGIN are answered at
 * once. One thread. */
#ifndef KV_GATEWAY_UPLOAD_H
#define KV_GATEWAY_UPLOAD_H

#include "gateway/body.h"
#include "gateway/multipart.h"
#include "gateway/tap.h"
#include "proto/base/media_name.h"

#define KV_UPLOAD_OVERHEAD 65536 /* bytes of a multipart body that are not the file's, at most */
#define KV_FIELD_MAX       1024  /* bytes of a form field */

typedef enum kv_upload_state {
    KV_UPLOAD_RECEIVING,
    KV_UPLOAD_COMMITTING,
    KV_UPLOAD_ABORTING
} kv_upload_state;

typedef struct kv_upload {
    kv_loop_own *loop;
    kv_conn *conn;          /* NULL: the client is gone */
    h2o_req_t *req;         /* NULL: the client is gone */
    struct kv_upload *next; /* in the table */
    h2o_linklist_t waiting; /* for credit or buffers */
    uint64_t id;
    kv_header head; /* trace */
    unsigned pipeline;
    kv_upload_state state;
    bool begun;  /* UPLOAD_BEGIN is sent */
    bool paused; /* we stopped reading */
    kv_err err;  /* what to answer after ABORTING */
    char detail[KV_BODY_WHY];

    /* the file */
    uint64_t size, size_max, body_bytes, length_hint;
    char folder[KV_FOLDER_MAX + 1], begun_folder[KV_FOLDER_MAX + 1];
    char filename[KV_FILENAME_MAX + 1], declared[129];

    /* multipart */
    bool multipart, have_file, in_file, in_folder, have_folder;
    bool nameless, in_nameless; /* a field "file" that is no file: it has no file name */
    bool in_chunks;             /* a widget's count of pieces */
    kv_multipart parser;
    char field[KV_FIELD_MAX];
    size_t field_len;

    /* the body */
    kv_body_credit *credit;
    kv_body_buf *buf;      /* that the bytes under way stand in */
    kv_body_buf *whole;    /* UPLOAD_STREAM_ENABLED=false: the body is collected here first */
    kv_slice held;         /* the file so far, before UPLOAD_BEGIN: it may become UPLOAD_WHOLE */
    kv_body_buf *held_buf; /* that it stands in; a reference */
    struct {
        kv_body_buf *buf; /* a reference; NULL: none */
        size_t at, end;
    } room; /* of an arena, kept for the rest of a small body, so that it stands in one piece */

    /* times */
    int64_t began_us, window_us, paused_us, paused_since_us;
    uint64_t window_bytes;
    kv_timer rate_timer;
} kv_upload;

kv_err kv_uploads_new(kv_loop_own *loop, struct kv_uploads **ret);
void kv_uploads_destroy(struct kv_uploads **uploads);
size_t kv_uploads_active(const struct kv_uploads *uploads);
/* Draining is over its time: every upload is aborted. */
void kv_uploads_abort_all(struct kv_uploads *uploads);
/* Bytes or buffers came back: goes on with those that waited. */
void kv_uploads_resume(struct kv_uploads *uploads);

/* The connection is closing: the upload loses its client. */
void kv_upload_conn_gone(struct kv_upload *u);

/* ---- between upload.c (states, messages), upload_body.c (bytes in), upload_form.c (multipart
 * events) and upload_answer.c ---- */
struct kv_uploads {
    kv_loop_own *loop;
    kv_upload *table[256];
    h2o_linklist_t waiting;
    size_t active;
    unsigned next_pipeline, pipelines;
    void *scanner[16];  /* PUSH, one a pipeline */
    kv_body_buf *arena; /* being filled; NULL: none */
};

/* Ends with an error: ours (the problem is answered) or the client's going (err CLIENT_GONE). Only
 * the first call counts. `detail` may be NULL. */
void kv_upload_fail(kv_upload *u, kv_err err, const char *detail);
/* File bytes inside u->buf or anywhere (then copied). */
kv_err kv_upload_file_bytes(kv_upload *u, kv_slice bytes);
/* The body is over and well-formed. */
void kv_upload_body_over(kv_upload *u);
/* Sends the held bytes, if any, as the beginning of a stream. */
kv_err kv_upload_flush(kv_upload *u);
/* Gives the memory back that held bytes and room stand in. */
void kv_upload_let_go(kv_upload *u);
void kv_upload_forget(kv_upload *u); /* out of the table, freed */

/* upload_body.c */
void kv_upload_read(
    kv_upload *u); /* reads until there is nothing, the body is over, or credit is used up */
void kv_upload_stop_reading(kv_upload *u);
void kv_upload_watch_rate(kv_upload *u);

/* upload_form.c */
extern const kv_multipart_events kv_upload_form;
kv_err kv_upload_set_folder(kv_upload *u, kv_slice folder);
kv_err kv_upload_set_file(kv_upload *u, kv_slice filename, kv_slice declared);

/* upload_answer.c: answers, counts, logs and forgets the upload. */
void kv_upload_answer_done(kv_upload *u, const kv_upload_done *done);
void kv_upload_answer_error(kv_upload *u, kv_err err, const char *detail, uint64_t retry_after_ms);

#endif
