#include "broker/rate.h"

#include <assert.h>

#define MINUTE_NS 60000000000
#define MS_NS     1000000

static int64_t interval_ns(uint32_t rate)
{
    assert(rate);
    return MINUTE_NS / rate;
}

static int64_t token_at_ns(int64_t full_ns, uint32_t rate)
{
    int64_t burst = rate / 6 > 1 ? rate / 6 : 1;
    return full_ns - (burst - 1) * interval_ns(rate);
}

bool kv_rate_take(int64_t *full_ns, uint32_t rate, int64_t now_ms)
{
    int64_t now_ns = now_ms * MS_NS;
    *full_ns = (*full_ns > now_ns ? *full_ns : now_ns) + interval_ns(rate);
    return token_at_ns(*full_ns, rate) > now_ns;
}

bool kv_rate_return(int64_t *full_ns, uint32_t rate, int64_t now_ms)
{
    *full_ns -= interval_ns(rate);
    return token_at_ns(*full_ns, rate) > now_ms * MS_NS;
}

int64_t kv_rate_full_ms(int64_t full_ns)
{
    return full_ns <= 0 ? 0 : (full_ns + MS_NS - 1) / MS_NS;
}

int64_t kv_rate_free_ms(int64_t full_ns, uint32_t rate)
{
    return kv_rate_full_ms(token_at_ns(full_ns, rate));
}

int64_t kv_rate_wait_ms(int64_t full_ns, uint32_t rate, uint64_t before, int64_t now_ms)
{
    int64_t now_ns = now_ms * MS_NS, from = full_ns > now_ns ? full_ns : now_ns;
    int64_t at = token_at_ns(from + (int64_t)before * interval_ns(rate), rate);
    return at > now_ns ? kv_rate_full_ms(at - now_ns) : 0;
}
