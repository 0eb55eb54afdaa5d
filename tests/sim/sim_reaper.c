#include <string.h>

#include "actors/reaper.h"
#include "proto/base/words.h"
#include "tests/sim/sim_media.h"

static void nobody(sim_shell *sh, int peer, const kv_header *head, const kv_msg *m,
                   zmq_msg_t *payload)
{
    (void)peer, (void)head, (void)payload;
    SIM_HOLDS(sh->s, false, "the reaper sends %s to nobody", kv_code_name(m->code));
}

static void start(sim_shell *sh, void *arg)
{
    const sim_media *md = arg;
    (void)kv_reaper_actor.create(&md->cfg, NULL, &sh->self); /* where the disk lets it */
}

void sim_reaper_init(sim_media *md, int i)
{
    sim *s = md->s;
    char name[16];
    sim_shell *sh = &md->reapers[i];
    snprintf(name, sizeof name, "reap%d", i);
    sim_shell_init(s, sh, &kv_reaper_actor, SIM_REAPER + i, name, "worker");
    sh->service = KV_SERVICE_REAP;
    sh->send = nobody;
    sh->node.instance = ++s->next_instance;
    sim_connect(s, &sh->node);
    if (sim_shell_run(sh, start, md) && !sh->self)
        sim_media_died(s, SIM_REAPER + i);
}

void sim_reaper_died(sim_media *md, int i)
{
    sim_shell *sh = &md->reapers[i];
    sh->self = NULL;
    sim_shell_forget(sh);
    sim_disconnect(&sh->node);
    md->reaper_up_at[i] = sim_ms(md->s) + (int64_t)sim_pick(md->s, 4000);
}

void sim_reaper_step(sim_media *md, int i)
{
    sim *s = md->s;
    sim_shell *sh = &md->reapers[i];
    if (!sh->self && sim_ms(s) >= md->reaper_up_at[i])
        sim_reaper_init(md, i);
    if (!sh->self || sim_ms(s) < sh->node.frozen_until || !sim_shell_step(sh) || s->calm)
        return;
    if (sim_pick(s, 300) == 0)
        sim_media_died(s, SIM_REAPER + i);
    else if (sim_pick(s, 200) == 0)
        sh->node.frozen_until = sim_ms(s) + (int64_t)sim_pick(s, 20000);
}
