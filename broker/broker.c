/* The broker process: one loop between peers, core and ledger. */
#include "broker/broker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <zmq.h>

#include "broker/admin.h"
#include "broker/checkpoint.h"
#include "broker/core.h"
#include "broker/disks.h"
#include "broker/ledger.h"
#include "broker/load.h"
#include "broker/publish.h"
#include "broker/relief.h"
#include "broker/replay.h"
#include "broker/router.h"
#include "broker/spin.h"
#include "proto/base/lock.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/place.h"
#include "proto/base/process.h"
#include "storage/read/dead_letters.h"

enum {
    ROUND_MESSAGES = 256, /* taken before the ledger gets its share */
    TICK_MS = 100,
    HEAD_MS = 1000,
    FEW = 2,          /* commands that peers sent: one waits for another */
    SOME = 8,         /* commands the ledger may begin with while the round goes on */
    SLOW_COMMITS = 8, /* the ledger's thread's, after one that took KV_RELIEF_AFTER_MS */
    RELIEVED_MS = 5,  /* the loop that is back waits no longer for its desk */
    STOP_MS = 5000    /* at most, to take in what is under way at SIGTERM */
};

typedef struct broker {
    const kv_config *cfg;
    const kv_clock *clock;
    int lock_fd, signal_fd;
    void *zmq;
    kv_router *router;
    kv_publish *publish;
    kv_spin spin[2]; /* while a commit is awaited: 1 */
    kv_relief *relief;
    bool relieved; /* rounds are done for the loop */
    bool waited;   /* nothing was there before this round */
    int slow;      /* commits that it does not do by itself */
    kv_ledger *ledger;
    kv_checkpoint *checkpoint;
    kv_disks *disks;
    kv_room room; /* as the core was told last */
    kv_replay *replay;
    kv_admin *admin;
    kv_core *core;
    kv_cmd_list to_ledger; /* of this round */
    uint64_t last_event, gone_seq;
    kv_err database;  /* how the last transaction ended */
    size_t at_ledger; /* commands */
    size_t committed; /* that peers sent, by the last commit */
    bool round_given; /* a part of this round's commands */
    bool stopping;
    int64_t next_tick_ms, next_head_ms, stop_by_ms;
    kv_buf text;
} broker;

static kv_now now_of(const broker *b)
{
    return (kv_now){kv_wall_ms(b->clock), kv_mono_ms(b->clock)};
}

/* ---- the core's outputs ---- */

static void sink_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    broker *b = arg;
    kv_router_send(b->router, peer, request, m);
}

/* `more`: of this round; else it ends. */
static void give_commands(broker *b, bool more)
{
    if (!b->to_ledger.first && !b->round_given)
        return;
    b->at_ledger += b->to_ledger.n;
    b->round_given = more;
    kv_ledger_give(b->ledger, &b->to_ledger, more);
}

static bool take_results(broker *b)
{
    kv_ledger_out out;
    if (!kv_ledger_take(b->ledger, &out))
        return false;
    kv_now now = now_of(b);
    b->last_event = out.last_event;
    b->gone_seq = out.gone_seq;
    b->database = out.health;
    b->at_ledger -= out.cmds.n;
    b->committed = out.cmds.asked;
    kv_core_set_heads(b->core, out.last_event, out.gone_seq);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&out.cmds));) /* first, for they are waited for */
        kv_core_result(b->core, now, cmd);
    kv_publish_rows(b->publish, out.rows, out.gone_seq);
    kv_event_rows_free(&out.rows);
    return true;
}

/* By ourselves, where few wait for one another and the disk is fast: their answers are two changes
 * of thread nearer (docs/decisions/0030). */
static bool commit_here(broker *b)
{
    bool few = b->to_ledger.asked <= FEW && b->committed <= FEW && b->at_ledger == 0;
    if (!b->to_ledger.first || !few || !b->waited || b->round_given || b->relieved)
        return false;
    if (b->slow > 0) {
        b->slow--;
        return false;
    }
    if (!kv_ledger_try(b->ledger))
        return false;
    int64_t begun = kv_mono_us(b->clock);
    kv_cmd_list cmds = b->to_ledger;
    b->to_ledger = (kv_cmd_list){.n = 0};
    b->at_ledger += cmds.n;
    kv_relief_leave(b->relief);
    kv_ledger_run(b->ledger, &cmds);
    kv_relief_return(b->relief);
    if (kv_mono_us(b->clock) - begun >= KV_RELIEF_AFTER_MS * 1000)
        b->slow = SLOW_COMMITS;
    (void)take_results(b); /* before anything is read */
    return true;
}

/* What a round has brought. True: its results are taken in. */
static bool commit_round(broker *b)
{
    if (commit_here(b))
        return true;
    give_commands(b, false);
    return false;
}

static void sink_command(void *arg, kv_cmd *cmd)
{
    broker *b = arg;
    kv_cmd_push(&b->to_ledger, cmd);
    if (b->to_ledger.n >= SOME)
        give_commands(b, true);
}

/* ---- the core's inputs ---- */

static void put_disk(broker *b, const char *name, kv_space space, bool low)
{
    kv_json_key(&b->text, name);
    kv_json_open(&b->text, '{');
    kv_json_key(&b->text, "status");
    kv_json_cstr(&b->text, low ? "low" : "ok");
    kv_json_key(&b->text, "free_bytes");
    kv_json_i64_or_null(&b->text, space.bytes);
    kv_json_key(&b->text, "free_files");
    kv_json_i64_or_null(&b->text, space.files);
    kv_json_close(&b->text, '}');
}

static void put_room(broker *b)
{
    const kv_room *room = &b->room;
    put_disk(b, "disk", room->disk, room->disk_low);
    if (room->apart)
        put_disk(b, "media_disk", room->media, room->media_low);
    kv_json_key(&b->text, "media_folder");
    kv_json_cstr(&b->text, room->media_error ? strerror(room->media_error) : "ok");
}

static void put_err(broker *b, const char *name, kv_err err)
{
    kv_json_key(&b->text, name);
    kv_json_cstr(&b->text, err == KV_OK ? "ok" : kv_err_info_of(err)->slug);
}

static void answer_stats(broker *b, kv_slice peer, uint64_t request, uint64_t what)
{
    kv_msg m;
    kv_buf_clear(&b->text);
    if (what == 0) {
        kv_core_gauges(b->core);
        kv_metrics_render(&b->text);
    } else {
        kv_json_open(&b->text, '{');
        kv_json_key(&b->text, "broker");
        kv_json_cstr(&b->text, b->stopping ? "stopping" : "ok");
        put_err(b, "database", kv_db_state() != KV_OK ? kv_db_state() : b->database);
        put_err(b, "checkpoint", kv_checkpoint_state(b->checkpoint));
        put_room(b);
        kv_json_key(&b->text, "last_event");
        kv_json_u64(&b->text, b->last_event);
        kv_json_key(&b->text, "at_ledger");
        kv_json_u64(&b->text, b->at_ledger);
        kv_core_health(b->core, &b->text);
        kv_json_close(&b->text, '}');
    }
    kv_msg_defaults(KV_STATS_OK, &m);
    m.stats_ok.text = kv_buf_slice(&b->text);
    if (!kv_buf_ok(&b->text)) {
        kv_msg_defaults(KV_ERROR, &m);
        m.error.number = KV_E_NO_MEMORY;
    }
    kv_router_send(b->router, peer, request, &m);
}

static void replay_events(broker *b, kv_slice peer, const kv_header *head, const kv_events_get *m)
{
    kv_msg answer;
    kv_err err = head->request ? kv_replay_ask(b->replay, peer, head->request, m) : KV_OK;
    if (err == KV_OK)
        return;
    kv_msg_defaults(KV_ERROR, &answer);
    answer.error.number = err;
    answer.error.detail = kv_slice_str(kv_err_info_of(err)->en);
    answer.error.retry_after_ms = 100;
    kv_router_send(b->router, peer, head->request, &answer);
}

static void on_message(void *arg, kv_slice peer, const kv_header *head, const kv_msg *m)
{
    broker *b = arg;
    if (m->code == KV_STATS)
        answer_stats(b, peer, head->request, m->stats.what);
    else if (m->code == KV_EVENTS_GET)
        replay_events(b, peer, head, &m->events_get);
    else
        kv_core_message(b->core, now_of(b), peer, head, m);
}

static void on_overflow(void *arg, kv_slice peer)
{
    broker *b = arg;
    kv_core_overflow(b->core, now_of(b), peer);
}

/* ---- the loop ---- */

static void on_time(broker *b)
{
    kv_now now = now_of(b);
    if (now.mono_ms >= b->next_tick_ms) {
        b->room = kv_disks_room(b->disks);
        b->next_tick_ms = now.mono_ms + TICK_MS;
        kv_core_set_disk_low(b->core, b->room.disk_low);
        kv_core_set_media_low(b->core, b->room.media_low || b->room.media_error);
        kv_core_tick(b->core, now);
    }
    if (now.mono_ms >= b->next_head_ms) {
        b->next_head_ms = now.mono_ms + HEAD_MS;
        kv_publish_head(b->publish, b->last_event, kv_ledger_epoch(b->ledger), b->gone_seq);
    }
}

/* True: something came before there was a need to sleep. Where many wait at once, time is better
 * left to the threads that serve them. */
static bool look_again(broker *b, zmq_pollitem_t *items, int n)
{
    kv_spin *spin = &b->spin[b->at_ledger > 0];
    if (b->stopping || b->relieved || b->at_ledger > FEW || b->committed > FEW ||
        !kv_spin_try(spin))
        return false;
    int64_t until = kv_mono_us(b->clock) + KV_SPIN_US;
    int ready;
    do
        ready = zmq_poll(items, n, 0);
    while (ready == 0 && kv_mono_us(b->clock) < until);
    kv_spin_learn(spin, ready != 0);
    return ready != 0;
}

static void wait_for_input(broker *b, bool sends_wait)
{
    zmq_pollitem_t items[4] = {{kv_router_socket(b->router), 0, ZMQ_POLLIN, 0},
                               {NULL, kv_ledger_fd(b->ledger), ZMQ_POLLIN, 0},
                               {NULL, kv_replay_fd(b->replay), ZMQ_POLLIN, 0},
                               {NULL, b->signal_fd, ZMQ_POLLIN, 0}};
    int64_t left = b->next_tick_ms - kv_mono_ms(b->clock);
    if (left < 0 || b->stopping)
        left = 0;
    if ((sends_wait || b->stopping) && left > 5)
        left = 5;
    if (b->relieved && left > RELIEVED_MS)
        left = RELIEVED_MS;
    if (!look_again(b, items, 4))
        (void)zmq_poll(items, b->stopping ? 3 : 4, b->stopping ? 5 : left);
    if (!b->stopping && items[3].revents && kv_process_stop_asked(b->signal_fd)) {
        b->stopping = true;
        b->stop_by_ms = kv_mono_ms(b->clock) + STOP_MS;
        kv_log(KV_LOG_INFO, "broker_stopping", KV_U64("atLedger", b->at_ledger));
    }
}

/* At SIGTERM what was sent is still taken in and committed; then it ends. */
static bool loop_over(const broker *b, int received)
{
    if (!b->stopping)
        return false;
    return (received == 0 && b->at_ledger == 0 && !b->to_ledger.first) ||
           kv_mono_ms(b->clock) >= b->stop_by_ms;
}

/* Returns how many messages came. */
static int one_round(broker *b)
{
    int received = kv_router_receive(b->router, ROUND_MESSAGES);
    bool results = take_results(b);
    kv_replay_take(b->replay, sink_send, b);
    results |= commit_round(b);
    bool sends_wait = kv_router_flush(b->router);
    if (received < ROUND_MESSAGES) /* silence counts only when nothing unread is left */
        on_time(b);
    results |= commit_round(b);
    b->waited = received == 0 && !results;
    if (b->waited)
        wait_for_input(b, sends_wait);
    return received;
}

static void relieve(void *arg)
{
    broker *b = arg;
    b->relieved = true;
    (void)one_round(b);
    b->relieved = false;
}

static void loop(broker *b)
{
    int received;
    do
        received = one_round(b);
    while (!loop_over(b, received));
    kv_ledger_stop(b->ledger);
    (void)take_results(b);
    (void)kv_router_flush(b->router);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&b->to_ledger));) /* leases that were not begun */
        kv_cmd_free(&cmd);
}

/* ---- start ---- */

static bool local(const char *endpoint)
{
    static const char *const prefixes[] = {"ipc://", "tcp://127.", "tcp://[::1]:"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strncmp(endpoint, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}

/* A second bind on an ipc path would silently take it away from the first broker. */
static kv_err take_lock(broker *b)
{
    kv_err err = kv_lock_take(b->cfg->data, "broker", &b->lock_fd);
    if (err != KV_E_CONFLICT)
        return err;
    kv_log(KV_LOG_ERROR, "broker_locked", KV_STR("data", b->cfg->data),
           KV_STR("what", "another broker runs on this data folder; stop it first"));
    return KV_E_LOCKED;
}

typedef struct loading {
    kv_core *core;
    kv_now now;
    kv_err err;
} loading;

static bool load_setting(void *arg, const kv_setting *setting)
{
    loading *l = arg;
    l->err = kv_core_setting(l->core, l->now, setting);
    return l->err == KV_OK;
}

static void load_dead(void *arg, kv_slice service, int64_t n)
{
    loading *l = arg;
    (void)n;
    if (l->err == KV_OK)
        l->err = kv_core_dead_letters_of(l->core, l->now, service);
}

static kv_err start_core(broker *b)
{
    kv_core_opts opts;
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){b, sink_send, sink_command};
    opts.epoch = kv_ledger_epoch(b->ledger);
    opts.place = kv_place_of(b->cfg->data);
    opts.stuck_after_ms = b->cfg->stuck_after * 1000;
    opts.job_max_attempts = (uint64_t)b->cfg->job_max_attempts;
    opts.lane_share = (uint32_t)b->cfg->lane_share;
    opts.max_waiting = (uint64_t)b->cfg->queue_max_waiting;
    opts.evict = strcmp(b->cfg->queue_overflow, kv_overflow_names[KV_OVERFLOW_EVICT]) == 0;
    if (getrandom(&opts.seed, sizeof opts.seed, 0) != sizeof opts.seed)
        return KV_E_IO;
    KV_TRY(kv_core_new(&opts, now_of(b), &b->core));
    loading l = {b->core, now_of(b), KV_OK};
    KV_TRY(kv_settings_all(kv_ledger_db(b->ledger), load_setting, &l));
    KV_TRY(l.err);
    KV_TRY(kv_load_jobs(kv_ledger_db(b->ledger), b->core, l.now));
    KV_TRY(kv_dead_letters_each(kv_ledger_db(b->ledger), 1, load_dead, &l));
    KV_TRY(l.err);
    kv_ledger_heads(b->ledger, &b->last_event, &b->gone_seq);
    kv_core_set_heads(b->core, b->last_event, b->gone_seq);
    return KV_OK;
}

static kv_err open_sockets(broker *b)
{
    if (!local(b->cfg->broker) || !local(b->cfg->events)) {
        kv_log(KV_LOG_ERROR, "endpoint_refused", KV_STR("broker", b->cfg->broker),
               KV_STR("events", b->cfg->events),
               KV_STR("what", "only ipc:// and tcp:// on the loopback are allowed"));
        return KV_E_CONFIG;
    }
    kv_router_opts opts = {b->zmq, b->cfg->broker, b, on_message, on_overflow};
    KV_TRY(kv_publish_open(b->zmq, b->cfg->events, &b->publish));
    return kv_router_open(&opts, &b->router);
}

static kv_err start(broker *b)
{
    static const kv_metric own[] = {
        KV_M_JOB_REQUEUES, KV_M_JOBS_STUCK,         KV_M_LATE_ANSWERS, KV_M_COMMIT_SECONDS,
        KV_M_COMMIT_BATCH, KV_M_COMMIT_COMMANDS,    KV_M_COMMITS,      KV_M_COMMIT_FAILURES,
        KV_M_EVENTS,       KV_M_PROCESSING_SECONDS, KV_M_BAD_MESSAGES};
    kv_metrics_declare(own, (int)(sizeof own / sizeof *own));
    kv_buf_init(&b->text, KV_JSON_MAX * 8);
    b->spin[0].never = b->spin[1].never = sysconf(_SC_NPROCESSORS_ONLN) < 2;
    KV_TRY(take_lock(b));
    KV_TRY(kv_ledger_open(b->cfg, b->clock, &b->ledger));
    b->zmq = zmq_ctx_new(); /* who waits for the broker connects while it reads */
    KV_TRY(b->zmq ? open_sockets(b) : KV_E_NO_MEMORY);
    KV_TRY(start_core(b));
    KV_TRY(kv_ledger_start(b->ledger));
    KV_TRY(kv_disks_start(b->cfg, &b->disks));
    b->room = kv_disks_room(b->disks);
    KV_TRY(kv_checkpoint_start(b->cfg, b->ledger, &b->checkpoint));
    KV_TRY(kv_replay_start(b->cfg, &b->replay));
    KV_TRY(kv_relief_start(b->clock, relieve, b, &b->relief));
    return kv_admin_start(b->cfg, b->clock, b->zmq, &b->admin);
}

static void stop(broker *b)
{
    kv_relief_stop(&b->relief);
    kv_admin_stop(&b->admin);
    kv_router_close(&b->router);
    kv_publish_close(&b->publish);
    if (b->zmq)
        zmq_ctx_term(b->zmq);
    kv_replay_stop(&b->replay);
    kv_checkpoint_stop(&b->checkpoint);
    kv_disks_stop(&b->disks);
    kv_core_destroy(&b->core);
    kv_ledger_close(&b->ledger);
    kv_buf_release(&b->text);
    if (b->lock_fd >= 0)
        close(b->lock_fd);
}

int kv_broker_run(const kv_config *cfg, int signal_fd)
{
    broker b = {.cfg = cfg, .clock = &kv_clock_real, .lock_fd = -1, .signal_fd = signal_fd};
    kv_err err = start(&b);
    if (err == KV_OK) {
        kv_log(KV_LOG_INFO, "broker_ready", KV_STR("endpoint", cfg->broker),
               KV_U64("epoch", kv_ledger_epoch(b.ledger)), KV_U64("jobs", kv_core_jobs(b.core)),
               KV_U64("lastEvent", b.last_event));
        kv_process_ready();
        loop(&b);
        kv_log(KV_LOG_INFO, "broker_stopped", KV_U64("lastEvent", b.last_event));
    } else {
        kv_log(KV_LOG_ERROR, "broker_failed", KV_ERRNAME("code", err),
               KV_STR("what", kv_err_info_of(err)->en));
    }
    stop(&b);
    return err == KV_OK ? 0 : 1;
}
