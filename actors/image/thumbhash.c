/* The format: the picture is split into luminance L, two colour axes P (yellow-blue) and Q
 * (red-green) and, where it is transparent, alpha A. Of each a few cosine coefficients are kept:
 * the mean, the largest magnitude, and every other one as four bits relative to it. */
#include "actors/image/thumbhash.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#define PIXELS (KV_THUMBHASH_SIDE * KV_THUMBHASH_SIDE)
#define AC_MAX 28 /* 7x7 triangle without the mean */

typedef struct channel {
    double dc, scale;
    double ac[AC_MAX]; /* 0..1 */
    int ac_count;
} channel;

typedef struct planes {
    double l[PIXELS], p[PIXELS], q[PIXELS], a[PIXELS];
    bool transparent;
} planes;

typedef struct writer {
    uint8_t *out;
    size_t nibbles;
} writer;

/* Halves go up, as the format's reference does. */
static uint32_t round_up(double v)
{
    double r = floor(v + 0.5);
    return r <= 0 ? 0 : (uint32_t)r;
}

/* Transparent pixels are laid over the mean colour, so they do not pull the coefficients. */
static void split(uint32_t w, uint32_t h, const uint8_t *rgba, planes *to)
{
    uint32_t n = w * h;
    double mean[3] = {0, 0, 0}, opaque = 0;
    for (uint32_t i = 0; i < n; i++) {
        double alpha = rgba[4 * i + 3] / 255.0;
        for (int c = 0; c < 3; c++)
            mean[c] += alpha / 255.0 * rgba[4 * i + c];
        opaque += alpha;
    }
    for (int c = 0; c < 3 && opaque > 0; c++)
        mean[c] /= opaque;
    to->transparent = opaque < n;
    for (uint32_t y = 0; y < h; y++) {
        for (uint32_t x = 0; x < w; x++) {
            uint32_t i = y * w + x;
            double alpha = rgba[4 * i + 3] / 255.0, rgb[3];
            for (int c = 0; c < 3; c++)
                rgb[c] = mean[c] * (1 - alpha) + alpha / 255.0 * rgba[4 * i + c];
            to->l[i] = ((rgb[0] + rgb[1] + rgb[2]) / 3);
            to->p[i] = ((rgb[0] + rgb[1]) / 2 - rgb[2]);
            to->q[i] = (rgb[0] - rgb[1]);
            to->a[i] = alpha;
        }
    }
}

static double coefficient(const double *plane, uint32_t w, uint32_t h, int cx, int cy)
{
    double along_x[KV_THUMBHASH_SIDE], sum = 0;
    for (uint32_t x = 0; x < w; x++)
        along_x[x] = cos(M_PI / w * cx * (x + 0.5));
    for (uint32_t y = 0; y < h; y++) {
        double row = 0;
        for (uint32_t x = 0; x < w; x++)
            row += plane[y * w + x] * along_x[x];
        sum += row * cos(M_PI / h * cy * (y + 0.5));
    }
    return sum / ((double)w * h);
}

/* The low frequencies: a triangle of nx by ny. */
static void transform(const double *plane, uint32_t w, uint32_t h, int nx, int ny, channel *to)
{
    *to = (channel){.dc = coefficient(plane, w, h, 0, 0)};
    for (int cy = 0; cy < ny; cy++) {
        for (int cx = cy == 0 ? 1 : 0; cx * ny < nx * (ny - cy); cx++) {
            double f = coefficient(plane, w, h, cx, cy);
            assert(to->ac_count < AC_MAX);
            to->ac[to->ac_count++] = f;
            to->scale = fmax(to->scale, fabs(f));
        }
    }
    for (int i = 0; i < to->ac_count && to->scale > 0; i++)
        to->ac[i] = 0.5 + 0.5 / to->scale * to->ac[i];
}

static void put_nibble(writer *w, uint32_t v)
{
    if (w->nibbles % 2 == 0)
        w->out[w->nibbles / 2] = (uint8_t)v;
    else
        w->out[w->nibbles / 2] |= (uint8_t)(v << 4);
    w->nibbles++;
}

static void put_bytes(writer *w, uint32_t v, int bytes)
{
    for (int i = 0; i < 2 * bytes; i++)
        put_nibble(w, v >> (4 * i) & 15);
}

static void put_ac(writer *w, const channel *c)
{
    for (int i = 0; i < c->ac_count; i++)
        put_nibble(w, round_up(15 * c->ac[i]));
}

size_t kv_thumbhash(uint32_t w, uint32_t h, const uint8_t *rgba, uint8_t out[KV_THUMBHASH_MAX])
{
    assert(w >= 1 && h >= 1 && w <= KV_THUMBHASH_SIDE && h <= KV_THUMBHASH_SIDE);
    planes from;
    channel l, p, q, a = {0};
    split(w, h, rgba, &from);
    uint32_t limit = from.transparent ? 5 : 7, longer = w > h ? w : h;
    uint32_t lx = round_up((double)limit * w / longer), ly = round_up((double)limit * h / longer);
    lx = lx < 1 ? 1 : lx;
    ly = ly < 1 ? 1 : ly;
    transform(from.l, w, h, lx < 3 ? 3 : (int)lx, ly < 3 ? 3 : (int)ly, &l);
    transform(from.p, w, h, 3, 3, &p);
    transform(from.q, w, h, 3, 3, &q);
    if (from.transparent)
        transform(from.a, w, h, 5, 5, &a);

    writer to = {.out = out};
    bool landscape = w > h;
    put_bytes(&to,
              round_up(63 * l.dc) | round_up(31.5 + 31.5 * p.dc) << 6 |
                  round_up(31.5 + 31.5 * q.dc) << 12 | round_up(31 * l.scale) << 18 |
                  (uint32_t)from.transparent << 23,
              3);
    put_bytes(&to,
              (landscape ? ly : lx) | round_up(63 * p.scale) << 3 | round_up(63 * q.scale) << 9 |
                  (uint32_t)landscape << 15,
              2);
    if (from.transparent)
        put_bytes(&to, round_up(15 * a.dc) | round_up(15 * a.scale) << 4, 1);
    put_ac(&to, &l);
    put_ac(&to, &p);
    put_ac(&to, &q);
    put_ac(&to, &a);
    size_t len = (to.nibbles + 1) / 2;
    assert(len <= KV_THUMBHASH_MAX);
    return len;
}
