/* Lists of jobs. A page is made of candidates, newest first, from the narrowest source there is: a
 * user's jobs, the dead letters, the unfinished jobs, else a walk over all. A page looks at so many
 * candidates for so long and no more, and its cursor says where to go on: so any filter on any
 * number of rows stays within the 100 ms of a reader. */
#include "storage/read/jobs_list.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "storage/read/job_row.h"

enum {
    ROWS_MAX = 5000, /* candidates a page looks at, all of which it may have to read */
    STATES_MAX =
        100000, /* and where their state alone tells: the few that run among many that wait */
    TIME_MAX_US = 50000, /* and how long */
    OUT_MAX = 1 << 20,   /* bytes of a page, about: metadata may be large */
    SERVICES_MAX = 4096  /* whose dead letters are merged */
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
    head *heads;   /* of the dead letters; NULL: the walk gives the candidates */
    size_t heads_n;
    int64_t newest; /* the first candidate is this one or older */
} source;

#define CANDIDATE "SELECT j.id, j.service, j.lane, j.state, j.tenant FROM "

static candidate candidate_of(kv_stmt *s)
{
    return (candidate){(uint64_t)kv_col_i64(s, 0), kv_col_i64(s, 1), (int)kv_col_i64(s, 2),
                       (int)kv_col_i64(s, 3), kv_col_str(s, 4)};
}

/* ---- dead letters: a walk a service, merged ---- */

static kv_err next_dead(source *s, head *h, int64_t newest)
{
    kv_stmt *st;
    bool row;
    KV_TRY(kv_db_prepare(s->db, "SELECT max(job) FROM dead_letter WHERE service = $1 AND job <= $2",
                         &st));
    kv_bind_i64(st, 1, h->service);
    kv_bind_i64(st, 2, newest);
    kv_err err = kv_db_step(st, &row);
    h->id = err == KV_OK ? (uint64_t)kv_col_i64(st, 0) : 0;
    kv_db_done(st);
    return err;
}

/* By what they hold and not by their names, of which there is one for each queue there ever was.
 * 0: no more. */
static kv_err next_with_dead(kv_db *db, int64_t after, int64_t *ret)
{
    kv_stmt *st;
    bool row;
    KV_TRY(kv_db_prepare(db, "SELECT min(service) FROM dead_letter WHERE service > $1", &st));
    kv_bind_i64(st, 1, after);
    kv_err err = kv_db_step(st, &row);
    *ret = err == KV_OK ? kv_col_i64(st, 0) : 0;
    kv_db_done(st);
    return err;
}

static kv_err add_head(source *s, int64_t service)
{
    head *h = &s->heads[s->heads_n];
    *h = (head){.service = service};
    KV_TRY(next_dead(s, h, s->newest));
    s->heads_n += h->id != 0;
    return KV_OK;
}

/* *ret_all: false where there are more services than can be merged. */
static kv_err open_dead(source *s, int64_t service, bool *ret_all)
{
    *ret_all = true;
    s->heads = calloc(SERVICES_MAX, sizeof *s->heads);
    if (!s->heads)
        return KV_E_NO_MEMORY;
    if (service != 0)
        return add_head(s, service);
    for (int64_t each = 0;;) {
        KV_TRY(next_with_dead(s->db, each, &each));
        if (each == 0)
            return KV_OK;
        *ret_all = s->heads_n < SERVICES_MAX;
        if (!*ret_all)
            return KV_OK;
        KV_TRY(add_head(s, each));
    }
}

static kv_err take_dead(source *s, uint64_t *ret_id)
{
    head *newest = NULL;
    for (size_t i = 0; i < s->heads_n; i++) {
        if (s->heads[i].id != 0 && (!newest || s->heads[i].id > newest->id))
            newest = &s->heads[i];
    }
    *ret_id = newest ? newest->id : 0;
    return newest ? next_dead(s, newest, (int64_t)newest->id - 1) : KV_OK;
}

/* ---- any source ---- */

/* kv_jobs_open of storage/write/jobs.h: above open_from their rows tell, below it job_open. Ordered
 * by u.job, for j.id would be sorted. */
#define UNFINISHED                                                                                 \
    CANDIDATE "job j WHERE j.id >= (SELECT value FROM counter WHERE name = 'open_from') "          \
              "AND j.id <= $1 AND j.state < 2 UNION ALL "                                          \
              "SELECT u.job, j.service, j.lane, j.state, j.tenant FROM job_open u "                \
              "CROSS JOIN job j ON j.id = u.job WHERE u.job <= $1 ORDER BY 1 DESC"

static kv_err open_walk(source *s, const kv_jobs_query *q)
{
    if (q->user.len > 0) {
        KV_TRY(kv_db_prepare(s->db,
                             CANDIDATE "job_option o CROSS JOIN job j ON j.id = o.job "
                                       "WHERE o.user = $2 AND o.job <= $1 AND NOT ($3 AND "
                                       "o.retried_by IS NOT NULL) ORDER BY o.job DESC",
                             &s->walk));
        kv_bind_str(s->walk, 2, q->user);
        kv_bind_i64(s->walk, 3,
                    q->state == KV_JOB_ERROR); /* dead letters only, as without a user */
    } else if (q->state == -2 || q->state == KV_JOB_QUEUED || q->state == KV_JOB_PROCESSING) {
        KV_TRY(kv_db_prepare(s->db, UNFINISHED, &s->walk));
    } else {
        KV_TRY(
            kv_db_prepare(s->db, CANDIDATE "job j WHERE j.id <= $1 ORDER BY j.id DESC", &s->walk));
    }
    kv_bind_i64(s->walk, 1, s->newest);
    return KV_OK;
}

/* All jobs, where an error that is no dead letter any more fits no filter. */
static kv_err walk_for_dead(source *s)
{
    free(s->heads);
    s->heads = NULL;
    kv_db_done(s->walk);
    s->walk = NULL;
    KV_TRY(kv_db_prepare(s->db,
                         "SELECT j.id, j.service, j.lane, CASE WHEN j.state = 3 AND NOT EXISTS "
                         "(SELECT 1 FROM dead_letter d WHERE d.service = j.service AND "
                         "d.job = j.id) THEN 5 ELSE j.state END, j.tenant "
                         "FROM job j WHERE j.id <= $1 ORDER BY j.id DESC",
                         &s->walk));
    kv_bind_i64(s->walk, 1, s->newest);
    return KV_OK;
}

static kv_err open_source(source *s, const kv_jobs_query *q, int64_t service)
{
    bool row;
    if (q->user.len > 0 || q->state != KV_JOB_ERROR)
        return open_walk(s, q);
    /* in the middle of its rows: it keeps all look-ups in one snapshot */
    KV_TRY(kv_db_prepare(s->db, "SELECT 1 FROM job", &s->walk));
    KV_TRY(kv_db_step(s->walk, &row));
    bool all;
    kv_err err = open_dead(s, service, &all);
    return err != KV_OK || all ? err : walk_for_dead(s);
}

static kv_err look_up(source *s, uint64_t id, candidate *c, bool *have)
{
    kv_db_done(s->row);
    s->row = NULL;
    KV_TRY(kv_db_prepare(s->db, CANDIDATE "job j WHERE j.id = $1", &s->row));
    kv_bind_i64(s->row, 1, (int64_t)id);
    KV_TRY(kv_db_step(s->row, have));
    if (!*have)
        return kv_db_damage("index of jobs", id); /* the snapshot holds it */
    *c = candidate_of(s->row);
    return KV_OK;
}

static kv_err next_of(source *s, candidate *c, bool *have)
{
    uint64_t id;
    if (!s->heads) {
        KV_TRY(kv_db_step(s->walk, have));
        if (*have)
            *c = candidate_of(s->walk);
        return KV_OK;
    }
    KV_TRY(take_dead(s, &id));
    *have = id != 0;
    return id != 0 ? look_up(s, id, c, have) : KV_OK;
}

static void close_source(source *s)
{
    kv_db_done(s->row);
    kv_db_done(s->walk);
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
    const int most = q->state == KV_JOB_PROCESSING ? STATES_MAX : ROWS_MAX;
    uint64_t last = 0;
    candidate c;
    bool have;
    for (int looked = 0, n = 0;;) {
        KV_TRY(next_of(s, &c, &have));
        if (!have)
            return KV_OK;
        if (n == q->limit || looked++ == most || out->len - begun_len > OUT_MAX)
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
    s.newest =
        query->before == 0 || query->before > INT64_MAX ? INT64_MAX : (int64_t)query->before - 1;
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
        db, "SELECT count(*) FROM (SELECT 1 FROM dead_letter WHERE service = $1 LIMIT $2)", &s));
    kv_bind_i64(s, 1, id);
    kv_bind_i64(s, 2, max > INT64_MAX ? INT64_MAX : (int64_t)max);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK)
        *ret = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

kv_err kv_jobs_service_known(kv_db *db, kv_slice service, bool *ret)
{
    int64_t id = -1;
    kv_err err = find_service(db, service, &id);
    *ret = id > 0;
    return err;
}

kv_err kv_jobs_dead_oldest(kv_db *db, kv_slice service, uint64_t after, int max, uint64_t *ret_ids,
                           int *ret_n)
{
    int64_t id = 0;
    bool row;
    kv_stmt *s;
    kv_err err;
    *ret_n = 0;
    KV_TRY(find_service(db, service, &id));
    KV_TRY(kv_db_prepare(db,
                         "SELECT job FROM dead_letter WHERE service = $1 AND job > $2 "
                         "ORDER BY job LIMIT $3",
                         &s));
    kv_bind_i64(s, 1, id);
    kv_bind_i64(s, 2, after > INT64_MAX ? INT64_MAX : (int64_t)after);
    kv_bind_i64(s, 3, max);
    while ((err = kv_db_step(s, &row)) == KV_OK && row)
        ret_ids[(*ret_n)++] = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}
