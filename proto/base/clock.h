/* Time, injectable: tests advance a fake clock instead of sleeping. Any thread. */
#ifndef KV_BASE_CLOCK_H
#define KV_BASE_CLOCK_H

#include <stdint.h>

typedef struct kv_clock {
    int64_t (*wall_ms)(const struct kv_clock *c); /* Unix time, milliseconds: what users see */
    int64_t (*mono_us)(const struct kv_clock *c); /* monotonic, microseconds: what timers use */
} kv_clock;

extern const kv_clock kv_clock_real;

typedef struct kv_fake_clock {
    kv_clock clock; /* first: a kv_fake_clock* is a kv_clock* */
    int64_t wall_ms_now, mono_us_now;
} kv_fake_clock;
void kv_fake_clock_init(kv_fake_clock *f, int64_t wall_ms);
void kv_fake_clock_advance(kv_fake_clock *f, int64_t ms);

#define KV_TIME_TEXT 24 /* characters of "2026-11-21T10:00:00.000Z", without the NUL */
void kv_time_format(int64_t wall_ms,
                    char out[KV_TIME_TEXT + 1]); /* UTC; clamped to the years 0..9999 */

static inline int64_t kv_wall_ms(const kv_clock *c)
{
    return c->wall_ms(c);
}
static inline int64_t kv_mono_us(const kv_clock *c)
{
    return c->mono_us(c);
}
static inline int64_t kv_mono_ms(const kv_clock *c)
{
    return c->mono_us(c) / 1000;
}

#endif
