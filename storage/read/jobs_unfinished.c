/* The unfinished jobs, at start. kv_jobs_open in storage/write/jobs.h says where they are. They are
 * read in the order of their ids, which is that of the table, and given in that of seq, which is
 * nearly the same: few rows are held until their turn comes. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "storage/read/job_history.h"
#include "storage/read/jobs.h"

enum {
    STEPS_MAX = 8, /* rows passed one by one to the next job; a new search costs as much */
    RECENT = 256   /* tenants whose names are not kept once more */
};

typedef struct key {
    uint64_t id, seq;
    uint32_t turn; /* how many have a smaller seq */
} key;

/* A row that was read. */
typedef struct kept {
    uint64_t id, seq, tag, epoch;
    uint32_t attempt, given_back, max_attempts;
    uint64_t not_before, created_at, backoff_ms, backoff_max_ms, deadline_ms;
    uint32_t tenant, service, worker; /* where their names stand */
    uint32_t next; /* among the free ones: number of the next one, from 1; 0: none */
    uint8_t tenant_len, worker_len, lane, state;
} kept;

typedef struct name {
    uint32_t at;
    uint8_t len;
} name;

typedef struct service {
    int64_t id;
    uint32_t name;
} service;

typedef struct list {
    void *of;
    size_t n, cap;
} list;

typedef struct reading {
    kv_db *db;
    kv_stmt *walk; /* over `job`, all states, from some id on */
    uint64_t at;   /* the id of its row; UINT64_MAX: behind the last */
    list keys, services;
    list rows;           /* kept ones, given and free */
    uint32_t free;       /* the first of those; as kept.next */
    uint32_t *by_turn;   /* number of the row in `rows`, from 1; 0: not read yet */
    size_t given;        /* turns */
    const service *last; /* most neighbours are of one */
    name recent[RECENT];
    kv_buf names;
    bool in_order;    /* the keys, by seq */
    uint64_t largest; /* seq of the last key */
} reading;

/* One more, of `size` bytes; NULL: no memory. */
static void *add(list *l, size_t size)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        void *bigger = realloc(l->of, cap * size);
        if (!bigger)
            return NULL;
        l->of = bigger;
        l->cap = cap;
    }
    return (char *)l->of + l->n++ * size;
}

/* ---- names ---- */

static uint32_t keep_name(reading *r, kv_slice text)
{
    size_t at = r->names.len;
    kv_buf_add(&r->names, text.ptr, text.len);
    kv_buf_addc(&r->names, '\0');
    return (uint32_t)at;
}

/* Of tenants and workers. */
static name keep_common(reading *r, kv_slice text)
{
    uint32_t hash = 0;
    if (text.len == 0 || text.len > UINT8_MAX)
        return (name){.at = 0};
    for (size_t i = 0; i < text.len; i++)
        hash = hash * 31 + (unsigned char)text.ptr[i];
    name *known = &r->recent[hash % RECENT];
    if (known->len != text.len || memcmp(r->names.data + known->at, text.ptr, text.len) != 0)
        *known = (name){.at = keep_name(r, text), .len = (uint8_t)text.len};
    return *known;
}

static kv_err read_services(reading *r)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    KV_TRY(kv_db_prepare(r->db, "SELECT id, name FROM service ORDER BY id", &s));
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        service *to = add(&r->services, sizeof *to);
        if (!to) {
            err = KV_E_NO_MEMORY;
            break;
        }
        *to = (service){.id = kv_col_i64(s, 0), .name = keep_name(r, kv_col_str(s, 1))};
    }
    kv_db_done(s);
    return err;
}

static int by_id(const void *wanted, const void *of)
{
    int64_t id = *(const int64_t *)wanted, other = ((const service *)of)->id;
    return (id > other) - (id < other);
}

static kv_err find_service(reading *r, uint64_t job, int64_t id, uint32_t *ret_name)
{
    if (!r->last || r->last->id != id)
        r->last = r->services.n
                      ? bsearch(&id, r->services.of, r->services.n, sizeof *r->last, by_id)
                      : NULL;
    if (!r->last)
        return kv_db_damage("service of a job", job); /* none is written without it */
    *ret_name = r->last->name;
    return KV_OK;
}

/* ---- rows ---- */

#define COLUMNS                                                                                    \
    "SELECT id, state, epoch, attempt, options, service, lane, max_attempts, tag, not_before, "    \
    "created_at, tenant, given_back, CASE state WHEN 1 THEN history END FROM job "

static kv_err read_options(reading *r, kept *k)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(
        r->db, "SELECT backoff, backoff_max, deadline FROM job_option WHERE job = $1", &s));
    kv_bind_i64(s, 1, (int64_t)k->id);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row) {
        k->backoff_ms = (uint64_t)kv_col_i64(s, 0);
        k->backoff_max_ms = (uint64_t)kv_col_i64(s, 1);
        k->deadline_ms = (uint64_t)kv_col_i64(s, 2);
    }
    kv_db_done(s);
    return err;
}

/* Room for a row; its number from 1, 0: no memory. */
static uint32_t take_row(reading *r)
{
    uint32_t number = r->free;
    if (number == 0)
        return add(&r->rows, sizeof(kept)) ? (uint32_t)r->rows.n : 0;
    r->free = ((kept *)r->rows.of)[number - 1].next;
    return number;
}

static kv_err keep_row(reading *r, const key *of, uint32_t *ret_number)
{
    kv_stmt *s = r->walk;
    name tenant = keep_common(r, kv_col_str(s, 11));
    name worker = keep_common(r, kv_job_history_holder(kv_col_str(s, 13)));
    uint32_t number = *ret_number = take_row(r);
    if (number == 0 || !kv_buf_ok(&r->names))
        return KV_E_NO_MEMORY;
    kept *k = (kept *)r->rows.of + number - 1;
    *k = (kept){.id = of->id,
                .seq = of->seq,
                .state = (uint8_t)kv_col_i64(s, 1),
                .epoch = (uint64_t)kv_col_i64(s, 2),
                .attempt = (uint32_t)kv_col_i64(s, 3),
                .lane = (uint8_t)kv_col_i64(s, 6),
                .max_attempts = (uint32_t)kv_col_i64(s, 7),
                .tag = (uint64_t)kv_col_i64(s, 8),
                .not_before = (uint64_t)kv_col_i64(s, 9),
                .created_at = (uint64_t)kv_col_i64(s, 10),
                .given_back = (uint32_t)kv_col_i64(s, 12),
                .tenant = tenant.at,
                .tenant_len = tenant.len,
                .worker = worker.at,
                .worker_len = worker.len};
    KV_TRY(find_service(r, of->id, kv_col_i64(s, 5), &k->service));
    return kv_col_i64(s, 4) ? read_options(r, k) : KV_OK;
}

/* ---- the order ---- */

static kv_err read_keys(reading *r, const char *sql)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    KV_TRY(kv_db_prepare(r->db, sql, &s));
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        key *k = r->keys.n < UINT32_MAX ? add(&r->keys, sizeof *k) : NULL;
        if (!k) {
            err = KV_E_NO_MEMORY;
            break;
        }
        *k = (key){.id = (uint64_t)kv_col_i64(s, 0),
                   .seq = (uint64_t)kv_col_i64(s, 1),
                   .turn = (uint32_t)r->keys.n - 1};
        r->in_order &= r->largest <= k->seq;
        r->largest = k->seq;
    }
    kv_db_done(s);
    return err;
}

static int by_seq(const void *a, const void *b)
{
    const key *x = a, *y = b;
    if (x->seq != y->seq)
        return x->seq < y->seq ? -1 : 1;
    return (x->turn > y->turn) - (x->turn < y->turn);
}

/* Each gets its turn. */
static kv_err sort_keys(reading *r)
{
    key *keys = r->keys.of, *sorted = malloc(r->keys.n * sizeof *sorted);
    if (!sorted)
        return KV_E_NO_MEMORY;
    memcpy(sorted, keys, r->keys.n * sizeof *sorted);
    qsort(sorted, r->keys.n, sizeof *sorted, by_seq);
    for (size_t i = 0; i < r->keys.n; i++)
        keys[sorted[i].turn].turn = (uint32_t)i;
    free(sorted);
    return KV_OK;
}

static kv_err find_order(reading *r)
{
    KV_TRY(read_keys(r, "SELECT job, seq FROM job_open ORDER BY job"));
    KV_TRY(read_keys(r, "SELECT id, seq FROM job WHERE id >= (SELECT value FROM counter WHERE "
                        "name = 'open_from') AND state < 2 ORDER BY id"));
    if (r->keys.n == 0)
        return KV_OK;
    r->by_turn = calloc(r->keys.n, sizeof *r->by_turn);
    if (!r->by_turn)
        return KV_E_NO_MEMORY;
    return r->in_order ? KV_OK : sort_keys(r);
}

/* ---- the walk: keys and rows side by side ---- */

static kv_err step(reading *r)
{
    bool row;
    KV_TRY(kv_db_step(r->walk, &row));
    r->at = row ? (uint64_t)kv_col_i64(r->walk, 0) : UINT64_MAX;
    return KV_OK;
}

static kv_err search(reading *r, uint64_t id)
{
    kv_db_done(r->walk);
    r->walk = NULL;
    KV_TRY(kv_db_prepare(r->db, COLUMNS "WHERE id >= $1 ORDER BY id", &r->walk));
    kv_bind_i64(r->walk, 1, (int64_t)id);
    return step(r);
}

/* The next one is near where many wait, and may be far where few do. */
static kv_err go_to(reading *r, uint64_t id)
{
    for (int i = 0; r->walk && r->at < id && i < STEPS_MAX; i++)
        KV_TRY(step(r));
    if (!r->walk || r->at < id)
        KV_TRY(search(r, id));
    return r->at == id ? KV_OK : kv_db_damage("row of a job", id); /* each key has one */
}

/* ---- in turn ---- */

static bool give(reading *r, uint32_t number, bool (*fn)(void *arg, const kv_job_row *row),
                 void *arg)
{
    kept *k = (kept *)r->rows.of + number - 1;
    kv_job_row row = {.id = k->id,
                      .seq = k->seq,
                      .epoch = k->epoch,
                      .attempt = k->attempt,
                      .given_back = k->given_back,
                      .max_attempts = k->max_attempts,
                      .not_before = k->not_before,
                      .created_at = k->created_at,
                      .tag = k->tag,
                      .backoff_ms = k->backoff_ms,
                      .backoff_max_ms = k->backoff_max_ms,
                      .deadline_ms = k->deadline_ms,
                      .lane = k->lane,
                      .state = k->state,
                      .service = r->names.data + k->service,
                      .tenant = kv_slice_of(r->names.data + k->tenant, k->tenant_len),
                      .worker = kv_slice_of(r->names.data + k->worker, k->worker_len)};
    k->next = r->free;
    r->free = number;
    return fn(arg, &row);
}

static kv_err walk(reading *r, bool (*fn)(void *arg, const kv_job_row *row), void *arg)
{
    for (size_t i = 0; i < r->keys.n; i++) {
        const key *k = (const key *)r->keys.of + i;
        KV_TRY(go_to(r, k->id));
        KV_TRY(keep_row(r, k, &r->by_turn[k->turn]));
        for (uint32_t n; r->given < r->keys.n && (n = r->by_turn[r->given]) != 0; r->given++) {
            if (!give(r, n, fn, arg))
                return KV_OK;
        }
    }
    return KV_OK;
}

kv_err kv_jobs_unfinished(kv_db *db, bool (*fn)(void *arg, const kv_job_row *row), void *arg)
{
    reading r = {.db = db, .in_order = true};
    kv_buf_init(&r.names, UINT32_MAX - 1);
    kv_err err = read_services(&r);
    if (err == KV_OK)
        err = find_order(&r);
    if (err == KV_OK)
        err = walk(&r, fn, arg);
    kv_db_done(r.walk);
    free(r.keys.of);
    free(r.services.of);
    free(r.rows.of);
    free(r.by_turn);
    kv_buf_release(&r.names);
    return err;
}
