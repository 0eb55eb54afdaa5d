/* Why a queue does not get on, and what to do about it. */
#include "broker/inspect.h"

#include "broker/lanes.h"
#include "broker/pace.h"

enum {
    BUSY_MS = 10 * 1000, /* jobs that wait shorter than this need no remark */
    STILL_MS = 30 * 1000 /* and this long nothing may stand still */
};

/* Free workers, jobs that may begin, and none does; or all that run have run for much longer than
 * they do. */
static bool is_stuck(const kv_core *c, const kv_service *s, int64_t oldest_ms)
{
    kv_pace_view pace;
    kv_pace_look(c, s, &pace);
    bool still = pace.last_begun_ms < 0 || pace.last_begun_ms >= STILL_MS;
    if (oldest_ms < STILL_MS || !still)
        return false;
    if (s->free_first || s->running == 0)
        return true;
    int64_t age = c->now.mono_ms - s->leased_sum / (int64_t)s->running;
    return age >= c->opts.stuck_after_ms / 2 && age >= 3 * (int64_t)pace.service.p99;
}

kv_health kv_health_of(kv_core *c, kv_service *s)
{
    uint32_t waiting = kv_lanes_waiting(s, -1);
    int64_t oldest_ms = kv_pace_oldest_ms(c, s);
    if (s->paused)
        return KV_HEALTH_PAUSED;
    if (waiting && kv_lease_no_room(c, s))
        return KV_HEALTH_NO_ROOM;
    if (waiting && s->workers == 0)
        return KV_HEALTH_NO_WORKERS;
    if (waiting && !kv_lanes_next(c, s))
        return KV_HEALTH_AT_LIMIT;
    if (waiting && is_stuck(c, s, oldest_ms))
        return KV_HEALTH_STUCK;
    if (s->draining)
        return KV_HEALTH_DRAINING;
    return waiting && !s->free_first && oldest_ms >= BUSY_MS ? KV_HEALTH_WORKERS_BUSY
                                                             : KV_HEALTH_OK;
}

static const struct {
    const char *en, *tr;
} sentences[] = {
    [KV_HEALTH_OK] = {"", ""},
    [KV_HEALTH_NO_WORKERS] = {"Jobs wait and no worker serves this queue: start one, or look into "
                              "the log of the one that should run. The jobs are kept.",
                              "İşler bekliyor ama bu kuyruğa bakan bir işçi yok: bir işçi başlatın "
                              "ya da çalışması gerekenin günlüğüne bakın. İşler saklanır."},
    [KV_HEALTH_PAUSED] = {"An operator paused the queue; resume it (kervan ctl resume).",
                          "Kuyruk bir yönetici tarafından duraklatıldı; sürdürün (kervan ctl "
                          "resume)."},
    [KV_HEALTH_NO_ROOM] = {"Variants cannot be written now: the disk has no room "
                           "(DISK_RESERVE_MB), or the media folder is not writable. kervan ctl "
                           "doctor says which; then the pictures go on by themselves.",
                           "Türevler şu anda yazılamıyor: diskte yer yok (DISK_RESERVE_MB) ya da "
                           "medya klasörü yazılabilir değil. Hangisi olduğunu kervan ctl doctor "
                           "söyler; giderilince görseller kendiliğinden devam eder."},
    [KV_HEALTH_DRAINING] =
        {"An operator drains the queue: new jobs are refused until it is resumed "
         "(kervan ctl resume).",
         "Kuyruk boşaltılıyor: sürdürülene kadar yeni iş alınmaz (kervan ctl "
         "resume)."},
    [KV_HEALTH_AT_LIMIT] = {"A concurrency or rate limit of the queue or its tenants holds the "
                            "jobs back: wait, or raise the limit.",
                            "Kuyruğun ya da kiracılarının eşzamanlılık veya hız sınırı işleri "
                            "bekletiyor: bekleyin ya da sınırı yükseltin."},
    [KV_HEALTH_WORKERS_BUSY] =
        {"All workers are busy and jobs wait: start more workers, or raise "
         "their credit.",
         "Tüm işçiler meşgul ve işler bekliyor: daha çok işçi başlatın ya da "
         "işçi başına iş sayısını yükseltin."},
    [KV_HEALTH_STUCK] =
        {"Jobs wait and none begins or ends: see the oldest leases (kervan ctl "
         "leases) and the log of their workers, and the broker's log for a database "
         "that refuses to write.",
         "İşler bekliyor ama hiçbiri başlamıyor ya da bitmiyor: en eski kiralara "
         "(kervan ctl leases), işçilerin günlüğüne ve veritabanı yazmayı "
         "reddediyor mu diye aracının günlüğüne bakın."},
};

const char *kv_health_remedy(kv_health health, bool turkish)
{
    return turkish ? sentences[health].tr : sentences[health].en;
}
