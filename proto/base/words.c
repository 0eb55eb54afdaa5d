#include "proto/base/words.h"

#define NAME(name, word)                 word,
#define EVENT(name, kind, what, members) {kind "." what, sizeof kind "." what - 1},

const char *const kv_state_names[KV_STATES] = {KV_JOB_STATES(NAME)};
const char *const kv_lane_names[KV_LANES] = {KV_JOB_LANES(NAME)};
const char *const kv_health_names[KV_HEALTH_COUNT] = {KV_HEALTHS(NAME)};
const char *const kv_overflow_names[KV_OVERFLOW_COUNT] = {KV_OVERFLOWS(NAME, )};
const char *const kv_log_level_names[KV_LOG_LEVEL_COUNT] = {KV_LOG_LEVELS(NAME, )};
const kv_slice kv_event_names[KV_EVENT_COUNT] = {KV_EVENT_TYPES(EVENT)};

int kv_word_find(const char *const *words, int n, kv_slice word)
{
    for (int i = 0; i < n; i++) {
        if (kv_slice_is(word, words[i]))
            return i;
    }
    return -1;
}

bool kv_state_ends(kv_slice status)
{
    return !kv_slice_is(status, kv_state_names[KV_JOB_QUEUED]) &&
           !kv_slice_is(status, kv_state_names[KV_JOB_PROCESSING]);
}

bool kv_event_kind_known(kv_slice kind)
{
#define IS(name, text, what, members) || kv_slice_is(kind, text)
    return false KV_EVENT_TYPES(IS);
#undef IS
}
