#include "tests/sim/sim_media.h"

#include <string.h>
#include <unistd.h>

enum { FROM_SCANNER, FROM_HASHER, FROM_WRITER, FROM_PLACER };
enum { TO_LOOP, TO_SCANNER, TO_PLACER }; /* peers of dedup, with one loop and one pipeline */
enum { FILE_LEN = 40, BATCH = 4 };

static sim_gateway *gateway_of(sim_shell *sh)
{
    return &sh->s->media->gateway;
}

/* ---- letters ---- */

static void dedup_sends(sim_shell *sh, int peer, const kv_header *head, const kv_msg *m,
                        zmq_msg_t *payload)
{
    sim_gateway *g = gateway_of(sh);
    if (peer == TO_LOOP)
        sim_drop_letter(sh->s, &g->to_loop, head, m, payload);
    else if (peer >= TO_PLACER)
        sim_drop_letter(sh->s, &g->to_placer[peer - TO_PLACER], head, m, payload);
    /* the scanner has said its last word about every upload */
}

static void placer_sends(sim_shell *sh, int peer, const kv_header *head, const kv_msg *m,
                         zmq_msg_t *payload)
{
    sim_gateway *g = gateway_of(sh);
    (void)peer;
    sim_drop_letter(sh->s, &g->to_dedup[FROM_PLACER + (sh - g->placers)], head, m, payload);
}

typedef struct boxes {
    sim_box *at;
    int n;
} boxes;

static sim_box *full_box(sim *s, boxes b)
{
    int from = (int)sim_pick(s, (uint64_t)b.n);
    for (int i = 0; i < b.n; i++) {
        if (b.at[(from + i) % b.n].first)
            return &b.at[(from + i) % b.n];
    }
    return NULL;
}

/* Some letters, then the end of a batch: as the shell does it. */
static void work(sim_shell *sh, void *arg)
{
    const boxes *b = arg;
    sim_gateway *g = gateway_of(sh);
    sim_box *box;
    for (uint64_t n = 1 + sim_pick(sh->s, BATCH); n > 0 && (box = full_box(sh->s, *b)); n--) {
        g->in_hand = sim_take_letter(box);
        sim_shell_handle(sh, g->in_hand);
        sim_letter_free(g->in_hand);
        g->in_hand = NULL;
    }
    if (sh->def->batch_end)
        sh->def->batch_end(sh->self, &sh->out);
}

static bool let_work(sim_shell *sh, boxes b)
{
    if (!full_box(sh->s, b))
        return false;
    (void)sim_shell_run(sh, work, &b);
    return true;
}

/* ---- the loop ---- */

static void take_answers(sim_media *md)
{
    sim_letter *l = sim_take_letter(&md->gateway.to_loop);
    kv_msg m;
    if (!l)
        return;
    SIM_HOLDS(md->s, kv_body_decode(l->head.code, l->body.data, l->body.len, &m, NULL) == KV_OK,
              "an answer cannot be read");
    sim_media_answered(md, &m.upload_done);
    sim_letter_free(l);
}

static const kv_actor_def loop_def = {.name = "loop", .handlers = (const kv_handler[]){{0, NULL}}};

static void on_deleted(void *self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    const sim_row *row = arg;
    (void)answer, (void)out;
    sim_media_deleted(self, row->media, err);
}

static void ask_delete(sim_shell *sh, void *arg)
{
    sim_row *row = arg;
    kv_msg m = {.code = KV_MEDIA_DELETE};
    m.media_delete.media = row->media;
    row->delete_asked = true;
    (void)kv_out_ask(&sh->out, NULL, &m, 1000 + (int64_t)sim_pick(sh->s, 20000), on_deleted, row);
}

static void delete_one(sim_media *md)
{
    if (md->rows_n)
        (void)sim_shell_run(&md->gateway.loop, ask_delete,
                            &md->rows[sim_pick(md->s, (uint64_t)md->rows_n)]);
}

/* ---- uploads ---- */

typedef struct coming {
    const sim_upload *u;
    uint8_t hash[KV_HASH_LEN], stored[KV_HASH_LEN];
    char bytes[FILE_LEN];
    char name[KV_ID_TEXT + 1];
} coming;

static void send_whole(sim_gateway *g, sim *s, const coming *c)
{
    zmq_msg_t payload;
    kv_msg m = {.code = KV_WHOLE_JUDGED};
    kv_whole_judged *j = &m.whole_judged;
    j->upload = c->u->id;
    j->folder = kv_slice_str(sim_folder(c->u->folder));
    j->filename = kv_slice_str(c->name);
    j->mime = kv_slice_str("image/jpeg");
    j->ext = kv_slice_str("jpg");
    j->strip_version = 1;
    j->hash = kv_slice_of((const char *)c->hash, KV_HASH_LEN);
    j->stored_hash = kv_slice_of((const char *)c->stored, KV_HASH_LEN);
    zmq_msg_init_size(&payload, FILE_LEN);
    memcpy(zmq_msg_data(&payload), c->bytes, FILE_LEN);
    sim_drop_letter(s, &g->to_dedup[FROM_HASHER], NULL, &m, &payload);
    zmq_msg_close(&payload);
}

/* The writer's part. */
static void write_file(sim_shell *sh, void *arg)
{
    const coming *c = arg;
    sim_gateway *g = gateway_of(sh);
    kv_put *put = NULL;
    kv_msg m = {.code = KV_UPLOAD_WRITTEN};
    kv_err err = kv_put_begin(g->arg.store, c->u->id, 0, &put);
    if (err == KV_OK)
        err = kv_put_write(put, c->bytes, FILE_LEN);
    if (err == KV_OK)
        err = kv_puts_add(g->arg.puts, c->u->id, put);
    if (err != KV_OK && put)
        kv_put_abort(&put);
    m.upload_written = (kv_upload_written){c->u->id, err, err == KV_OK ? FILE_LEN : 0};
    sim_drop_letter(sh->s, &g->to_dedup[FROM_WRITER], NULL, &m, NULL);
}

static void send_streamed(sim_gateway *g, sim *s, coming *c)
{
    kv_msg m = {.code = KV_UPLOAD_BEGIN};
    m.upload_begin.upload = c->u->id;
    m.upload_begin.folder = kv_slice_str(sim_folder(c->u->folder));
    m.upload_begin.filename = kv_slice_str(c->name);
    sim_drop_letter(s, &g->to_dedup[FROM_SCANNER], NULL, &m, NULL);
    m = (kv_msg){.code = KV_UPLOAD_SCANNED};
    m.upload_scanned.upload = c->u->id;
    m.upload_scanned.mime = kv_slice_str("image/jpeg");
    m.upload_scanned.ext = kv_slice_str("jpg");
    m.upload_scanned.strip_version = 1;
    m.upload_scanned.kept_size = FILE_LEN;
    sim_drop_letter(s, &g->to_dedup[FROM_SCANNER], NULL, &m, NULL);
    if (sim_chance(s, 50)) { /* the client is gone, too late or not */
        m = (kv_msg){.code = KV_UPLOAD_ABORT};
        m.upload_abort.upload = c->u->id;
        sim_drop_letter(s, &g->to_dedup[FROM_SCANNER], NULL, &m, NULL);
    }
    m = (kv_msg){.code = KV_UPLOAD_HASHED};
    m.upload_hashed.upload = c->u->id;
    m.upload_hashed.hash = kv_slice_of((const char *)c->hash, KV_HASH_LEN);
    m.upload_hashed.stored_hash = kv_slice_of((const char *)c->stored, KV_HASH_LEN);
    sim_drop_letter(s, &g->to_dedup[FROM_HASHER], NULL, &m, NULL);
    (void)sim_shell_run(&g->loop, write_file, c);
}

static void upload_one(sim_media *md)
{
    sim *s = md->s;
    sim_gateway *g = &md->gateway;
    if (md->uploads_n == SIM_UPLOADS)
        return;
    sim_upload *u = &md->uploads[md->uploads_n];
    *u = (sim_upload){.id = 1000 + (uint64_t)md->uploads_n,
                      .bytes = (int)sim_pick(s, SIM_BYTES),
                      .folder = (int)sim_pick(s, SIM_FOLDERS)};
    md->uploads_n++;
    coming c = {.u = u};
    memset(c.bytes, 'a' + u->bytes, FILE_LEN);
    memset(c.stored, 'a' + u->bytes, KV_HASH_LEN);
    memset(c.hash, 'a' + u->bytes, KV_HASH_LEN);
    c.hash[0] = (uint8_t)sim_pick(s, 2); /* received with other metadata */
    kv_id_format(u->id, c.name);
    atomic_fetch_add(&g->state.in_flight, 1);
    if (sim_chance(s, 600))
        send_whole(g, s, &c);
    else
        send_streamed(g, s, &c);
}

/* ---- life ---- */

static void start(sim_shell *sh, void *arg)
{
    sim_media *md = arg;
    sim_gateway *g = &md->gateway;
    sim *s = sh->s;
    if (kv_store_open_config(&md->cfg, &g->arg.store) != KV_OK)
        return; /* the disk: it ends, and is started again */
    SIM_HOLDS(s, kv_puts_new(&g->arg.puts) == KV_OK, "no memory");
    SIM_HOLDS(s, kv_dedup.create(&md->cfg, &g->arg, &g->dedup.self) == KV_OK, "no dedup");
    kv_dedup_actor *a = g->dedup.self;
    a->ids.node = (uint32_t)(++s->next_instance & 1023); /* not by chance */
    for (int i = 0; i < KV_PLACERS; i++)
        SIM_HOLDS(s, kv_placer.create(&md->cfg, &g->arg, &g->placers[i].self) == KV_OK,
                  "no placer");
}

static void bring_up(sim_media *md)
{
    sim *s = md->s;
    sim_gateway *g = &md->gateway;
    *g = (sim_gateway){.up = true};
    g->arg = (kv_ingest_arg){.state = &g->state, .loops = 1, .pipelines = 1};
    sim_shell_init(s, &g->dedup, &kv_dedup, SIM_GATEWAY, "dedup", "gateway");
    sim_shell_init(s, &g->loop, &loop_def, SIM_GATEWAY, "loop", "gateway");
    g->loop.self = md;
    g->dedup.send = dedup_sends;
    for (int i = 0; i < KV_PLACERS; i++) {
        sim_shell_init(s, &g->placers[i], &kv_placer, SIM_GATEWAY, "", "");
        g->placers[i].send = placer_sends;
    }
    g->dedup.node.instance = ++s->next_instance;
    g->loop.node.instance = ++s->next_instance;
    sim_connect(s, &g->dedup.node);
    sim_connect(s, &g->loop.node);
    if (sim_shell_run(&g->dedup, start, md) && !g->dedup.self)
        sim_media_died(s, SIM_GATEWAY);
}

void sim_gateway_init(sim_media *md)
{
    bring_up(md);
}

static void empty_boxes(sim_gateway *g)
{
    for (int i = 0; i < FROM_PLACER + KV_PLACERS; i++)
        sim_box_clear(&g->to_dedup[i]);
    for (int i = 0; i < KV_PLACERS; i++)
        sim_box_clear(&g->to_placer[i]);
    sim_box_clear(&g->to_loop);
    if (g->in_hand)
        sim_letter_free(g->in_hand);
    g->in_hand = NULL;
}

static void gone(sim_media *md)
{
    sim_gateway *g = &md->gateway;
    sim_shell_forget(&g->dedup);
    sim_shell_forget(&g->loop);
    sim_disconnect(&g->dedup.node);
    sim_disconnect(&g->loop.node);
    empty_boxes(g);
    g->up = false;
    g->up_at = sim_ms(md->s) + (int64_t)sim_pick(md->s, 4000);
}

/* What it had in memory is lost with it; what the operating system holds for it goes. */
void sim_gateway_died(sim_media *md)
{
    kv_dedup_actor *a = md->gateway.dedup.self;
    kv_sweep_result unfinished;
    if (a) {
        if (a->sweep)
            kv_sweep_end(&a->sweep, &unfinished);
        kv_db_close(&a->db);
        close(a->timer_fd);
    }
    gone(md);
}

static void end(sim_shell *sh, void *arg)
{
    sim_gateway *g = &((sim_media *)arg)->gateway;
    (void)sh;
    atomic_store(&g->state.halted, true);
    sim_media_died(((sim_media *)arg)->s, 0); /* nobody: only the uploads are lost */
    for (int i = 0; i < KV_PLACERS; i++)
        kv_placer.destroy(&g->placers[i].self);
    kv_dedup.destroy(&g->dedup.self);
    kv_puts_destroy(&g->arg.puts);
    kv_store_close(&g->arg.store);
}

void sim_gateway_stop(sim_media *md)
{
    if (md->gateway.up && sim_shell_run(&md->gateway.dedup, end, md))
        gone(md);
}

/* ---- steps ---- */

static bool let_somebody_work(sim_media *md)
{
    sim_gateway *g = &md->gateway;
    int who = (int)sim_pick(md->s, KV_PLACERS + 2);
    if (who < KV_PLACERS)
        return let_work(&g->placers[who], (boxes){&g->to_placer[who], 1});
    if (who == KV_PLACERS && g->to_loop.first) {
        take_answers(md);
        return true;
    }
    return let_work(&g->dedup, (boxes){g->to_dedup, FROM_PLACER + KV_PLACERS});
}

void sim_gateway_step(sim_media *md)
{
    sim *s = md->s;
    sim_gateway *g = &md->gateway;
    uint64_t what = sim_pick(s, 100);
    if (!g->up && sim_ms(s) >= g->up_at)
        bring_up(md);
    if (!g->up || sim_ms(s) < g->dedup.node.frozen_until)
        return;
    if (what < 60)
        (void)let_somebody_work(md);
    else if (what < 67 && !s->calm)
        upload_one(md);
    else if (what < 71 && !s->calm)
        delete_one(md);
    else if (what < 88)
        (void)sim_shell_step(&g->dedup);
    else
        (void)sim_shell_step(&g->loop);
    if (s->calm || !g->up)
        return;
    if (sim_pick(s, 1500) == 0)
        sim_gateway_stop(md);
    else if (sim_pick(s, 1200) == 0)
        g->dedup.node.frozen_until = g->loop.node.frozen_until =
            sim_ms(s) + (int64_t)sim_pick(s, 15000);
}

static void let_all_work(sim_media *md)
{
    sim_gateway *g = &md->gateway;
    bool moved;
    do {
        moved = let_work(&g->dedup, (boxes){g->to_dedup, FROM_PLACER + KV_PLACERS});
        for (int i = 0; i < KV_PLACERS; i++)
            moved |= let_work(&g->placers[i], (boxes){&g->to_placer[i], 1});
        while (g->to_loop.first)
            take_answers(md);
    } while (moved);
}

void sim_gateway_all(sim_media *md)
{
    sim_gateway *g = &md->gateway;
    if (!g->up)
        bring_up(md);
    (void)sim_shell_step(&g->dedup);
    (void)sim_shell_step(&g->loop);
    let_all_work(md);
}

bool sim_gateway_knows(sim_gateway *g, uint64_t upload)
{
    return g->dedup.self && kv_ending_find(g->dedup.self, upload);
}

bool sim_gateway_quiet(const sim_gateway *g)
{
    const kv_dedup_actor *a = g->dedup.self;
    return g->up && !a->endings && !sim_shell_waits(&g->dedup) && !sim_shell_waits(&g->loop);
}

void sim_gateway_free(sim_media *md)
{
    if (md->gateway.up)
        sim_gateway_stop(md);
}
