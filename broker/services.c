/* Services: a place in the core for each that is named, and given back where nothing is known of
 * it but its name. */
#include "broker/core_types.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/gauges.h"
#include "broker/lanes.h"
#include "broker/pace.h"
#include "broker/services.h"

enum { FULL_AGAIN_MS = 5000, NO_MEMORY_AGAIN_MS = 100 };

/* ---- places ---- */

/* The list falls by index, and the index is a place: the highest that is free below the top, else
 * one more. */
static void take_place(kv_core *c, kv_service *s)
{
    kv_service **at = &c->service_list;
    bool gap = *at && (*at)->index > c->services_n;
    while (gap && (*at)->next && (*at)->next->index + 1 == (*at)->index)
        at = &(*at)->next;
    s->index = !*at ? 1 : gap ? (*at)->index - 1 : (*at)->index + 1;
    if (gap)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
    c->services_n++;
    c->services_own += s->own;
}

static kv_service *service_new(kv_core *c, kv_slice name)
{
    kv_service *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    snprintf(s->name, sizeof s->name, "%.*s", KV_SLICE_FMT(name));
    s->overflow = -1;
    s->own = kv_service_reserved(name);
    s->fills_disk = kv_slice_is(name, KV_SERVICE_IMAGE);
    s->made_at = c->now.mono_ms;
    kv_lanes_open(s, c->opts.lane_share);
    if (!kv_names_set(&c->services, name, s)) {
        free(s);
        return NULL;
    }
    take_place(c, s);
    kv_gauges_came(c, s);
    return s;
}

static void service_free(kv_service *s)
{
    kv_lanes_close(s);
    kv_pace_release(s);
    free(s);
}

void kv_services_release(kv_core *c)
{
    for (kv_service *s = c->service_list, *next; s; s = next) {
        next = s->next;
        service_free(s);
    }
    kv_names_release(&c->services);
    kv_names_release(&c->labels);
}

/* ---- given back ---- */

static bool is_set(const kv_service *s)
{
    return s->paused || s->draining || s->overflow >= 0 || s->max_waiting ||
           s->limits.concurrency || s->limits.rate_per_minute;
}

/* A task, an offer or a setting: what holds a pointer to it, or would be forgotten with it. */
static bool in_use(const kv_service *s)
{
    return s->own || s->workers || s->pausing || is_set(s) || !kv_lanes_idle(s);
}

size_t kv_services_in_use(const kv_core *c)
{
    size_t n = 0;
    for (const kv_service *s = c->service_list; s; s = s->next)
        n += !s->own && in_use(s);
    return n;
}

static void give_back(kv_core *c, kv_service *s)
{
    kv_service **at = &c->service_list;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    c->services_n--;
    kv_gauges_went(c, s);
    kv_names_remove(&c->services, kv_slice_str(s->name));
    service_free(s);
}

void kv_service_unset(kv_core *c, kv_service *s)
{
    if (!in_use(s) && !s->pace)
        give_back(c, s);
}

/* The one that was idle for longest goes. */
static bool give_one_back(kv_core *c)
{
    kv_service *oldest = NULL;
    int64_t oldest_at = INT64_MAX;
    for (kv_service *s = c->service_list; s; s = s->next) {
        if (in_use(s))
            continue;
        int64_t at = kv_pace_last(s);
        at = at > s->made_at ? at : s->made_at;
        if (at < oldest_at) {
            oldest = s;
            oldest_at = at;
        }
    }
    if (oldest)
        give_back(c, oldest);
    return oldest;
}

/* ---- by name ---- */

static bool has_place(const kv_core *c)
{
    return c->services_n - c->services_own < c->opts.services_max;
}

/* Whether there is a place; more than one may have to go, for what is committed got places above.
 */
static bool make_room(kv_core *c, kv_slice name)
{
    bool room = kv_service_reserved(name);
    while (!room) {
        room = has_place(c);
        if (!room && !give_one_back(c))
            break;
    }
    return room;
}

kv_service *kv_service_get(kv_core *c, kv_slice name)
{
    kv_service *s = kv_names_find(&c->services, name);
    if (s)
        return s;
    (void)make_room(c, name);
    return service_new(c, name);
}

kv_err kv_core_dead_letters_of(kv_core *core, kv_now now, kv_slice service)
{
    core->now = now;
    if (!(kv_service_reserved(service) || has_place(core)) ||
        kv_names_find(&core->services, service))
        return KV_OK;
    return service_new(core, service) ? KV_OK : KV_E_NO_MEMORY;
}

kv_service *kv_service_ask(kv_core *c, kv_slice name, kv_refusal *ret)
{
    kv_service *s = kv_names_find(&c->services, name);
    if (s)
        return s;
    if (!make_room(c, name)) {
        *ret = (kv_refusal){KV_E_BUSY,
                            "all 1,024 queues are in use; a new one finds a place when one of them "
                            "has no jobs, no workers and no settings",
                            FULL_AGAIN_MS};
        return NULL;
    }
    s = service_new(c, name);
    if (!s)
        *ret = (kv_refusal){KV_E_NO_MEMORY, NULL, NO_MEMORY_AGAIN_MS};
    return s;
}

kv_service *kv_service_open(kv_core *c, const kv_from *from, kv_slice name)
{
    kv_refusal no;
    kv_service *s = kv_service_ask(c, name, &no);
    if (!s)
        kv_core_refuse_for(c, from, no.err, no.detail, no.after_ms);
    return s;
}
