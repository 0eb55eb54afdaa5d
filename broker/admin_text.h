/* What operators read: aligned tables and human units. Names and details come from clients, so
 * whatever a terminal could take for a command is shown as "?". Pure. */
#ifndef KV_BROKER_ADMIN_TEXT_H
#define KV_BROKER_ADMIN_TEXT_H

#include <jansson.h>

#include "proto/base/buf.h"

/* "0 ms", "850 ms", "12 s", "3 m 12 s", "2 h 5 m", "3 d 4 h". */
void kv_human_ms(int64_t ms, kv_buf *out);
void kv_human_bytes(int64_t bytes, kv_buf *out);                /* "512 B", "1.5 MiB" */
void kv_human_count(uint64_t n, const char *what, kv_buf *out); /* "1 job", "2 jobs" */
/* Appends `text` without control characters, line ends and broken UTF-8; cut to `max` characters
 * with "…" (0: whole). Returns the characters written. */
size_t kv_plain_text(kv_slice text, size_t max, kv_buf *out);

enum { KV_TABLE_COLS = 16 };

/* Rows are held until the table is written; a column is as wide as its widest cell. */
typedef struct kv_table {
    const char *heads[KV_TABLE_COLS]; /* literals; one that begins with ">" is right-aligned */
    int cols, col;                    /* how many; the next cell's */
    size_t widths[KV_TABLE_COLS];
    bool head_written;
    kv_buf cells; /* each ended by a NUL */
} kv_table;

void kv_table_release(kv_table *t);
/* Writes what was collected, with the heads the first time. Widths stay for the next page. */
void kv_table_write(kv_table *t, kv_buf *out);

/* A column made from a member of JSON objects. A member that is not there or null gives "-". */
typedef enum kv_column_kind {
    KV_COLUMN_TEXT,    /* strings, numbers and words as they are; arrays joined by commas */
    KV_COLUMN_MS,      /* a number of milliseconds, as a span of time */
    KV_COLUMN_S,       /* the same of seconds */
    KV_COLUMN_PERCENT, /* a share from 0 to 1 */
    KV_COLUMN_RATE,    /* a number with one decimal */
    KV_COLUMN_TIME,    /* "2026-11-21T10:00:00.000Z" as "2026-11-21 10:00:00" */
    KV_COLUMN_TIME_MS  /* the same as "2026-11-21 10:00:00.000" */
} kv_column_kind;
typedef struct kv_column {
    const char *head; /* as in kv_table */
    const char *path; /* "a" or "a.b" */
    kv_column_kind kind;
} kv_column;
void kv_table_init_columns(kv_table *t, const kv_column *columns, int n);
void kv_table_row(kv_table *t, const kv_column *columns, const json_t *object);
/* One member as text. */
void kv_column_text(const json_t *object, const char *path, kv_column_kind kind, kv_buf *out);

#endif
