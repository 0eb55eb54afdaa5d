/* Who talks: sessions, fencing, silence, and requests that come twice. */
#include "broker/core_types.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/watch.h"
#include "proto/base/log.h"

enum {
    FORGET_MS = 60 * 1000, /* a lost session is kept this long for what its peer may send again */
    FULL_AGAIN_MS = 1000
};

kv_session *kv_session_of_peer(kv_core *c, kv_slice peer)
{
    return kv_names_find(&c->peers, peer);
}

static kv_slice peer_of(const kv_session *s)
{
    return kv_slice_of((const char *)s->peer, s->peer_len);
}

static kv_slice name_key(const char *role, const char *name, char out[100])
{
    int n = snprintf(out, 100, "%s/%s", role, name);
    return kv_slice_of(out, (size_t)n);
}

/* ---- life ---- */

static void session_free(kv_core *c, kv_session *s)
{
    char key[100];
    kv_offers_release(s);
    kv_watch_forget(c, s);
    if (kv_names_find(&c->peers, peer_of(s)) == s)
        kv_names_remove(&c->peers, peer_of(s));
    kv_slice name = name_key(s->role, s->name, key);
    if (kv_names_find(&c->named, name) == s)
        kv_names_remove(&c->named, name);
    kv_ids_remove(&c->sessions, s->id);
    kv_ids_release(&s->in_flight);
    kv_answered_release(s);
    free(s);
}

void kv_sessions_release(kv_core *c)
{
    size_t at = 0;
    for (kv_session *s; (s = kv_ids_next(&c->sessions, &at));) {
        for (kv_offer *o = s->offers, *next; o; o = next) {
            next = o->next;
            free(o);
        }
        kv_watch_forget(c, s);
        kv_ids_release(&s->in_flight);
        kv_answered_release(s);
        free(s);
    }
}

static bool bind_peer(kv_core *c, kv_session *s, kv_slice peer)
{
    if (s->peer_len && kv_names_find(&c->peers, peer_of(s)) == s)
        kv_names_remove(&c->peers, peer_of(s));
    assert(peer.len <= sizeof s->peer);
    memcpy(s->peer, peer.ptr, peer.len);
    s->peer_len = (uint8_t)peer.len;
    return kv_names_set(&c->peers, peer, s);
}

/* Those that are kept must not keep others out: clients may come and go by the hundred a second.
 * The one that went first makes room. */
static bool make_room(kv_core *c, const kv_session *but)
{
    kv_session *first = NULL;
    size_t at = 0;
    if (c->sessions.n < KV_SESSIONS_MAX)
        return true;
    for (kv_session *s; (s = kv_ids_next(&c->sessions, &at));) {
        if (!s->alive && s != but && s->in_flight.n == 0 && (!first || s->heard < first->heard))
            first = s;
    }
    if (first)
        session_free(c, first);
    return first;
}

/* `old`: the one that had the name; it stays for now. */
static kv_session *session_new(kv_core *c, kv_slice peer, const kv_hello *m, const kv_session *old)
{
    char key[100];
    if (!make_room(c, old))
        return NULL;
    kv_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->id = ++c->next_session;
    s->instance = m->instance;
    snprintf(s->role, sizeof s->role, "%.*s", KV_SLICE_FMT(m->role));
    snprintf(s->name, sizeof s->name, "%.*s", KV_SLICE_FMT(m->name));
    if (!kv_ids_add(&c->sessions, s)) {
        free(s);
        return NULL;
    }
    if (!bind_peer(c, s, peer) || !kv_names_set(&c->named, name_key(s->role, s->name, key), s)) {
        session_free(c, s);
        return NULL;
    }
    return s;
}

/* ---- HELLO ---- */

static bool was_replaced(const kv_session *s, uint64_t instance)
{
    for (int i = 0; i < KV_REPLACED; i++) {
        if (s->replaced[i] && s->replaced[i] == instance)
            return true;
    }
    return false;
}

/* The old one is fenced: its leases go back, its messages are refused from now on. */
static void fence(kv_core *c, kv_session *old, kv_session *by)
{
    memcpy(by->replaced, old->replaced, sizeof by->replaced);
    by->replaced_at = old->replaced_at;
    by->replaced[by->replaced_at++ % KV_REPLACED] = old->instance;
    if (old->alive)
        kv_log(KV_LOG_WARN, "session_replaced", KV_STR("role", old->role),
               KV_STR("name", old->name));
    old->fenced = true;
    old->alive = false;
    old->heard = c->now.mono_ms;
    kv_watch_forget(c, old);
    kv_lease_return_all(c, old, true, "worker replaced");
    kv_offers_release(old);
}

static void hello_ok(kv_core *c, const kv_session *s, uint64_t request)
{
    kv_msg m;
    kv_msg_defaults(KV_HELLO_OK, &m);
    m.hello_ok.epoch = c->opts.epoch;
    m.hello_ok.beat_ms = c->opts.beat_ms;
    m.hello_ok.silent_beats = c->opts.silent_beats;
    m.hello_ok.last_event = c->last_event;
    m.hello_ok.gone_seq = c->gone_seq;
    kv_core_send(c, s, request, &m);
}

static void refuse_hello(kv_core *c, kv_slice peer, uint64_t request, kv_err err,
                         const char *detail)
{
    kv_msg m;
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = err;
    m.error.detail = kv_slice_str(detail);
    m.error.retry_after_ms = err == KV_E_BUSY ? FULL_AGAIN_MS : 0;
    c->opts.sink.send(c->opts.sink.arg, peer, request, &m);
}

void kv_session_hello(kv_core *c, kv_slice peer, uint64_t request, const kv_hello *m)
{
    char role[33], name[65], key[100];
    snprintf(role, sizeof role, "%.*s", KV_SLICE_FMT(m->role));
    snprintf(name, sizeof name, "%.*s", KV_SLICE_FMT(m->name));
    kv_session *had = kv_names_find(&c->peers, peer);
    kv_session *s = kv_names_find(&c->named, name_key(role, name, key));
    if (!role[0] || !name[0] || peer.len == 0) {
        refuse_hello(c, peer, request, KV_E_BAD_MESSAGE, "HELLO needs a role and a name");
        return;
    }
    if (m->place && c->opts.place && m->place != c->opts.place) {
        refuse_hello(c, peer, request, KV_E_CONFLICT,
                     "its data folder is not the broker's: give both the same KERVAN_DATA");
        return;
    }
    if (s && s->instance != m->instance && was_replaced(s, m->instance)) {
        refuse_hello(c, peer, request, KV_E_CONFLICT, "another instance has taken over this name");
        return;
    }
    if (had && had != s && !had->fenced &&
        had->alive) /* one peer, one session: it changed its name */
        kv_session_lost(c, had, "renamed");
    if (s && s->instance == m->instance) {
        if (!bind_peer(c, s, peer))
            s = NULL;
    } else {
        kv_session *old = s;
        s = session_new(c, peer, m, old);
        if (s && old)
            fence(c, old, s);
    }
    if (!s) {
        refuse_hello(c, peer, request, KV_E_BUSY, "too many sessions");
        return;
    }
    s->alive = true;
    s->heard = c->now.mono_ms;
    for (kv_offer *o = s->offers; o; o = o->next) { /* until READY says so again */
        o->credit = o->zombies = 0;
        kv_offer_update(o);
    }
    s->before = m->epoch < c->opts.epoch ? (uint32_t)m->epoch : 0;
    for (kv_task *t = s->leases.first; t; t = t->next)
        t->unsure = true;
    hello_ok(c, s, request);
}

/* ---- BEAT, BYE, silence ---- */

void kv_session_beat(kv_core *c, const kv_from *from, const kv_beat *m)
{
    kv_msg answer;
    kv_lease_busy(c, from->session, m->busy);
    kv_msg_defaults(KV_BEAT_OK, &answer);
    answer.beat_ok.epoch = c->opts.epoch;
    answer.beat_ok.known = true;
    kv_core_send(c, from->session, from->request, &answer);
}

void kv_session_bye(kv_core *c, const kv_from *from)
{
    kv_session *s = from->session;
    kv_watch_forget(c, s);
    kv_lease_return_all(c, s, false, "worker left");
    kv_offers_release(s);
    s->alive = false;
    kv_cmd *cmd = from->request ? kv_core_cmd(c, from, KV_CMD_NOTHING, 0) : NULL;
    if (cmd)
        kv_core_give(c, cmd);
}

void kv_session_lost(kv_core *c, kv_session *s, const char *reason)
{
    kv_log(KV_LOG_WARN, "session_lost", KV_STR("role", s->role), KV_STR("name", s->name),
           KV_STR("reason", reason), KV_U64("leases", s->leases.n));
    s->alive = false;
    kv_watch_forget(c, s);
    kv_lease_return_all(c, s, true, "worker silent");
    kv_offers_release(s);
}

void kv_sessions_expire(kv_core *c)
{
    int64_t silent = (int64_t)(c->opts.beat_ms * c->opts.silent_beats);
    bool again = true;
    while (again) { /* freeing changes the table: walk it anew */
        size_t at = 0;
        again = false;
        for (kv_session *s; (s = kv_ids_next(&c->sessions, &at));) {
            int64_t quiet = c->now.mono_ms - s->heard;
            kv_answered_expire(c, s);
            if (s->alive && quiet > silent)
                kv_session_lost(c, s, "silent");
            if (!s->alive && quiet > FORGET_MS && s->in_flight.n == 0) {
                session_free(c, s);
                again = true;
                break;
            }
        }
    }
}
