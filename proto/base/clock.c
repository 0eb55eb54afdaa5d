#include "proto/base/clock.h"

#include <time.h>

static int64_t real_wall_ms(const kv_clock *c)
{
    struct timespec t;

    (void)c;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t real_mono_us(const kv_clock *c)
{
    struct timespec t;

    (void)c;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

const kv_clock kv_clock_real = {real_wall_ms, real_mono_us};

/* Atomic, because a test advances the clock while actor threads read it. */
static int64_t fake_wall_ms(const kv_clock *c)
{
    return __atomic_load_n(&((const kv_fake_clock *)c)->wall_ms_now, __ATOMIC_ACQUIRE);
}

static int64_t fake_mono_us(const kv_clock *c)
{
    return __atomic_load_n(&((const kv_fake_clock *)c)->mono_us_now, __ATOMIC_ACQUIRE);
}

void kv_fake_clock_init(kv_fake_clock *f, int64_t wall_ms)
{
    *f = (kv_fake_clock){{fake_wall_ms, fake_mono_us}, wall_ms, 1000000};
}

void kv_fake_clock_advance(kv_fake_clock *f, int64_t ms)
{
    __atomic_add_fetch(&f->wall_ms_now, ms, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&f->mono_us_now, ms * 1000, __ATOMIC_ACQ_REL);
}

static void put_digits(char *out, int width, unsigned v)
{
    for (int i = width - 1; i >= 0; i--, v /= 10)
        out[i] = (char)('0' + v % 10);
}

void kv_time_format(int64_t wall_ms, char out[KV_TIME_TEXT + 1])
{
    static const int64_t least = -62167219200000, most = 253402300799999; /* years 0 and 9999 */
    struct tm tm;

    wall_ms = wall_ms < least ? least : wall_ms > most ? most : wall_ms;
    int64_t ms = wall_ms % 1000;
    time_t seconds = (time_t)(wall_ms / 1000);
    if (ms < 0)
        ms += 1000, seconds -= 1;
    gmtime_r(&seconds, &tm);
    static const char form[] = "0000-00-00T00:00:00.000Z";
    for (int i = 0; i <= KV_TIME_TEXT; i++)
        out[i] = form[i];
    put_digits(out, 4, (unsigned)(tm.tm_year + 1900));
    put_digits(out + 5, 2, (unsigned)(tm.tm_mon + 1));
    put_digits(out + 8, 2, (unsigned)tm.tm_mday);
    put_digits(out + 11, 2, (unsigned)tm.tm_hour);
    put_digits(out + 14, 2, (unsigned)tm.tm_min);
    put_digits(out + 17, 2, (unsigned)tm.tm_sec);
    put_digits(out + 20, 3, (unsigned)ms);
}
