/* Every message of kervan, once. Structs, codec, validation, log line, the tables of PROTOCOL.md
 * and the round-trip test come from this table.
 *
 * KV_MESSAGES row: M(CODE, NAME, name, "from > to", "answer", KV_NAME_FIELDS, "one sentence").
 * Field row: F(T, type, name, limit, default, "unit", "sentence"), in wire order; new fields go at
 * the end. Types: u64, i64, boolean, str (UTF-8 text or JSON), bin. `limit` is the largest value of
 * a number (0: any) or the largest length of str and bin. A str or bin default is always empty; a
 * number's default is given. Codes: 0x01.. session, 0x10.. jobs, 0x20.. workers, 0x30.. media,
 * 0x40.. events and inspection,
 * 0x50.. steering, 0x60.. ingest (inside a gateway only). */
#ifndef KV_MESSAGES_H
#define KV_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/words.h"

/* Bytes. */
#define KV_JSON_MAX   65536 /* payload limit of a job: larger goes to an object */
#define KV_PATCH_MAX  16384 /* metadata said at once */
#define KV_DETAIL_MAX 1024  /* why, in words */

/* clang-format off */
/* ---- session ---- */
#define KV_HELLO_FIELDS(F, T) \
    F(T, str, role, 32, 0, "", "\"gateway\", \"worker\", \"client\" or \"tool\"") \
    F(T, str, name, 64, 0, "", "name of the process or thread, for operators") \
    F(T, u64, instance, 0, 0, "", "random number of this process; a new one under the same name replaces the old session") \
    F(T, str, version, 32, 0, "", "version of the sender") \
    F(T, u64, epoch, 0, 0, "", "of the last HELLO_OK this process had under this name; 0: none yet. A worker that says it gets jobs back to the queue at once that a broker leased to it and could not send before it ended") \
    F(T, u64, place, 0, 0, "", "which database file lies in the data folder of a part of kervan that opens it itself; CONFLICT: it is not the broker's. 0: of no concern")
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
    F(T, str, detail, KV_DETAIL_MAX, 0, "", "what happened, in English, without secrets") \
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
    F(T, u64, max_attempts, 100, 0, "", "attempts before error; 0: JOB_MAX_ATTEMPTS") \
    F(T, u64, delay_ms, 31536000000, 0, "ms", "not begun before so long after it was taken") \
    F(T, str, unique_key, 128, 0, "", "while a job of this service with this key is unfinished, SUBMIT meets it (created false, its id) instead of making another") \
    F(T, u64, backoff_ms, 3600000, 0, "ms", "delay after the first failed attempt, doubled each time; 0: as the broker has it") \
    F(T, u64, backoff_max_ms, 86400000, 0, "ms", "longest delay between attempts; 0: as the broker has it") \
    F(T, u64, deadline_ms, 0, 0, "Unix ms", "not leased by then it ends in error job_deadline; 0: none") \
    F(T, str, tags, 520, 0, "", "at most 8 words of [A-Za-z0-9_.:-]{1,64}, joined by commas; for lists") \
    F(T, u64, retention_s, 31536000, 0, "s", "kept so long after its end; 0: JOB_RETENTION_HOURS") \
    F(T, str, user, 64, 0, "", "who is notified, and whose credits are held; empty: nobody") \
    F(T, u64, credits, 1000000000, 0, "", "held with the commit of the job, spent when it is complete, refunded when it ends otherwise; 0: none") \
    F(T, str, operation, 64, 0, "", "named in the credit transaction") \
    F(T, str, metadata, KV_PATCH_MAX, 0, "JSON object", "first metadata; empty: none") \
    F(T, u64, retry_of, 0, 0, "job id", "the job this one does again; 0: none")
#define KV_SUBMIT_OK_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, str, status, 16, 0, "", "its status now") \
    F(T, boolean, created, 0, 1, "", "false: it was here already") \
    F(T, i64, queue_position, 0, -1, "", "1 for the next; 0 while processing; -1: none (terminal or delayed)") \
    F(T, i64, lane_position, 0, -1, "", "the same within its lane") \
    F(T, u64, eta_low_ms, 0, 0, "ms", "until it begins, at best; 0 with eta_high_ms 0: not known") \
    F(T, u64, eta_high_ms, 0, 0, "ms", "until it begins, at worst")
#define KV_SUBMIT_BATCH_FIELDS(F, T) \
    F(T, bin, jobs, 4194304, 0, "", "bodies of SUBMIT (msgpack arrays), one behind the other; at most 1000. Each is judged alone")
#define KV_SUBMIT_BATCH_OK_FIELDS(F, T) \
    F(T, bin, results, 1048576, 0, "", "a msgpack array [job, number, status, created] each, in the order asked; number 0: committed, else the error") \
    F(T, u64, retry_after_ms, 0, 0, "ms", "when the refused ones make sense again; 0: not said")
#define KV_JOB_GET_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job")
#define KV_JOB_STATUS_FIELDS(F, T) \
    F(T, str, json, KV_JSON_MAX * 4, 0, "JSON", "the job as GET /api/jobs/:id shows it, without positions") \
    F(T, i64, queue_position, 0, -1, "", "as in SUBMIT_OK") \
    F(T, i64, lane_position, 0, -1, "", "as in SUBMIT_OK") \
    F(T, u64, eta_low_ms, 0, 0, "ms", "as in SUBMIT_OK") \
    F(T, u64, eta_high_ms, 0, 0, "ms", "as in SUBMIT_OK")
#define KV_CANCEL_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job")
#define KV_CANCEL_OK_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job, cancelled and committed") \
    F(T, str, was, 16, 0, "", "its status before: \"queued\", \"processing\" (its worker is told) or \"cancelled\"")
#define KV_METADATA_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, str, patch, KV_PATCH_MAX, 0, "JSON object", "merged deeply: objects merge, arrays and scalars replace, an absent key never deletes, null sets null") \
    F(T, u64, version, 0, 0, "", "of the metadata it was made for, CONFLICT when it has another; 0: any") \
    F(T, boolean, exact, 0, 0, "", "true: 0 is a version, too, that of a job without metadata")
#define KV_METADATA_OK_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, u64, version, 0, 0, "", "of the metadata now") \
    F(T, str, metadata, KV_JSON_MAX, 0, "JSON object", "merged and committed")
#define KV_RETRY_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "a job in error or cancelled: terminal is terminal, so a new job does it again") \
    F(T, u64, new_job, 0, 0, "job id", "of the new job, made by the client")
#define KV_POSITION_FIELDS(F, T) \
    F(T, bin, jobs, 2048, 0, "", "ids of at most 256 jobs, 8 bytes each, big end first") \
    F(T, boolean, watch, 0, 0, "", "true: changes are pushed as POSITIONS with request id 0 until the job is terminal or the session ends; at most 65536 a session") \
    F(T, boolean, unwatch, 0, 0, "", "true: no more of them")
#define KV_POSITIONS_FIELDS(F, T) \
    F(T, str, json, KV_JSON_MAX, 0, "JSON array", "[{\"jobId\",\"status\",\"queue_position\",\"lane_position\",\"eta_seconds\":[low,high]|null}]; status null: not unfinished, ask JOB_GET")
#define KV_CREDIT_FIELDS(F, T) \
    F(T, u64, transaction, 0, 0, "id", "made by the client; the same again returns the first outcome") \
    F(T, u64, what, 3, 0, "", "0 grant, 1 reserve, 2 confirm, 3 refund; 2 and 3 name the transaction of a reserve") \
    F(T, str, user, 64, 0, "", "whose; with 2 and 3 empty") \
    F(T, u64, amount, 1000000000, 0, "", "credits; with 2 and 3 0") \
    F(T, str, operation, 64, 0, "", "what for") \
    F(T, str, key, 64, 0, "", "grant: the giver's own name for it. One that was used before grants nothing and answers with the transaction of then; CONFLICT where user or amount differ. Empty: none")
#define KV_CREDIT_OK_FIELDS(F, T) \
    F(T, u64, transaction, 0, 0, "id", "") \
    F(T, str, state, 16, 0, "", "\"granted\", \"held\", \"spent\" or \"refunded\"") \
    F(T, u64, available, 0, 0, "", "of the user, now") \
    F(T, u64, held, 0, 0, "", "of the user, now") \
    F(T, u64, spent, 0, 0, "", "of the user, now")
#define KV_NOTIFY_FIELDS(F, T) \
    F(T, u64, event, 0, 0, "event id", "all events up to it are turned into notifications; one that was handled before changes nothing") \
    F(T, str, user, 64, 0, "", "who is told; empty: nobody, only the mark moves") \
    F(T, str, kind, 32, 0, "", "\"job.complete\", \"job.error\", \"job.cancelled\"") \
    F(T, str, json, 4096, 0, "JSON object", "what is told: jobId, service, status, attempt; where there is one: tenant, error, error_detail")
#define KV_SEEN_FIELDS(F, T) \
    F(T, str, user, 64, 0, "", "who has seen it") \
    F(T, u64, notification, 0, 0, "id", "this one and all before; 0: all")
    /* ---- steering ---- */
#define KV_SETTING_FIELD(F, T, name, kind, option, low, high, unit, text) F(T, i64, name, high, -1, unit, text)
#define KV_QUEUE_SET_FIELDS(F, T) \
    F(T, str, service, 64, 0, "", "queue; made when it is not there") \
    F(T, str, tenant, 64, 0, "", "with tenant_set: the tenant the limits are for; \"*\": each that has none of its own") \
    F(T, boolean, tenant_set, 0, 0, "", "true: limits of one tenant in this queue, \"\" included") \
    KV_QUEUE_SETTINGS(KV_SETTING_FIELD, F, T)
#define KV_PURGE_FIELDS(F, T) \
    F(T, str, service, 64, 0, "", "queue") \
    F(T, u64, what, 1, 0, "", "0: cancel all that wait (delayed ones too), 1: remove the dead letters")
#define KV_PROMOTE_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "a waiting or delayed job") \
    F(T, u64, lane, 2, 0, "", "where it goes, to the end; a delay ends")
#define KV_MAINTAIN_FIELDS(F, T) \
    F(T, u64, what, 0, 0, "", "0: look for stuck jobs and passed deadlines now")
#define KV_INSPECT_FIELDS(F, T) \
    F(T, str, what, 16, 0, "", "\"queues\", \"workers\", \"leases\", \"tenants\" or \"limits\"") \
    F(T, str, service, 64, 0, "", "only of this queue; empty: all") \
    F(T, u64, after, 0, 0, "", "`next` of the answer before; 0: from the start") \
    F(T, u64, limit, 1000, 100, "", "items at most; where few of many are asked for, a page may be empty and have a `next`")
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
    F(T, u64, attempt, 0, 1, "", "lease token, second half: number of the lease, 1 for the first") \
    F(T, str, service, 64, 0, "", "queue") \
    F(T, str, params, KV_JSON_MAX, 0, "JSON", "as submitted")
#define KV_JOB_PROGRESS_FIELDS(F, T) \
    F(T, u64, job, 0, 0, "job id", "the job") \
    F(T, u64, epoch, 0, 0, "", "lease token") \
    F(T, u64, attempt, 0, 0, "", "lease token") \
    F(T, u64, progress, 100, 0, "%", "how far") \
    F(T, str, patch, KV_PATCH_MAX, 0, "JSON object", "merged into the metadata as METADATA does; empty: none")
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
    F(T, str, detail, KV_DETAIL_MAX, 0, "", "what happened") \
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
#define KV_EVENTS_GET_FIELDS(F, T) \
    F(T, u64, after, 0, 0, "event id", "newest event the asker has; 0: from the oldest that is kept") \
    F(T, u64, limit, 10000, 1000, "events", "about so many: the answer ends with a whole commit")
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
    F(T, str, same, 400, 0, "", "object key that holds these bytes already, durable: link that one if it still stands (one physical file)")
#define KV_PLACED_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "") \
    F(T, u64, number, 65535, 0, "", "0: the file stands under its key, durable") \
    F(T, boolean, nothing, 0, 0, "", "of PLACE_WHOLE: no file could be written, there is nothing to release")
#define KV_RELEASE_FIELDS(F, T) \
    F(T, bin, uploads, 512, 0, "", "ids of at most 64 uploads, 8 bytes each, big end first: their temporary files are not needed any more")
#define KV_RELEASED_FIELDS(F, T) \
    F(T, bin, uploads, 512, 0, "", "as asked: their temporary files are gone")
#define KV_UPLOAD_DONE_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "the end of an upload, for the HTTP loop") \
    F(T, u64, number, 65535, 0, "", "0: answer 201 with json") \
    F(T, str, detail, 512, 0, "", "with an error: what was seen") \
    F(T, boolean, deduplicated, 0, 0, "", "the bytes were here already") \
    F(T, str, json, KV_JSON_MAX * 4, 0, "JSON", "the media row") \
    F(T, str, hash_hex, 64, 0, "", "hash of the bytes as received, for the log line") \
    F(T, u64, retry_after_ms, 0, 0, "ms", "with an error: when a new try makes sense") \
    F(T, u64, media, 0, 0, "media id", "the row")
/* ---- ingest of a whole upload: its bytes are in one message ---- */
#define KV_UPLOAD_WHOLE_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "payload: all bytes as received") \
    F(T, u64, loop, 64, 0, "", "HTTP loop that owns the upload") \
    F(T, str, folder, 255, 0, "", "valid folder") \
    F(T, str, filename, 255, 0, "", "valid file name") \
    F(T, str, declared, 128, 0, "", "type the client declared; empty: none") \
    F(T, i64, began_us, 0, 0, "us", "monotonic, when the request began; for the log line")
#define KV_WHOLE_RECEIVED_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "payload: bytes as received, where those of the WHOLE_JUDGED behind it are others")
#define KV_WHOLE_JUDGED_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "payload: bytes as kept; none with a number") \
    F(T, u64, loop, 64, 0, "", "of UPLOAD_WHOLE") \
    F(T, str, folder, 255, 0, "", "of UPLOAD_WHOLE") \
    F(T, str, filename, 255, 0, "", "of UPLOAD_WHOLE") \
    F(T, i64, began_us, 0, 0, "us", "of UPLOAD_WHOLE") \
    F(T, u64, number, 65535, 0, "", "0: accepted; else why not") \
    F(T, str, detail, 512, 0, "", "what was seen") \
    F(T, str, mime, 128, 0, "", "canonical type") \
    F(T, str, ext, 8, 0, "", "extension for the URL") \
    F(T, u64, width, 0, 0, "px", "0: not known") \
    F(T, u64, height, 0, 0, "px", "0: not known") \
    F(T, u64, strip_version, 255, 0, "", "0: bytes kept as received") \
    F(T, boolean, metadata_kept, 0, 0, "", "the type may hold metadata that was not blanked") \
    F(T, boolean, same, 0, 1, "", "the bytes kept are those received; false: a WHOLE_RECEIVED came just before") \
    F(T, bin, hash, 32, 0, "SHA-256", "as received; from the hasher") \
    F(T, bin, stored_hash, 32, 0, "SHA-256", "as kept; from the hasher")
#define KV_PLACE_WHOLE_FIELDS(F, T) \
    F(T, u64, upload, 0, 0, "upload id", "payload: the file; write it, then as PLACE") \
    F(T, str, key, 400, 0, "", "object key") \
    F(T, str, same, 400, 0, "", "as in PLACE")

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
    M(0x14, CANCEL, cancel, "client > broker", "CANCEL_OK", KV_CANCEL_FIELDS, "Cancel a job that is not terminal.") \
    M(0x15, CANCEL_OK, cancel_ok, "broker > client", "", KV_CANCEL_OK_FIELDS, "It is cancelled, and what it was.") \
    M(0x16, SUBMIT_BATCH, submit_batch, "client > broker", "SUBMIT_BATCH_OK", KV_SUBMIT_BATCH_FIELDS, "Add many jobs in one message.") \
    M(0x17, SUBMIT_BATCH_OK, submit_batch_ok, "broker > client", "", KV_SUBMIT_BATCH_OK_FIELDS, "What became of each; the accepted ones are committed.") \
    M(0x18, METADATA, metadata, "client > broker", "METADATA_OK", KV_METADATA_FIELDS, "Merge into the metadata of a job, terminal ones too.") \
    M(0x19, METADATA_OK, metadata_ok, "broker > client", "", KV_METADATA_OK_FIELDS, "The metadata after the merge.") \
    M(0x1a, RETRY, retry, "client > broker", "SUBMIT_OK", KV_RETRY_FIELDS, "Do a job that ended in error (a dead letter) or was cancelled again, as a new job.") \
    M(0x1b, POSITION, position, "client > broker", "POSITIONS", KV_POSITION_FIELDS, "Ask for positions, and watch them.") \
    M(0x1c, POSITIONS, positions, "broker > client", "", KV_POSITIONS_FIELDS, "Positions: the answer, and the pushes (rank up to 10 at most 4 a second, up to 100 once a second, beyond every 5 s; a last one when the job begins and when it ends).") \
    M(0x1d, CREDIT, credit, "client > broker", "CREDIT_OK", KV_CREDIT_FIELDS, "Grant, reserve, confirm or refund credits without a job. ERROR NO_CREDIT: not enough; CONFLICT: a confirmed one is not refunded.") \
    M(0x1e, CREDIT_OK, credit_ok, "broker > client", "", KV_CREDIT_OK_FIELDS, "The transaction and the user's account.") \
    M(0x1f, NOTIFY, notify, "worker > broker", "OKAY", KV_NOTIFY_FIELDS, "The notifier: keep a notification.") \
    M(0x20, READY, ready, "worker > broker", "OKAY", KV_READY_FIELDS, "Offer to work; again after every HELLO and when the credit changes. 0 stops new jobs.") \
    M(0x21, LEASE_HELD, lease_held, "worker > broker", "OKAY", KV_LEASE_HELD_FIELDS, "After every HELLO, before READY: this job is still in hand; one that is not named goes back to the queue. ERROR STALE_LEASE: drop it. BUSY: ask again.") \
    M(0x22, JOB, job, "broker > worker", "", KV_JOB_FIELDS, "Work; the lease is committed.") \
    M(0x23, JOB_PROGRESS, job_progress, "worker > broker", "OKAY", KV_JOB_PROGRESS_FIELDS, "How far a job is.") \
    M(0x24, JOB_DONE, job_done, "worker > broker", "OKAY", KV_JOB_DONE_FIELDS, "A job is complete.") \
    M(0x25, JOB_FAIL, job_fail, "worker > broker", "OKAY", KV_JOB_FAIL_FIELDS, "A job failed.") \
    M(0x26, JOB_CANCEL, job_cancel, "broker > worker", "", KV_JOB_CANCEL_FIELDS, "Stop working on a job.") \
    M(0x27, SEEN, seen, "client > broker", "OKAY", KV_SEEN_FIELDS, "A user has seen notifications.") \
    M(0x30, MEDIA_COMMIT, media_commit, "gateway > broker", "MEDIA_COMMITTED", KV_MEDIA_COMMIT_FIELDS, "A placed file becomes a media row: blob, row, job and event in one transaction.") \
    M(0x31, MEDIA_COMMITTED, media_committed, "broker > gateway", "", KV_MEDIA_COMMITTED_FIELDS, "The row is committed.") \
    M(0x32, MEDIA_DELETE, media_delete, "gateway > broker", "OKAY", KV_MEDIA_DELETE_FIELDS, "Remove a media row.") \
    M(0x33, MEDIA_RETRY, media_retry, "gateway > broker", "OKAY", KV_MEDIA_RETRY_FIELDS, "Process a FAILED one again.") \
    M(0x40, EVENTS, events, "broker > all", "", KV_EVENTS_FIELDS, "PUB: the events of one commit. As an answer: of several commits, one behind the other.") \
    M(0x41, EVENT_HEAD, event_head, "broker > all", "", KV_EVENT_HEAD_FIELDS, "PUB: newest event id, each second.") \
    M(0x42, STATS, stats, "any > broker", "STATS_OK", KV_STATS_FIELDS, "Ask for metrics or health.") \
    M(0x43, STATS_OK, stats_ok, "broker > any", "", KV_STATS_OK_FIELDS, "Metrics, health, or what INSPECT asked for.") \
    M(0x44, INSPECT, inspect, "any > broker", "STATS_OK", KV_INSPECT_FIELDS, "Look into the broker.") \
    M(0x45, EVENTS_GET, events_get, "any > broker", "EVENTS", KV_EVENTS_GET_FIELDS, "Read the event log. `last` = `after` in the answer: there is nothing newer. ERROR NOT_FOUND: the log does not reach back so far, or was never there.") \
    M(0x50, QUEUE_SET, queue_set, "any > broker", "OKAY", KV_QUEUE_SET_FIELDS, "Steer a queue, or one tenant in it; kept over restarts.") \
    M(0x51, PURGE, purge, "any > broker", "OKAY", KV_PURGE_FIELDS, "Empty a queue or its dead letters; OKAY has the count.") \
    M(0x52, PROMOTE, promote, "any > broker", "OKAY", KV_PROMOTE_FIELDS, "Move a waiting job to another lane.") \
    M(0x53, MAINTAIN, maintain, "any > broker", "OKAY", KV_MAINTAIN_FIELDS, "Maintenance on demand (it runs each 30 s, too).") \
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
    M(0x6b, RELEASE, release, "dedup > store", "RELEASED", KV_RELEASE_FIELDS, "Drop the temporary files.") \
    M(0x6c, RELEASED, released, "store > dedup", "", KV_RELEASED_FIELDS, "They are gone.") \
    M(0x6d, UPLOAD_DONE, upload_done, "dedup > loop", "", KV_UPLOAD_DONE_FIELDS, "Answer the client.") \
    M(0x6e, UPLOAD_WHOLE, upload_whole, "loop > scanner", "", KV_UPLOAD_WHOLE_FIELDS, "A small upload, complete: instead of UPLOAD_BEGIN, UPLOAD_CHUNK and UPLOAD_END.") \
    M(0x6f, WHOLE_RECEIVED, whole_received, "scanner > hasher", "", KV_WHOLE_RECEIVED_FIELDS, "Bytes of a whole upload as received, where they differ from those kept.") \
    M(0x70, WHOLE_JUDGED, whole_judged, "scanner > hasher > dedup", "", KV_WHOLE_JUDGED_FIELDS, "What the scanner, then the hasher found out about a whole upload; a refused one goes to dedup at once.") \
    M(0x71, PLACE_WHOLE, place_whole, "dedup > store", "PLACED", KV_PLACE_WHOLE_FIELDS, "Write a whole upload and make it durable under its key.")
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
