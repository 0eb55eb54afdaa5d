/* Lists of jobs. A page is made of candidates, newest first, from the narrowest source there is:
 * the index of a user's jobs, of dead letters, of unfinished jobs where they are few, else a walk
 * over all. A page looks at so many candidates for so long and no more, and its cursor says where
 * to go on: so any filter on any number of rows stays within the 100 ms of a reader. */
#include "storage/read/jobs_list.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "storage/read/job_row.h"
#include "storage/read/jobs.h"

enum {
    ROWS_MAX = 5000,     /* candidates a page looks at */
    TIME_MAX_US = 50000, /* and how long */
    OUT_MAX = 1 << 20,   /* bytes of a page, about: metadata may be large */
    SERVICES_MAX = 4096
};

/* What a filter can judge without reading past the params, which may be large. */
typedef struct candidate {
    uint64_t id;
    int64_t service;
    int lane, state;
    kv_slice tenant; /* valid until the next one */
} candidate;

/* The newest dead letter of a service that was not given out yet; 0: none left. */
typedef struct head {
    int64_t service;
    uint64_t id;
} head;

typedef struct source {
    kv_db *db;
    kv_stmt *walk; /* candidates, or one that holds the snapshot while others are looked up */
    kv_stmt *row;  /* the candidate in hand, where it is looked up */
    enum { WALK, FEW, DEAD } kind;
    uint64_t *few; /* newest first */
    size_t few_n, few_at;
    head *heads;
    size_t heads_n;
    int64_t before;
} source;

#define CANDIDATE "SELECT id, service, lane, state, tenant FROM job "

static candidate candidate_of(kv_stmt *s)
{
    return (candidate){(uint64_t)kv_col_i64(s, 0), kv_col_i64(s, 1), (int)kv_col_i64(s, 2),
                       (int)kv_col_i64(s, 3), kv_col_str(s, 4)};
}

/* ---- unfinished jobs, where they are few ---- */

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The index has them in order of seq, not of id. More than ROWS_MAX: *ret_few false. */
static kv_err add_state(source *s, int state, bool *ret_few)
{
    kv_stmt *st;
    bool row;
    kv_err err;
    KV_TRY(kv_db_prepare(s->db, "SELECT id FROM job WHERE state = $1 AND state < 2", &st));
    kv_bind_i64(st, 1, state);
    while ((err = kv_db_step(st, &row)) == KV_OK && row && *ret_few) {
        uint64_t id = (uint64_t)kv_col_i64(st, 0);
        *ret_few = s->few_n < ROWS_MAX;
        if (*ret_few && id < (uint64_t)s->before)
            s->few[s->few_n++] = id;
    }
    kv_db_done(st);
    return err;
}

static kv_err open_few(source *s, int state, bool *ret_few)
{
    s->few = malloc(ROWS_MAX * sizeof *s->few);
    if (!s->few)
        return KV_E_NO_MEMORY;
    *ret_few = true;
    if (state != KV_JOB_PROCESSING)
        KV_TRY(add_state(s, KV_JOB_QUEUED, ret_few));
    if (*ret_few && state != KV_JOB_QUEUED)
        KV_TRY(add_state(s, KV_JOB_PROCESSING, ret_few));
    if (*ret_few)
        qsort(s->few, s->few_n, sizeof *s->few, newest_first);
    return KV_OK;
}

/* ---- dead letters: a walk a service, merged ---- */

static kv_err next_dead(source *s, head *h, int64_t before)
{
    kv_stmt *st;
    bool row;
    KV_TRY(kv_db_prepare(
        s->db, "SELECT max(id) FROM job WHERE service = $1 AND state = 3 AND id < $2", &st));
    kv_bind_i64(st, 1, h->service);
    kv_bind_i64(st, 2, before);
    kv_err err = kv_db_step(st, &row);
    h->id = err == KV_OK ? (uint64_t)kv_col_i64(st, 0) : 0;
    kv_db_done(st);
    return err;
}

static kv_err open_dead(source *s, int64_t service)
{
    kv_stmt *st;
    bool row;
    kv_err err;
    s->heads = calloc(SERVICES_MAX, sizeof *s->heads);
    if (!s->heads)
        return KV_E_NO_MEMORY;
    KV_TRY(kv_db_prepare(s->db, "SELECT id FROM service", &st));
    while ((err = kv_db_step(st, &row)) == KV_OK && row && s->heads_n < SERVICES_MAX) {
        head h = {.service = kv_col_i64(st, 0)};
        if (service != 0 && h.service != service)
            continue;
        err = next_dead(s, &h, s->before);
        if (err != KV_OK)
            break;
        if (h.id != 0)
            s->heads[s->heads_n++] = h;
    }
    kv_db_done(st);
    return err;
}

static kv_err take_dead(source *s, uint64_t *ret_id)
{
    head *newest = NULL;
    for (size_t i = 0; i < s->heads_n; i++) {
        if (s->heads[i].id != 0 && (!newest || s->heads[i].id > newest->id))
            newest = &s->heads[i];
    }
    *ret_id = newest ? newest->id : 0;
    return newest ? next_dead(s, newest, (int64_t)newest->id) : KV_OK;
}

/* ---- any source ---- */

static kv_err open_walk(source *s, kv_slice user)
{
    s->kind = WALK;
    kv_db_done(s->walk);
    s->walk = NULL;
    if (user.len > 0) {
        KV_TRY(kv_db_prepare(s->db, CANDIDATE "WHERE user = $2 AND id < $1 ORDER BY id DESC",
                             &s->walk));
        kv_bind_str(s->walk, 2, user);
    } else {
        KV_TRY(kv_db_prepare(s->db, CANDIDATE "WHERE id < $1 ORDER BY id DESC", &s->walk));
    }
    kv_bind_i64(s->walk, 1, s->before);
    return KV_OK;
}

static kv_err open_source(source *s, const kv_jobs_query *q, int64_t service)
{
    bool row, few = false;
    if (q->user.len > 0)
        return open_walk(s, q->user);
    /* in the middle of its rows: it keeps all look-ups in one snapshot */
    KV_TRY(kv_db_prepare(s->db, "SELECT 1 FROM job", &s->walk));
    KV_TRY(kv_db_step(s->walk, &row));
    if (q->state == KV_JOB_ERROR) {
        s->kind = DEAD;
        return open_dead(s, service);
    }
    if (q->state == -2 || q->state == KV_JOB_QUEUED || q->state == KV_JOB_PROCESSING)
        KV_TRY(open_few(s, q->state, &few));
    s->kind = FEW;
    return few ? KV_OK : open_walk(s, q->user);
}

static kv_err look_up(source *s, uint64_t id, candidate *c, bool *have)
{
    kv_db_done(s->row);
    s->row = NULL;
    KV_TRY(kv_db_prepare(s->db, CANDIDATE "WHERE id = $1", &s->row));
    kv_bind_i64(s->row, 1, (int64_t)id);
    KV_TRY(kv_db_step(s->row, have));
    if (!*have)
        return KV_E_DB; /* the snapshot holds it: the index is damaged */
    *c = candidate_of(s->row);
    return KV_OK;
}

static kv_err next_of(source *s, candidate *c, bool *have)
{
    uint64_t id = 0;
    if (s->kind == WALK) {
        KV_TRY(kv_db_step(s->walk, have));
        if (*have)
            *c = candidate_of(s->walk);
        return KV_OK;
    }
    if (s->kind == FEW)
        id = s->few_at < s->few_n ? s->few[s->few_at++] : 0;
    else
        KV_TRY(take_dead(s, &id));
    *have = id != 0;
    return id != 0 ? look_up(s, id, c, have) : KV_OK;
}

static void close_source(source *s)
{
    kv_db_done(s->row);
    kv_db_done(s->walk);
    free(s->few);
    free(s->heads);
}

/* ---- a page ---- */

static kv_err find_service(kv_db *db, kv_slice name, int64_t *ret_id)
{
    kv_stmt *s;
    bool row;
    *ret_id = 0;
    KV_TRY(kv_db_prepare(db, "SELECT id FROM service WHERE name = $1", &s));
    kv_bind_str(s, 1, name);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK)
        *ret_id = row ? kv_col_i64(s, 0) : -1;
    kv_db_done(s);
    return err;
}

static bool state_fits(int wanted, int state)
{
    return wanted == -1 || state == wanted || (wanted == -2 && state <= KV_JOB_PROCESSING);
}

static bool matches(const kv_jobs_query *q, int64_t service, const candidate *c)
{
    return (service == 0 || c->service == service) && state_fits(q->state, c->state) &&
           (q->lane < 0 || c->lane == q->lane) &&
           (q->tenant.len == 0 || kv_slice_eq(q->tenant, c->tenant));
}

static kv_err fill(source *s, const kv_jobs_query *q, int64_t service, kv_buf *out,
                   uint64_t *ret_next)
{
    const size_t begun_len = out->len;
    const int64_t until = kv_mono_us(&kv_clock_real) + TIME_MAX_US;
    uint64_t last = 0;
    candidate c;
    bool have;
    for (int looked = 0, n = 0;;) {
        KV_TRY(next_of(s, &c, &have));
        if (!have)
            return KV_OK;
        if (n == q->limit || looked++ == ROWS_MAX || out->len - begun_len > OUT_MAX)
            break;
        if (matches(q, service, &c)) {
            bool added = false;
            KV_TRY(kv_job_list_item(s->db, c.id, q->tag, out, &added));
            n += added;
        }
        last = c.id;
        if (kv_mono_us(&kv_clock_real) > until)
            break;
    }
    *ret_next = last; /* there may be more after what was looked at */
    return KV_OK;
}

static bool valid(const kv_jobs_query *q)
{
    return q->limit >= 1 && q->limit <= KV_JOBS_PAGE_MAX && q->state >= -2 &&
           q->state <= KV_JOB_CANCELLED && q->lane >= -1 && q->lane <= 2 &&
           !memchr(q->tag.len ? q->tag.ptr : "", ',', q->tag.len);
}

kv_err kv_jobs_list_json(kv_db *db, const kv_jobs_query *query, kv_buf *out, uint64_t *ret_next)
{
    source s = {.db = db};
    int64_t service = 0;
    *ret_next = 0;
    if (!valid(query))
        return KV_E_BAD_PARAMETER;
    s.before = query->before == 0 || query->before > INT64_MAX ? INT64_MAX : (int64_t)query->before;
    kv_err err = query->service.len > 0 ? find_service(db, query->service, &service) : KV_OK;
    kv_json_open(out, '[');
    if (err == KV_OK && service >= 0)
        err = open_source(&s, query, service);
    if (err == KV_OK && service >= 0)
        err = fill(&s, query, service, out, ret_next);
    kv_json_close(out, ']');
    close_source(&s);
    return err != KV_OK ? err : kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_jobs_dead_count(kv_db *db, kv_slice service, uint64_t max, uint64_t *ret)
{
    int64_t id = 0;
    bool row;
    kv_stmt *s;
    *ret = 0;
    KV_TRY(find_service(db, service, &id));
    KV_TRY(kv_db_prepare(
        db, "SELECT count(*) FROM (SELECT 1 FROM job WHERE service = $1 AND state = 3 LIMIT $2)",
        &s));
    kv_bind_i64(s, 1, id);
    kv_bind_i64(s, 2, max > INT64_MAX ? INT64_MAX : (int64_t)max);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK)
        *ret = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}
