#include "proto/base/id.h"

#include <assert.h>
#include <sys/random.h>

#define COUNTER_COUNT 4096u
#define NODE_SHIFT    12
#define TIME_SHIFT    22
/* 2094, with twelve days to borrow from: a clock beyond that makes ids of then. */
#define LAST_MS (((int64_t)1 << 41) - ((int64_t)1 << 30))
#define LOST_MS ((uint64_t)1 << 29)

void kv_id_maker_init(kv_id_maker *m, uint32_t node)
{
    *m = (kv_id_maker){.node = node % 1024};
}

static int64_t since_epoch(int64_t wall_ms)
{
    int64_t since = wall_ms > KV_ID_EPOCH_MS ? wall_ms - KV_ID_EPOCH_MS : 0;
    return since < LAST_MS ? since : LAST_MS;
}

uint64_t kv_id_first_at(int64_t wall_ms)
{
    return (uint64_t)since_epoch(wall_ms) << TIME_SHIFT;
}

static uint32_t random_bits(void)
{
    uint32_t bits = 0;
    ssize_t got = getrandom(&bits, sizeof bits, 0);

    assert(got == sizeof bits); /* up to 256 bytes never fail once the pool is ready */
    (void)got;
    return bits;
}

/* A clock that was not set says the same after each start, and a node of 1024 comes again soon:
 * then chance says where the ids of this process begin. Never 0: with node 0 that would be no id.
 */
static uint64_t time_of(const kv_id_maker *m, uint64_t since)
{
    bool begun = since == 0 ? m->last_ms != 0 : m->last_ms >= LAST_MS;

    if (begun || (since > 0 && since < LAST_MS))
        return since;
    return since + 1 + random_bits() % LOST_MS;
}

uint64_t kv_id_make(kv_id_maker *m, const kv_clock *clock)
{
    uint64_t now = time_of(m, (uint64_t)since_epoch(kv_wall_ms(clock)));

    if (now > m->last_ms) {
        m->last_ms = now;
        m->counter = 0;
    } else if (++m->counter == COUNTER_COUNT) { /* also when the clock stepped back */
        m->last_ms++;
        m->counter = 0;
    }
    assert(m->last_ms < (uint64_t)1 << 41);
    return m->last_ms << TIME_SHIFT | (uint64_t)m->node << NODE_SHIFT | m->counter;
}

uint32_t kv_id_random_node(void)
{
    return random_bits() % 1024;
}

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

void kv_id_format(uint64_t id, char out[KV_ID_TEXT + 1])
{
    for (int i = KV_ID_TEXT - 1; i >= 0; i--, id >>= 5)
        out[i] = digits[id & 31];
    out[KV_ID_TEXT] = '\0';
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    if (c == 'o')
        return 0;
    if (c == 'i' || c == 'l')
        return 1;
    for (int v = 0; v < 32; v++) {
        if (digits[v] == c)
            return v;
    }
    return -1;
}

bool kv_id_parse(const char *text, size_t len, uint64_t *ret_id)
{
    uint64_t id = 0;

    if (len != KV_ID_TEXT)
        return false;
    for (size_t i = 0; i < len; i++) {
        int v = digit_of(text[i]);
        if (v < 0 || (i == 0 && v > 7)) /* 63 bits: the first character holds three */
            return false;
        id = id << 5 | (uint64_t)v;
    }
    if (id == 0)
        return false;
    *ret_id = id;
    return true;
}

void kv_id_put(char *list, size_t at, uint64_t id)
{
    for (int i = 0; i < KV_ID_BYTES; i++)
        list[at * KV_ID_BYTES + (size_t)i] = (char)(id >> (56 - 8 * i));
}

uint64_t kv_id_at(kv_slice list, size_t at)
{
    uint64_t id = 0;

    for (size_t i = 0; i < KV_ID_BYTES; i++)
        id = id << 8 | (uint8_t)list.ptr[at * KV_ID_BYTES + i];
    return id;
}
