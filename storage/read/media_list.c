/* Lists of media. A page is made of candidates, newest first, from one of two sources: a statement
 * that walks an index, or a merge of the folders asked for, unless these are too many; folder,
 * status and name are looked at here. A page looks at so many candidates for so long and no more,
 * and its cursor says where to go on: so any filter on any number of rows stays within the 100 ms
 * of a reader, on a slow disk, too. */
#include "storage/read/media.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "storage/read/name_match.h"

enum {
    PAGE_MAX = 200,
    SCAN_BUDGET = 30000, /* candidates of a walk: about 10 ms */
    MERGE_BUDGET = 2000, /* candidates of a merge, each a look-up: about 10 ms */
    TIME_MAX_US = 50000, /* and how long */
    FOLDERS_MAX = 4096,  /* that are merged, each a look-up, too */
    FIND_MAX_US = 25000  /* and how long they are looked for */
};

typedef struct candidate {
    uint64_t id;
    int status;
    kv_slice folder, filename;
} candidate;

typedef struct source {
    kv_db *db;
    kv_stmt *walk; /* of the walk, or of the row in hand of a merge */
    kv_stmt *hold; /* of a merge: a statement in the middle of its rows, which keeps all look-ups in
                      one snapshot */
    bool merge;
    uint64_t *heap; /* newest id of each folder, the newest of all first */
    size_t heap_len, heap_cap;
} source;

/* ---- walk ---- */

#define WALK "SELECT id, status, folder, filename FROM media WHERE id < $1 "

/* SQLite takes a partial index only where its own condition stands in the statement. */
static const char *walk_sql(int status)
{
    if (status == KV_STATUS_PENDING)
        return WALK "AND status = 0 AND status <> 1 ORDER BY id DESC";
    if (status == KV_STATUS_FAILED)
        return WALK "AND status = 2 AND status <> 1 ORDER BY id DESC";
    return WALK "ORDER BY id DESC";
}

static kv_err next_of_walk(source *s, candidate *c, bool *have)
{
    KV_TRY(kv_db_step(s->walk, have));
    if (*have)
        *c = (candidate){(uint64_t)kv_col_i64(s->walk, 0), (int)kv_col_i64(s->walk, 1),
                         kv_col_str(s->walk, 2), kv_col_str(s->walk, 3)};
    return KV_OK;
}

/* ---- merge ---- */

static bool heap_add(source *s, uint64_t id)
{
    if (s->heap_len == s->heap_cap) {
        size_t cap = s->heap_cap ? s->heap_cap * 2 : 64;
        uint64_t *heap = realloc(s->heap, cap * sizeof *heap);
        if (!heap)
            return false;
        s->heap = heap;
        s->heap_cap = cap;
    }
    size_t i = s->heap_len++;
    for (; i > 0 && s->heap[(i - 1) / 2] < id; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = id;
    return true;
}

/* Puts `id` in the place of the first one, or takes that away (0). */
static void heap_replace(source *s, uint64_t id)
{
    if (id == 0) {
        id = s->heap[--s->heap_len];
        if (s->heap_len == 0)
            return;
    }
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < s->heap_len && s->heap[child + 1] > s->heap[child])
            child++;
        if (child >= s->heap_len || s->heap[child] <= id)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = id;
}

/* The folder itself and those below it: "haber/" up to "haber0", '0' being what follows '/'. */
static const char FOLDERS_SQL[] = "SELECT (SELECT max(id) FROM media m WHERE m.folder = f.name AND "
                                  "m.id < $4) FROM folder f WHERE name = $1 "
                                  "UNION ALL "
                                  "SELECT (SELECT max(id) FROM media m WHERE m.folder = f.name AND "
                                  "m.id < $4) FROM folder f WHERE name >= $2 AND name < $3";

/* *ret_all: false where there are more than can be merged. */
static kv_err add_heads(source *s, kv_stmt *st, bool *ret_all)
{
    const int64_t until = kv_mono_us(&kv_clock_real) + FIND_MAX_US;
    bool row;
    kv_err err;
    *ret_all = true;
    for (int n = 0; (err = kv_db_step(st, &row)) == KV_OK && row; n++) {
        *ret_all = n < FOLDERS_MAX && (n == 0 || n % 16 || kv_mono_us(&kv_clock_real) <= until);
        if (!*ret_all)
            return KV_OK;
        if (!kv_col_null(st, 0) && !heap_add(s, (uint64_t)kv_col_i64(st, 0)))
            return KV_E_NO_MEMORY;
    }
    return err;
}

static kv_err open_merge(source *s, kv_slice folder, int64_t before, bool *ret_all)
{
    char from[KV_FOLDER_MAX + 1], to[KV_FOLDER_MAX + 1];
    memcpy(from, folder.ptr, folder.len);
    memcpy(to, folder.ptr, folder.len);
    from[folder.len] = '/';
    to[folder.len] = '0';
    kv_stmt *st;
    bool row;
    *ret_all = true;
    KV_TRY(kv_db_prepare(s->db, "SELECT 1 FROM folder", &s->hold));
    KV_TRY(kv_db_step(s->hold, &row));
    if (!row)
        return KV_OK;
    KV_TRY(kv_db_prepare(s->db, FOLDERS_SQL, &st));
    kv_bind_str(st, 1, folder);
    kv_bind_str(st, 2, kv_slice_of(from, folder.len + 1));
    kv_bind_str(st, 3, kv_slice_of(to, folder.len + 1));
    kv_bind_i64(st, 4, before);
    kv_err err = add_heads(s, st, ret_all);
    kv_db_done(st);
    return err;
}

static kv_err next_of_merge(source *s, candidate *c, bool *have)
{
    kv_db_done(s->walk);
    s->walk = NULL;
    *have = s->heap_len > 0;
    if (!*have)
        return KV_OK;
    uint64_t id = s->heap[0];
    KV_TRY(kv_db_prepare(s->db,
                         "SELECT status, folder, filename, (SELECT max(id) FROM media o WHERE "
                         "o.folder = m.folder AND o.id < m.id) "
                         "FROM media m WHERE id = $1",
                         &s->walk));
    kv_bind_i64(s->walk, 1, (int64_t)id);
    bool row;
    KV_TRY(kv_db_step(s->walk, &row));
    if (!row)
        return kv_db_damage("index of media", id); /* the snapshot holds it */
    *c = (candidate){id, (int)kv_col_i64(s->walk, 0), kv_col_str(s->walk, 1),
                     kv_col_str(s->walk, 2)};
    heap_replace(s, (uint64_t)kv_col_i64(s->walk, 3));
    return KV_OK;
}

/* ---- a page ---- */

static bool matches(const kv_media_filter *f, kv_name_match *search, const candidate *c)
{
    return (f->status < 0 || c->status == f->status) &&
           (f->folder.len == 0 || kv_folder_below(c->folder, f->folder)) &&
           kv_name_matches(search, c->filename);
}

typedef struct page {
    uint64_t ids[PAGE_MAX];
    uint32_t n;
    uint64_t next; /* cursor; 0: this was the last page */
} page;

static kv_err open_source(source *s, const kv_media_filter *f)
{
    int64_t before = f->before == 0 || f->before > INT64_MAX ? INT64_MAX : (int64_t)f->before;
    bool unfinished = f->status == KV_STATUS_PENDING || f->status == KV_STATUS_FAILED;
    s->merge = f->folder.len > 0 && !unfinished;
    if (s->merge)
        KV_TRY(open_merge(s, f->folder, before, &s->merge));
    if (s->merge)
        return KV_OK;
    KV_TRY(kv_db_prepare(s->db, walk_sql(f->status), &s->walk));
    kv_bind_i64(s->walk, 1, before);
    return KV_OK;
}

static kv_err fill(source *s, const kv_media_filter *f, kv_name_match *search, page *p)
{
    const int64_t until = kv_mono_us(&kv_clock_real) + TIME_MAX_US;
    candidate c;
    bool have;
    uint64_t last = 0;
    for (int left = s->merge ? MERGE_BUDGET : SCAN_BUDGET;; left--) {
        KV_TRY(s->merge ? next_of_merge(s, &c, &have) : next_of_walk(s, &c, &have));
        if (!have)
            return KV_OK;
        if (left == 0 || (last != 0 && left % 16 == 0 && kv_mono_us(&kv_clock_real) > until))
            break;
        bool yes = matches(f, search, &c);
        if (yes && p->n == f->limit)
            break;
        if (yes)
            p->ids[p->n++] = c.id;
        last = c.id;
    }
    p->next = last; /* there is more after what was looked at */
    return KV_OK;
}

static kv_err write_page(kv_db *db, const char *base, const page *p, kv_buf *out)
{
    kv_json_open(out, '{');
    kv_json_key(out, "items");
    kv_json_open(out, '[');
    for (uint32_t i = 0; i < p->n; i++) {
        kv_err err = kv_media_get_json(db, base, p->ids[i], out);
        if (err != KV_OK && err != KV_E_NOT_FOUND) /* removed meanwhile */
            return err;
    }
    kv_json_close(out, ']');
    kv_json_key(out, "next");
    if (p->next != 0) {
        char text[KV_ID_TEXT + 1];
        kv_id_format(p->next, text);
        kv_json_cstr(out, text);
    } else {
        kv_json_null(out);
    }
    kv_json_close(out, '}');
    return kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_media_list_json(kv_db *db, const char *base, const kv_media_filter *f, kv_buf *out)
{
    if (f->limit < 1 || f->limit > PAGE_MAX || f->folder.len > KV_FOLDER_MAX ||
        f->status > KV_STATUS_FAILED)
        return KV_E_BAD_PARAMETER;
    source s = {.db = db};
    page p = {.n = 0};
    kv_name_match search;
    kv_err err = kv_name_match_init(&search, f->search);
    if (err == KV_OK)
        err = open_source(&s, f);
    if (err == KV_OK)
        err = fill(&s, f, &search, &p);
    if (err == KV_OK)
        err = write_page(db, base, &p, out);
    kv_db_done(s.walk); /* held until here: one snapshot for all */
    kv_db_done(s.hold);
    free(s.heap);
    kv_name_match_release(&search);
    return err;
}
