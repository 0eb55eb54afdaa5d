#include "gateway/negotiate.h"

#include <strings.h>
#include <time.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static kv_slice trim(kv_slice s)
{
    while (s.len != 0 && is_blank(s.ptr[0]))
        s.ptr++, s.len--;
    while (s.len != 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Cuts the next piece off at `sep`, trimmed; quotes hold separators. false: nothing left. */
static bool cut(kv_slice *rest, char sep, kv_slice *ret)
{
    if (rest->ptr == NULL)
        return false;
    size_t i = 0;
    bool quoted = false;
    for (; i < rest->len; i++) {
        char c = rest->ptr[i];
        if (c == '"')
            quoted = !quoted;
        else if (c == sep && !quoted)
            break;
    }
    *ret = trim(kv_slice_of(rest->ptr, i));
    *rest =
        i < rest->len ? kv_slice_of(rest->ptr + i + 1, rest->len - i - 1) : kv_slice_of(NULL, 0);
    return true;
}

static bool is_word(kv_slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

/* ---- ranges ---- */

/* Digits only; too large saturates, which is "behind the end" for any file. false: not a number. */
static bool number(kv_slice s, uint64_t *ret)
{
    uint64_t n = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    *ret = n;
    return true;
}

kv_range_kind kv_range_parse(kv_slice value, uint64_t size, uint64_t *ret_first, uint64_t *ret_last)
{
    kv_slice unit, spec = trim(value);
    if (spec.ptr == NULL || !cut(&spec, '=', &unit) || !is_word(unit, "bytes") || spec.ptr == NULL)
        return KV_RANGE_NONE;
    spec = trim(spec);
    const char *dash = spec.len != 0 ? memchr(spec.ptr, '-', spec.len) : NULL;
    if (dash == NULL || memchr(spec.ptr, ',', spec.len) != NULL)
        return KV_RANGE_NONE;
    kv_slice left = trim(kv_slice_of(spec.ptr, (size_t)(dash - spec.ptr)));
    kv_slice right = trim(kv_slice_of(dash + 1, (size_t)(spec.ptr + spec.len - dash - 1)));
    uint64_t first, last;
    if (left.len == 0) { /* "-500": the last 500 */
        uint64_t count;
        if (!number(right, &count))
            return KV_RANGE_NONE;
        if (count == 0 || size == 0)
            return KV_RANGE_BAD;
        first = count >= size ? 0 : size - count;
        last = size - 1;
    } else {
        if (!number(left, &first))
            return KV_RANGE_NONE;
        if (right.len == 0)
            last = UINT64_MAX;
        else if (!number(right, &last) || last < first)
            return KV_RANGE_NONE;
        if (first >= size)
            return KV_RANGE_BAD;
        if (last >= size)
            last = size - 1;
    }
    *ret_first = first;
    *ret_last = last;
    return KV_RANGE_ONE;
}

/* ---- conditions ---- */

static bool digits(const char *p, unsigned n, int *ret)
{
    *ret = 0;
    for (unsigned i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *ret = *ret * 10 + (p[i] - '0');
    }
    return true;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
bool kv_http_date_parse(kv_slice text, int64_t *ret_seconds)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    kv_slice s = trim(text);
    if (s.len != 29 || memcmp(s.ptr + 3, ", ", 2) != 0 || s.ptr[7] != ' ' || s.ptr[11] != ' ' ||
        s.ptr[16] != ' ' || s.ptr[19] != ':' || s.ptr[22] != ':' ||
        memcmp(s.ptr + 25, " GMT", 4) != 0)
        return false;
    struct tm tm = {0};
    tm.tm_mon = -1;
    for (int m = 0; m < 12; m++)
        if (memcmp(s.ptr + 8, months + 3 * m, 3) == 0)
            tm.tm_mon = m;
    int year;
    if (tm.tm_mon < 0 || !digits(s.ptr + 5, 2, &tm.tm_mday) || !digits(s.ptr + 12, 4, &year) ||
        !digits(s.ptr + 17, 2, &tm.tm_hour) || !digits(s.ptr + 20, 2, &tm.tm_min) ||
        !digits(s.ptr + 23, 2, &tm.tm_sec))
        return false;
    if (tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year = year - 1900;
    *ret_seconds = (int64_t)timegm(&tm);
    return true;
}

static bool listed(kv_slice list, kv_slice etag, bool weak)
{
    kv_slice one;
    while (cut(&list, ',', &one)) {
        if (kv_slice_is(one, "*"))
            return true;
        if (weak && one.len > 2 && memcmp(one.ptr, "W/", 2) == 0)
            one = kv_slice_of(one.ptr + 2, one.len - 2);
        if (kv_slice_eq(one, etag))
            return true;
    }
    return false;
}

bool kv_etag_listed(kv_slice if_none_match, kv_slice etag)
{
    return listed(if_none_match, etag, true);
}

bool kv_etag_matches(kv_slice if_match, kv_slice etag)
{
    return listed(if_match, etag, false);
}

bool kv_if_range_holds(kv_slice if_range, kv_slice etag, int64_t modified)
{
    kv_slice s = trim(if_range);
    int64_t seconds;
    if (s.len != 0 && s.ptr[0] == '"')
        return kv_slice_eq(s, etag);
    return kv_http_date_parse(s, &seconds) &&
           seconds == modified; /* a weak tag falls through to false */
}

/* ---- choice ---- */

/* "0.85" to 850; anything odd counts as 0, which refuses rather than guesses. */
static unsigned quality(kv_slice s)
{
    if (s.len == 0 || (s.ptr[0] != '0' && s.ptr[0] != '1') || s.len > 5 ||
        (s.len > 1 && s.ptr[1] != '.'))
        return 0;
    unsigned q = s.ptr[0] == '1' ? 1000 : 0, unit = 100;
    for (size_t i = 2; i < s.len; i++, unit /= 10) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return 0;
        q += (unsigned)(s.ptr[i] - '0') * unit;
    }
    return q > 1000 ? 0 : q;
}

unsigned kv_accept_names(kv_slice accept, const char *mime)
{
    kv_slice item, part;
    while (cut(&accept, ',', &item)) {
        if (!cut(&item, ';', &part) || !is_word(part, mime))
            continue;
        unsigned q = 1000;
        while (cut(&item, ';', &part))
            if (part.len > 2 && (part.ptr[0] == 'q' || part.ptr[0] == 'Q') && part.ptr[1] == '=')
                q = quality(kv_slice_of(part.ptr + 2, part.len - 2));
        return q;
    }
    return 0;
}

int kv_pick(const kv_pick_variant *v, unsigned n, const unsigned quality_of[KV_PICK_FORMATS],
            uint32_t width, uint32_t original_width)
{
    int best = -1;
    for (unsigned i = 0; i < n; i++) {
        if (quality_of[v[i].format] == 0)
            continue;
        bool fits = width == 0 ? v[i].full : v[i].full || v[i].width >= width;
        if (!fits || (original_width != 0 && v[i].width > original_width))
            continue;
        if (best < 0) {
            best = (int)i;
            continue;
        }
        const kv_pick_variant *b = &v[best];
        unsigned mine = quality_of[v[i].format], its = quality_of[b->format];
        if (v[i].width != b->width) {
            if (v[i].width < b->width)
                best = (int)i;
        } else if (mine != its ? mine > its : v[i].format > b->format) {
            best = (int)i;
        }
    }
    return best;
}
