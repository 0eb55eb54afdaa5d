/* Every message of kervan, once. Structs, codec, validation, log line, the tables of PROTOCOL.md
 * and the round-trip test come from this table.
 *
 * KV_MESSAGES row: M(CODE, NAME, name, "from > to", "answer", KV_NAME_FIELDS, "one sentence").
 * Field row: F(T, type, name, limit, default, "unit", "sentence"), in wire order; new fields go at
 * the end. Types: u64, i64, boolean, str (UTF-8 text or JSON), bin. `limit` is the largest value of
 * a number (0: any) or the largest length of str and bin. A str or bin default is always empty; a
 * number's default is given. Codes: 0x01.. session, 0x10.. jobs, 0x20.. workers, 0x30.. media,
 * 0x40.. events and inspection, 0x60.. ingest (inside a gateway only). */
#ifndef KV_MESSAGES_H
#define KV_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/slice.h"

#define KV_JSON_MAX 65536 /* payload limit of a job: larger goes to an object */

/* clang-format off */
/* ---- session ---- */
#define KV_HELLO_FIELDS(F, T) \
    F(T, str, role, 32, 0, "", "\"gateway\", \"worker\", \"client\" or \"tool\"") \
    F(T, str, name, 64, 0, "", "name of the process or thread, for operators") \
    F(T, u64, instance, 0, 0, "", "random number of this process; a new one under the same name replaces the old session") \
    F(T, str, version, 32, 0, "", "version of the sender")
#define KV_HELLO_OK_FIELDS(F, T) \
    F(T, u64, epoch, 0, 0, "", "broker epoch, one more at each start") \
    F(T, u64, beat_ms, 60000, 1000, "ms", "send BEAT this often") \
    F(T, u64, silent_beats, 100, 3, "beats", "silence after which the peer counts as gone") \
    F(T, u64, last_event, 0, 0, "event id", "newest event") \
    F(T, u64, gone_seq, 0, 0, "", "how many removed blobs the broker has counted (see MEDIA_COMMIT)")
#define KV_BEAT_FIELDS(F, T) \
    F(T, u64, busy, 0, 0, "jobs", "jobs in hand")
#define KV_BEAT_OK_FIELDS(F, T) \
    F(T, u64, epoch, 0, 0, "", "broker epoch; a new one means: register again") \
    F(T, boolean, known, 0, 0, "", "false: say HELLO again")
#define KV_BYE_FIELDS(F, T) \
    F(T, str, reason, 64, 0, "", "why the peer leaves")
#define KV_ERROR_FIELDS(F, T) \
    F(T, u64, number, 65535, 66, "", "error number, see Errors") \
    F(T, str, detail, 1024, 0, "", "what happened, in English, without secrets") \
    F(T, u64, retry_after_ms, 0, 0, "ms", "when a new try makes sense; 0: not said") \
    F(T, u64, gone_seq, 0, 0, "", "with RELINK: the count to send with the next MEDIA_COMMIT")
#define KV_OKAY_FIELDS(F, T) \
    F(T, u64, id, 0, 0, "", "what was acted on")
/* ---- jobs ---- */
#define KV_SUBMIT_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "made by the client; sent again under the same id it meets its own row") \
    F(T, str, service, 64, 0, "", "queue, [a-z0-9-]{1,64}") \
    F(T, u64, lane, 2, 1, "", "0 urgent, 1 normal, 2 background") \
    F(T, str, params, KV_JSON_MAX, 0, "JSON", "handed to the worker as it is") \
    F(T, str, tenant, 64, 0, "", "for fairness; empty: one for all") \
    F(T, u64, max_attempts, 100, 3, "", "attempts before error")
#define KV_SUBMIT_OK_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, str, status, 16, 0, "", "its status now") \
    F(T, boolean, created, 0, 1, "", "false: it was here already")
#define KV_JOB_GET_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job")
#define KV_JOB_STATUS_FIELDS(F, T) \
    F(T, str, json, KV_JSON_MAX * 4, 0, "JSON", "the job as GET /api/jobs/:id shows it")
#define KV_CANCEL_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job")
/* ---- workers ---- */
#define KV_READY_FIELDS(F, T) \
    F(T, str, service, 64, 0, "", "queue this worker serves") \
    F(T, u64, credit, 4096, 1, "jobs", "how many jobs it takes at once, those in hand included")
#define KV_LEASE_HELD_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "a job this worker still works on") \
    F(T, u64, epoch, 0, 0, "", "epoch of its lease") \
    F(T, u64, attempt, 0, 0, "", "attempt of its lease")
#define KV_JOB_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, u64, epoch, 0, 0, "", "lease token, first half: give it back with every answer") \
    F(T, u64, attempt, 0, 1, "", "lease token, second half: 1 for the first try") \
    F(T, str, service, 64, 0, "", "queue") \
    F(T, str, params, KV_JSON_MAX, 0, "JSON", "as submitted")
#define KV_JOB_PROGRESS_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, u64, epoch, 0, 0, "", "lease token") \
    F(T, u64, attempt, 0, 0, "", "lease token") \
    F(T, u64, progress, 100, 0, "%", "how far")
#define KV_JOB_DONE_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, u64, epoch, 0, 0, "", "lease token") \
    F(T, u64, attempt, 0, 0, "", "lease token") \
    F(T, str, result, KV_JSON_MAX, 0, "JSON", "kept with the job")
#define KV_JOB_FAIL_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, u64, epoch, 0, 0, "", "lease token") \
    F(T, u64, attempt, 0, 0, "", "lease token") \
    F(T, u64, number, 65535, 66, "", "error number") \
    F(T, str, detail, 1024, 0, "", "what happened") \
    F(T, boolean, retry, 0, 0, "", "true: another attempt may succeed")
#define KV_JOB_CANCEL_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "stop working on it; any answer will be refused") \
    F(T, u64, epoch, 0, 0, "", "lease token") \
    F(T, u64, attempt, 0, 0, "", "lease token")
/* ---- media ---- */
#define KV_MEDIA_COMMIT_FIELDS(F, T) \
    F(T, u64, media, 0, 0, "media id", "made by the gateway; sent again it meets its own row") \
    F(T, u64, upload, 0, 0, "upload id", "for logs") \
    F(T, str, folder, 255, 0, "", "folder, valid by the rules of media names") \
    F(T, str, filename, 255, 0, "", "the client's name of the file") \
    F(T, bin, hash, 32, 0, "SHA-256", "of the bytes as received") \
    F(T, bin, stored_hash, 32, 0, "SHA-256", "of the bytes kept") \
    F(T, u64, size, 0, 0, "bytes", "of the bytes kept") \
    F(T, str, mime, 128, 0, "", "as libmagic saw it, canonical name") \
    F(T, str, ext, 8, 0, "", "extension in the URL") \
    F(T, u64, width, 0, 0, "px", "0: not known; already turned by the orientation") \
    F(T, u64, height, 0, 0, "px", "0: not known") \
    F(T, u64, strip_version, 255, 0, "", "0: kept as received; else version of the metadata blanking") \
    F(T, boolean, dedup, 0, 1, "", "DEDUP_ENABLED: the same hash in the same folder gives the row that is there") \
    F(T, boolean, process, 0, 0, "", "make variants in the background") \
    F(T, u64, gone_seq, 0, 0, "", "newest count of removed blobs the gateway knew before it linked the file: an older one than the removal is refused with RELINK") \
    F(T, boolean, metadata_kept, 0, 0, "", "the file may still hold EXIF, GPS or comments")
#define KV_MEDIA_COMMITTED_FIELDS(F, T) \
    F(T, u64, media, 0, 0, "media id", "the row: the new one, or the one that was there") \
    F(T, boolean, created, 0, 0, "", "a row was made") \
    F(T, boolean, deduplicated, 0, 0, "", "the bytes were here already") \
    F(T, str, json, KV_JSON_MAX * 4, 0, "JSON", "the row as GET /api/media/:id shows it") \
    F(T, u64, gone_seq, 0, 0, "", "count of removed blobs now")
#define KV_MEDIA_DELETE_FIELDS(F, T) \
    F(T, u64, media, 0, 0, "media id", "row to remove; file and variants go with the last reference")
#define KV_MEDIA_RETRY_FIELDS(F, T) \
    F(T, u64, media, 0, 0, "media id", "a FAILED one, to be processed again")
/* ---- events and inspection ---- */
#define KV_EVENTS_FIELDS(F, T) \
    F(T, u64, prev, 0, 0, "event id", "last event of the commit before") \
    F(T, u64, first, 0, 0, "event id", "first event of this commit") \
    F(T, u64, last, 0, 0, "event id", "last event of this commit") \
    F(T, str, events, KV_JSON_MAX * 64, 0, "JSON array", "the events in order: {id, type, at, …}") \
    F(T, u64, gone_seq, 0, 0, "", "count of removed blobs")
#define KV_EVENT_HEAD_FIELDS(F, T) \
    F(T, u64, last, 0, 0, "event id", "newest event, each second") \
    F(T, u64, epoch, 0, 0, "", "broker epoch") \
    F(T, u64, gone_seq, 0, 0, "", "count of removed blobs")
#define KV_STATS_FIELDS(F, T) \
    F(T, u64, what, 0, 0, "", "0: metrics as Prometheus text, 1: health as JSON")
#define KV_STATS_OK_FIELDS(F, T) \
    F(T, str, text, KV_JSON_MAX * 8, 0, "", "the answer")
/* ---- ingest: inside one gateway, over inproc; never on a network ---- */
#define KV_UPLOAD_BEGIN_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "") \
    F(T, u64, loop, 64, 0, "", "HTTP loop that owns the upload") \
    F(T, u64, pipeline, 64, 0, "", "pipeline it is pinned to") \
    F(T, str, folder, 255, 0, "", "valid folder") \
    F(T, str, filename, 255, 0, "", "valid file name") \
    F(T, str, declared, 128, 0, "", "type the client declared; empty: none") \
    F(T, u64, length_hint, 0, 0, "bytes", "expected size; 0: not known")
#define KV_UPLOAD_CHUNK_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "payload: the bytes as received, or as kept behind the scanner") \
    F(T, u64, offset, 0, 0, "bytes", "of the first byte in the file")
#define KV_UPLOAD_END_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "all chunks are sent") \
    F(T, u64, size, 0, 0, "bytes", "of the file") \
    F(T, str, folder, 255, 0, "", "final folder, where it came behind the file; empty: as in UPLOAD_BEGIN")
#define KV_UPLOAD_ABORT_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "drop everything") \
    F(T, u64, number, 65535, 66, "", "why")
#define KV_UPLOAD_HASH_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "payload frame 1: bytes as received; see UPLOAD_KEPT for the bytes kept") \
    F(T, u64, offset, 0, 0, "bytes", "of the first byte in the file") \
    F(T, boolean, same, 0, 1, "", "the bytes kept are the same; false: an UPLOAD_KEPT with the kept ones follows")
#define KV_UPLOAD_KEPT_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "payload: the kept bytes of the UPLOAD_HASH just before; may be shorter (bytes behind a JPEG's end go)") \
    F(T, u64, offset, 0, 0, "bytes", "of the first byte in the kept file")
#define KV_UPLOAD_SCANNED_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "") \
    F(T, u64, number, 65535, 0, "", "0: accepted; else why not") \
    F(T, str, detail, 512, 0, "", "what was seen") \
    F(T, str, mime, 128, 0, "", "canonical type") \
    F(T, str, ext, 8, 0, "", "extension for the URL") \
    F(T, u64, width, 0, 0, "px", "0: not known") \
    F(T, u64, height, 0, 0, "px", "0: not known") \
    F(T, u64, strip_version, 255, 0, "", "0: bytes kept as received") \
    F(T, boolean, metadata_kept, 0, 0, "", "the type may hold metadata that was not blanked") \
    F(T, u64, kept_size, 0, 0, "bytes", "bytes kept") \
    F(T, str, folder, 255, 0, "", "of UPLOAD_END: final folder; empty: as in UPLOAD_BEGIN")
#define KV_UPLOAD_HASHED_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "") \
    F(T, bin, hash, 32, 0, "SHA-256", "as received") \
    F(T, bin, stored_hash, 32, 0, "SHA-256", "as kept") \
    F(T, u64, number, 65535, 0, "", "0: hashed; else why not, the hashes are empty then")
#define KV_UPLOAD_WRITTEN_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "") \
    F(T, u64, number, 65535, 0, "", "0: all bytes are written; else why not") \
    F(T, u64, size, 0, 0, "bytes", "written")
#define KV_PLACE_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "sync the written file and link it to its key") \
    F(T, str, key, 400, 0, "", "object key") \
    F(T, boolean, again, 0, 0, "", "the file was placed before and has gone meanwhile") \
    F(T, str, same, 400, 0, "", "object key that holds these bytes already, durable: link that one if it still stands (one physical file)")
#define KV_PLACED_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "") \
    F(T, u64, number, 65535, 0, "", "0: the file stands under its key, durable")
#define KV_RELEASE_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "the temporary file is not needed any more")
#define KV_RELEASED_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "the temporary file is gone")
#define KV_UPLOAD_DONE_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "the end of an upload, for the HTTP loop") \
    F(T, u64, number, 65535, 0, "", "0: answer 201 with json") \
    F(T, str, detail, 512, 0, "", "with an error: what was seen") \
    F(T, boolean, deduplicated, 0, 0, "", "the bytes were here already") \
    F(T, str, json, KV_JSON_MAX * 4, 0, "JSON", "the media row") \
    F(T, str, hash_hex, 64, 0, "", "hash of the bytes as received, for the log line") \
    F(T, u64, retry_after_ms, 0, 0, "ms", "with an error: when a new try makes sense") \
    F(T, u64, media, 0, 0, "media id", "the row")

#define KV_MESSAGES(M) \
    M(0x01, HELLO, hello, "any > broker", "HELLO_OK", KV_HELLO_FIELDS, "Begin a session; first message of every peer.") \
    M(0x02, HELLO_OK, hello_ok, "broker > any", "", KV_HELLO_OK_FIELDS, "The session stands.") \
    M(0x03, BEAT, beat, "any > broker", "BEAT_OK", KV_BEAT_FIELDS, "Sign of life, each beat.") \
    M(0x04, BEAT_OK, beat_ok, "broker > any", "", KV_BEAT_OK_FIELDS, "Sign of life back.") \
    M(0x05, BYE, bye, "any > broker", "OKAY", KV_BYE_FIELDS, "End a session at once instead of by silence; leases held go back to the queue.") \
    M(0x06, ERROR, error, "any > any", "", KV_ERROR_FIELDS, "The request under this id was refused or failed.") \
    M(0x07, OKAY, okay, "broker > any", "", KV_OKAY_FIELDS, "Done and, where it changes state, committed.") \
    M(0x10, SUBMIT, submit, "client > broker", "SUBMIT_OK", KV_SUBMIT_FIELDS, "Add a job.") \
    M(0x11, SUBMIT_OK, submit_ok, "broker > client", "", KV_SUBMIT_OK_FIELDS, "The job is committed.") \
    M(0x12, JOB_GET, job_get, "client > broker", "JOB_STATUS", KV_JOB_GET_FIELDS, "Ask for a job.") \
    M(0x13, JOB_STATUS, job_status, "broker > client", "", KV_JOB_STATUS_FIELDS, "A job.") \
    M(0x14, CANCEL, cancel, "client > broker", "OKAY", KV_CANCEL_FIELDS, "Cancel a job that is not terminal.") \
    M(0x20, READY, ready, "worker > broker", "OKAY", KV_READY_FIELDS, "Offer to work; again after every HELLO and when the credit changes. 0 stops new jobs.") \
    M(0x21, LEASE_HELD, lease_held, "worker > broker", "OKAY", KV_LEASE_HELD_FIELDS, "After every HELLO, before READY: this job is still in hand; one that is not named goes back to the queue. ERROR STALE_LEASE: drop it.") \
    M(0x22, JOB, job, "broker > worker", "", KV_JOB_FIELDS, "Work; the lease is committed.") \
    M(0x23, JOB_PROGRESS, job_progress, "worker > broker", "OKAY", KV_JOB_PROGRESS_FIELDS, "How far a job is.") \
    M(0x24, JOB_DONE, job_done, "worker > broker", "OKAY", KV_JOB_DONE_FIELDS, "A job is complete.") \
    M(0x25, JOB_FAIL, job_fail, "worker > broker", "OKAY", KV_JOB_FAIL_FIELDS, "A job failed.") \
    M(0x26, JOB_CANCEL, job_cancel, "broker > worker", "", KV_JOB_CANCEL_FIELDS, "Stop working on a job.") \
    M(0x30, MEDIA_COMMIT, media_commit, "gateway > broker", "MEDIA_COMMITTED", KV_MEDIA_COMMIT_FIELDS, "A placed file becomes a media row: blob, row, job and event in one transaction.") \
    M(0x31, MEDIA_COMMITTED, media_committed, "broker > gateway", "", KV_MEDIA_COMMITTED_FIELDS, "The row is committed.") \
    M(0x32, MEDIA_DELETE, media_delete, "gateway > broker", "OKAY", KV_MEDIA_DELETE_FIELDS, "Remove a media row.") \
    M(0x33, MEDIA_RETRY, media_retry, "gateway > broker", "OKAY", KV_MEDIA_RETRY_FIELDS, "Process a FAILED one again.") \
    M(0x40, EVENTS, events, "broker > all", "", KV_EVENTS_FIELDS, "PUB: the events of one commit.") \
    M(0x41, EVENT_HEAD, event_head, "broker > all", "", KV_EVENT_HEAD_FIELDS, "PUB: newest event id, each second.") \
    M(0x42, STATS, stats, "any > broker", "STATS_OK", KV_STATS_FIELDS, "Ask for metrics or health.") \
    M(0x43, STATS_OK, stats_ok, "broker > any", "", KV_STATS_OK_FIELDS, "Metrics or health.") \
    M(0x60, UPLOAD_BEGIN, upload_begin, "loop > scanner > hasher, store, dedup", "", KV_UPLOAD_BEGIN_FIELDS, "An upload begins.") \
    M(0x61, UPLOAD_CHUNK, upload_chunk, "loop > scanner > store", "", KV_UPLOAD_CHUNK_FIELDS, "Bytes of an upload.") \
    M(0x62, UPLOAD_END, upload_end, "loop > scanner > hasher, store", "", KV_UPLOAD_END_FIELDS, "The body is complete.") \
    M(0x63, UPLOAD_ABORT, upload_abort, "loop > scanner > hasher, store, dedup", "", KV_UPLOAD_ABORT_FIELDS, "The upload is over without a file.") \
    M(0x64, UPLOAD_HASH, upload_hash, "scanner > hasher", "", KV_UPLOAD_HASH_FIELDS, "Bytes as received.") \
    M(0x65, UPLOAD_KEPT, upload_kept, "scanner > hasher", "", KV_UPLOAD_KEPT_FIELDS, "Bytes as kept, where they differ.") \
    M(0x66, UPLOAD_SCANNED, upload_scanned, "scanner > dedup", "", KV_UPLOAD_SCANNED_FIELDS, "What the scanner decided.") \
    M(0x67, UPLOAD_HASHED, upload_hashed, "hasher > dedup", "", KV_UPLOAD_HASHED_FIELDS, "The digests.") \
    M(0x68, UPLOAD_WRITTEN, upload_written, "store > dedup", "", KV_UPLOAD_WRITTEN_FIELDS, "The temporary file is complete, or failed.") \
    M(0x69, PLACE, place, "dedup > store", "PLACED", KV_PLACE_FIELDS, "Make the file durable under its key.") \
    M(0x6a, PLACED, placed, "store > dedup", "", KV_PLACED_FIELDS, "It is, or why not.") \
    M(0x6b, RELEASE, release, "dedup > store", "RELEASED", KV_RELEASE_FIELDS, "Drop the temporary file.") \
    M(0x6c, RELEASED, released, "store > dedup", "", KV_RELEASED_FIELDS, "It is gone.") \
    M(0x6d, UPLOAD_DONE, upload_done, "dedup > loop", "", KV_UPLOAD_DONE_FIELDS, "Answer the client.")
/* clang-format on */

typedef uint64_t kv_t_u64;
typedef int64_t kv_t_i64;
typedef bool kv_t_boolean;
typedef kv_slice kv_t_str;
typedef kv_slice kv_t_bin;

#define KV_FIELD_MEMBER(T, type, name, limit, def, unit, text) kv_t_##type name;
#define KV_MESSAGE_STRUCT(code, NAME, name, from, answer, FIELDS, text)                            \
    typedef struct kv_##name {                                                                     \
        FIELDS(KV_FIELD_MEMBER, _)                                                                 \
    } kv_##name;
KV_MESSAGES(KV_MESSAGE_STRUCT)
#undef KV_MESSAGE_STRUCT
#undef KV_FIELD_MEMBER

typedef enum kv_code {
#define KV_MESSAGE_CODE(code, NAME, name, from, answer, FIELDS, text) KV_##NAME = code,
    KV_MESSAGES(KV_MESSAGE_CODE)
#undef KV_MESSAGE_CODE
} kv_code;

/* A decoded message: slices point into the frame it was decoded from. */
typedef struct kv_msg {
    uint16_t code;
    union {
#define KV_MESSAGE_MEMBER(code, NAME, name, from, answer, FIELDS, text) kv_##name name;
        KV_MESSAGES(KV_MESSAGE_MEMBER)
#undef KV_MESSAGE_MEMBER
    };
} kv_msg;

#endif
