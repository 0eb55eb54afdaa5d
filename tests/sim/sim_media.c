#include "tests/sim/sim_media.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "actors/reaper.h"

#include "storage/sqlite.h"
#include "tests/sim/sim_os.h"
#include "tests/unit/fault_vfs.h"

enum { KEY_ROOM = 128 };

const char *sim_folder(int i)
{
    static const char *const names[SIM_FOLDERS] = {"banners", "haber/2026"};
    return names[i];
}

unsigned sim_media_failing(const sim *s)
{
    return s->calm ? 0 : s->media->failing;
}

/* ---- what clients know ---- */

static sim_row *row_of(sim_media *md, uint64_t media)
{
    for (int i = 0; i < md->rows_n; i++) {
        if (md->rows[i].media == media)
            return &md->rows[i];
    }
    return NULL;
}

static sim_upload *upload_of(sim_media *md, uint64_t id)
{
    for (int i = 0; i < md->uploads_n; i++) {
        if (md->uploads[i].id == id)
            return &md->uploads[i];
    }
    return NULL;
}

void sim_media_answered(sim_media *md, const kv_upload_done *d)
{
    sim *s = md->s;
    sim_upload *u = upload_of(md, d->upload);
    SIM_HOLDS(s, u && u->outcome == SIM_UNDER_WAY, "upload %llu is answered twice",
              (unsigned long long)d->upload);
    u->outcome = d->number ? SIM_REFUSED : SIM_STORED;
    if (s->trace)
        fprintf(stderr, "%8lld upload %llu: %s, row %llu\n", (long long)(sim_ms(s) % 100000000),
                (unsigned long long)u->id, kv_err_info_of((kv_err)d->number)->slug,
                (unsigned long long)d->media);
    if (d->number)
        return;
    u->media = d->media;
    sim_row *row = row_of(md, d->media);
    if (!row) {
        row = &md->rows[md->rows_n++];
        *row = (sim_row){.media = d->media, .bytes = u->bytes, .folder = u->folder};
    }
    SIM_HOLDS(s, row->bytes == u->bytes && row->folder == u->folder,
              "upload %llu got the row of other bytes", (unsigned long long)u->id);
}

void sim_media_deleted(sim_media *md, uint64_t media, kv_err err)
{
    sim_row *row = row_of(md, media);
    if (err == KV_OK || err == KV_E_NOT_FOUND)
        row->deleted = true;
}

/* ---- processes ---- */

void sim_media_died(sim *s, int process)
{
    sim_media *md = s->media;
    if (s->trace)
        fprintf(stderr, "%8lld process %d is killed\n", (long long)(sim_ms(s) % 100000000),
                process);
    md->kills += process > 0;
    if (process)
        sim_os_kill(process);
    if (process >= SIM_REAPER) {
        sim_reaper_died(md, process - SIM_REAPER);
        return;
    }
    for (int i = 0; i < md->uploads_n; i++) {
        sim_upload *u = &md->uploads[i];
        bool undecided = u->outcome == SIM_REFUSED && sim_gateway_knows(&md->gateway, u->id);
        if (u->outcome == SIM_UNDER_WAY || undecided)
            u->outcome = SIM_UNKNOWN;
    }
    if (process == SIM_GATEWAY)
        sim_gateway_died(md);
}

kv_db *sim_media_start(sim *s)
{
    kv_db *db;
    int from, to;
    sim_media *md = calloc(1, sizeof *md);
    SIM_HOLDS(s, md, "no memory");
    s->media = md;
    md->s = s;
    scratch_make(&md->dir);
    md->cfg = md->dir.cfg;
    md->cfg.data = md->dir.dir;
    md->cfg.dedup_enabled = s->seed / 4 % 4 != 0;
    md->cfg.processing_folders = "";
    md->failing = s->seed / 4 % 3 == 2 ? 5 : 0;
    sim_os_start(s);
    if (!sqlite3_vfs_find("fault"))
        fault_vfs_install();
    SIM_HOLDS(s, kv_db_open(&md->cfg, KV_DB_WRITE, &db) == KV_OK, "no database");
    SIM_HOLDS(s, kv_db_migrate(db, &from, &to) == KV_OK, "no tables");
    return db;
}

kv_db *sim_media_all_died(sim *s, kv_db *db)
{
    sim_media *md = s->media;
    if (md->gateway.up)
        sim_media_died(s, SIM_GATEWAY);
    for (int i = 0; i < SIM_REAPERS; i++) {
        if (md->reapers[i].self)
            sim_media_died(s, SIM_REAPER + i);
    }
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    kv_db_close(&db); /* the last one: the next to open reads the log */
    SIM_HOLDS(s, kv_db_open(&md->cfg, KV_DB_WRITE, &db) == KV_OK, "no database");
    return db;
}

bool sim_media_sync_fails(sim *s, const kv_cmd *cmd)
{
    bool of_media = cmd->type == KV_CMD_MEDIA_COMMIT || cmd->type == KV_CMD_MEDIA_DELETE;
    if (!of_media || sim_chance(s, 600))
        return false;
    atomic_store(&fault_sync, SQLITE_IOERR_FSYNC);
    kv_err err = kv_exec_commit(&s->x);
    atomic_store(&fault_sync, 0);
    SIM_HOLDS(s, err == KV_OK || err == KV_E_IO, "a failed sync gives %s",
              kv_err_info_of(err)->slug);
    if (err == KV_OK) { /* it had nothing to write */
        kv_event_row *rows = kv_exec_take_rows(&s->x);
        kv_event_rows_free(&rows);
        SIM_HOLDS(s, kv_exec_begin(&s->x) == KV_OK, "begin");
    }
    return err != KV_OK;
}

/* Behind the database. */
void sim_media_processes(sim *s)
{
    sim_media *md = s->media;
    sim_gateway_init(md);
    for (int i = 0; i < SIM_REAPERS; i++)
        sim_reaper_init(md, i);
}

void sim_media_stop(sim *s)
{
    sim_media *md = s->media;
    sim_gateway_free(md);
    for (int i = 0; i < SIM_REAPERS; i++) {
        if (md->reapers[i].self)
            kv_reaper_actor.destroy(&md->reapers[i].self);
        sim_shell_forget(&md->reapers[i]);
        sim_node_release(&md->reapers[i].node);
    }
    sim_os_stop();
    scratch_remove(&md->dir);
    free(md);
    s->media = NULL;
}

sim_node *sim_media_node(sim *s, int i)
{
    sim_media *md = s->media;
    if (!md || i >= 2 + SIM_REAPERS)
        return NULL;
    return i == 0   ? &md->gateway.dedup.node
           : i == 1 ? &md->gateway.loop.node
                    : &md->reapers[i - 2].node;
}

void sim_media_step(sim *s)
{
    sim_media *md = s->media;
    uint64_t what = sim_pick(s, 100);
    if (what < 60) {
        sim_gateway_step(md);
    } else if (what < 70) {
        sim_reaper_step(md, (int)sim_pick(s, SIM_REAPERS));
    } else {
        sim_node *n = sim_media_node(s, (int)sim_pick(s, 2 + SIM_REAPERS));
        (void)sim_deliver(s, n, true);
        if (sim_ms(s) >= n->frozen_until)
            (void)sim_deliver(s, n, false);
    }
    sim_media_check(s);
}

void sim_media_calm(sim *s)
{
    for (int i = 0; sim_media_node(s, i); i++)
        sim_media_node(s, i)->frozen_until = 0;
}

void sim_media_calm_step(sim *s)
{
    sim_gateway_all(s->media);
    for (int i = 0; i < SIM_REAPERS; i++)
        sim_reaper_step(s->media, i);
}

bool sim_media_quiet(const sim *s)
{
    const sim_media *md = s->media;
    for (int i = 0; i < SIM_REAPERS; i++) {
        if (sim_shell_waits(&md->reapers[i]))
            return false;
    }
    return sim_gateway_quiet(&md->gateway);
}

/* ---- what must hold ---- */

static const char *path_of(const sim_media *md, const char *below)
{
    return scratch_path(&md->dir, below);
}

static void key_text(char out[KEY_ROOM], int folder, int bytes)
{
    char hex[65];
    uint8_t hash[32];
    memset(hash, 'a' + bytes, sizeof hash);
    kv_ending_hex(hash, hex);
    snprintf(out, KEY_ROOM, "media/%s/%s.jpg", sim_folder(folder), hex);
}

static bool file_is_whole(const sim_media *md, const char *key, int bytes)
{
    char text[64] = "";
    FILE *f = fopen(path_of(md, key), "r");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (f)
        fclose(f);
    for (size_t i = 0; i < n; i++) {
        if (text[i] != 'a' + bytes)
            return false;
    }
    return n == 40;
}

/* One number, of this content in this folder. `sql` is a literal. */
static int64_t number_of(sim *s, const char *sql, int folder, int bytes)
{
    uint8_t hash[32];
    kv_stmt *q;
    bool row = false;
    memset(hash, 'a' + bytes, sizeof hash);
    SIM_HOLDS(s, kv_db_prepare(s->x.db, sql, &q) == KV_OK, "%s", sql);
    kv_bind_str(q, 1, kv_slice_str(sim_folder(folder)));
    kv_bind_blob(q, 2, kv_slice_of((const char *)hash, sizeof hash));
    SIM_HOLDS(s, kv_db_step(q, &row) == KV_OK && row, "%s", sql);
    int64_t v = kv_col_i64(q, 0);
    kv_db_done(q);
    return v;
}

static int64_t rows_live(sim *s, int folder, int bytes)
{
    return number_of(s,
                     "SELECT count(*) FROM media m JOIN blob b ON b.id = m.blob WHERE m.folder = "
                     "$1 AND b.stored_hash = $2",
                     folder, bytes);
}

/* A row has its file, always; a folder has the same bytes, as received, once. */
static void check_key(sim *s, int folder, int bytes)
{
    char key[KEY_ROOM];
    int64_t rows = rows_live(s, folder, bytes);
    key_text(key, folder, bytes);
    SIM_HOLDS(s, rows == 0 || file_is_whole(s->media, key, bytes), "a row of %s lacks its file",
              key);
    SIM_HOLDS(s,
              !s->media->cfg.dedup_enabled ||
                  number_of(s,
                            "SELECT count(DISTINCT m.hash) FROM media m JOIN blob b ON b.id = "
                            "m.blob WHERE m.folder = $1 AND b.stored_hash = $2",
                            folder, bytes) == rows,
              "%lld rows of %s, some of the same bytes", (long long)rows, key);
    SIM_HOLDS(s,
              number_of(s,
                        "SELECT coalesce((SELECT p.refs FROM placement p JOIN blob b ON b.id = "
                        "p.blob WHERE p.folder = $1 AND b.stored_hash = $2 AND p.state = 0), 0)",
                        folder, bytes) == rows,
              "%s has %lld rows, counted otherwise", key, (long long)rows);
}

static bool row_there(sim *s, uint64_t media)
{
    kv_stmt *q;
    bool row = false;
    SIM_HOLDS(s, kv_db_prepare(s->x.db, "SELECT 1 FROM media WHERE id = $1", &q) == KV_OK, "media");
    kv_bind_i64(q, 1, (int64_t)media);
    SIM_HOLDS(s, kv_db_step(q, &row) == KV_OK, "media");
    kv_db_done(q);
    return row;
}

void sim_media_check(sim *s)
{
    sim_media *md = s->media;
    for (int f = 0; f < SIM_FOLDERS; f++) {
        for (int b = 0; b < SIM_BYTES; b++)
            check_key(s, f, b);
    }
    for (int i = 0; i < md->rows_n; i++) {
        const sim_row *row = &md->rows[i];
        if (!row->delete_asked || row->deleted)
            SIM_HOLDS(s, row_there(s, row->media) != row->deleted, "row %llu, %s, is %s",
                      (unsigned long long)row->media, row->deleted ? "deleted" : "told by a 201",
                      row->deleted ? "there" : "lost");
    }
}

/* ---- the end ---- */

static int files_in(const sim_media *md, const char *below)
{
    int n = 0;
    DIR *dir = opendir(path_of(md, below));
    for (struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.' && e->d_type != DT_DIR;
    if (dir)
        closedir(dir);
    return n;
}

/* Every row was told to somebody, or its client never heard. */
static void check_made(sim *s, uint64_t media, kv_slice filename)
{
    sim_media *md = s->media;
    uint64_t id = 0;
    SIM_HOLDS(s, kv_id_parse(filename.ptr, filename.len, &id), "a row without an upload");
    const sim_upload *u = upload_of(md, id);
    SIM_HOLDS(s, row_of(md, media) || (u && u->outcome == SIM_UNKNOWN),
              "row %llu stays of upload %llu, which was refused", (unsigned long long)media,
              (unsigned long long)id);
}

static void check_rows(sim *s)
{
    kv_stmt *q;
    bool row;
    SIM_HOLDS(s, kv_db_prepare(s->x.db, "SELECT id, filename FROM media", &q) == KV_OK, "media");
    while (kv_db_step(q, &row) == KV_OK && row)
        check_made(s, (uint64_t)kv_col_i64(q, 0), kv_col_str(q, 1));
    kv_db_done(q);
}

void sim_media_check_end(sim *s)
{
    sim_media *md = s->media;
    sim_media_check(s);
    check_rows(s);
    SIM_HOLDS(s, files_in(md, "media/.tmp") == 0, "%d temporary files stay",
              files_in(md, "media/.tmp"));
    for (int f = 0; f < SIM_FOLDERS; f++) {
        char folder[KEY_ROOM];
        int live = 0;
        for (int b = 0; b < SIM_BYTES; b++)
            live += rows_live(s, f, b) > 0;
        snprintf(folder, sizeof folder, "media/%s", sim_folder(f));
        SIM_HOLDS(s, files_in(md, folder) == live, "%s has %d files for %d rows", folder,
                  files_in(md, folder), live);
    }
    for (int i = 0; i < md->uploads_n; i++)
        SIM_HOLDS(s, md->uploads[i].outcome != SIM_UNDER_WAY, "upload %llu was never answered",
                  (unsigned long long)md->uploads[i].id);
    SIM_HOLDS(s, atomic_load(&md->gateway.state.in_flight) == 0, "uploads are counted in flight");
}

void sim_media_count(const sim *s, uint64_t totals[4])
{
    const sim_media *md = s->media;
    for (int i = 0; i < md->uploads_n; i++)
        totals[md->uploads[i].outcome - SIM_STORED]++;
    totals[3] += md->kills;
}
