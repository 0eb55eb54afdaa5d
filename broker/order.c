#include "broker/order.h"

#include <assert.h>

static bool lower_due(const kv_order *o, int pair)
{
    return o->share && o->since[pair] >= o->share - 1;
}

int kv_order_next(const kv_order *o, const bool waits[KV_LANES])
{
    bool above = waits[0] || waits[1];
    if (waits[2] && (!above || lower_due(o, 1)))
        return 2;
    if (waits[1] && (!waits[0] || lower_due(o, 0)))
        return 1;
    return waits[0] ? 0 : -1;
}

static void above_begun(kv_order *o, int pair)
{
    if (o->share && o->since[pair] < o->share - 1)
        o->since[pair]++;
}

void kv_order_begun(kv_order *o, int lane)
{
    if (lane == 2)
        o->since[1] = 0;
    else
        above_begun(o, 1);
    if (lane == 1)
        o->since[0] = 0;
    else if (lane == 0)
        above_begun(o, 0);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t rank_above(const kv_order *o, int pair, uint64_t at, uint64_t below_n)
{
    return o->share ? at + least(below_n, (o->since[pair] + at) / (o->share - 1)) : at;
}

static uint64_t rank_below(const kv_order *o, int pair, uint64_t at, uint64_t above_n)
{
    if (!o->share)
        return at + above_n;
    uint64_t before = (at + 1) * (o->share - 1) - o->since[pair]; /* since is at most share - 1 */
    return at + least(above_n, before);
}

uint32_t kv_order_rank(const kv_order *o, const uint32_t n[KV_LANES], int lane, uint32_t at)
{
    assert(o->share != 1);
    if (lane == 2)
        return (uint32_t)rank_below(o, 1, at, (uint64_t)n[0] + n[1]);
    uint64_t among_two = lane == 0 ? rank_above(o, 0, at, n[1]) : rank_below(o, 0, at, n[0]);
    return (uint32_t)rank_above(o, 1, among_two, n[2]);
}
