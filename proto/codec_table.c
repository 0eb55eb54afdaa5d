#include "proto/codec_table.h"

#include "proto/codec.h"

/* Other languages make floats of numbers and bins of texts: say what is wanted. */
#define MUST_u64     "a uint (an integer, not negative)"
#define MUST_i64     "an int (an integer)"
#define MUST_boolean "a bool"
#define MUST_str     "a str (not bin)"
#define MUST_bin     "a bin (not str)"

#define TEXT_(value) #value
#define TEXT(value)  TEXT_(value)

/* All messages share one place in kv_msg: the union. */
#define FIELD(T, type, member, limit, def, unit, text)                                             \
    {KV_FIELD_##type,                                                                              \
     #member,                                                                                      \
     offsetof(kv_msg, hello) + offsetof(kv_##T, member),                                           \
     limit,                                                                                        \
     def,                                                                                          \
     unit,                                                                                         \
     text,                                                                                         \
     #member ": must be " MUST_##type,                                                             \
     #member ": is over its limit of " TEXT(limit),                                                \
     #member ": is not valid UTF-8"},
#define FIELDS_OF(code, NAME, name, from, answer, FIELDS, text)                                    \
    static const kv_field_info fields_##name[] = {FIELDS(FIELD, name)};                            \
    _Static_assert(sizeof fields_##name / sizeof *fields_##name <= KV_FIELDS_MAX, "too many");
KV_MESSAGES(FIELDS_OF)

static const kv_message_info rows[] = {
#define ROW(code, NAME, name, from, answer, FIELDS, text)                                          \
    {code, #NAME, from, answer, fields_##name, sizeof fields_##name / sizeof *fields_##name, text},
    KV_MESSAGES(ROW)
#undef ROW
};

enum { ROW_COUNT = sizeof rows / sizeof *rows };

/* Codes are small: a place each, one more than the row's number, 0 for none. */
enum {
#define PLACE(code, NAME, name, from, answer, FIELDS, text) PLACE_##NAME,
    KV_MESSAGES(PLACE)
#undef PLACE
};
static const uint8_t places[256] = {
#define PLACE_OF(code, NAME, name, from, answer, FIELDS, text) [code] = PLACE_##NAME + 1,
    KV_MESSAGES(PLACE_OF)
#undef PLACE_OF
};

const kv_message_info *kv_message_info_of(uint16_t code)
{
    return code < sizeof places && places[code] ? &rows[places[code] - 1] : NULL;
}

const kv_message_info *kv_message_info_at(size_t i)
{
    return i < ROW_COUNT ? &rows[i] : NULL;
}

const char *kv_code_name(uint16_t code)
{
    const kv_message_info *m = kv_message_info_of(code);

    return m ? m->name : "?";
}

uint16_t kv_code_answer(uint16_t code)
{
    const kv_message_info *m = kv_message_info_of(code);

    for (size_t i = 0; m && m->answer[0] && i < ROW_COUNT; i++) {
        if (strcmp(rows[i].name, m->answer) == 0)
            return rows[i].code;
    }
    return 0;
}

bool kv_code_ingest(uint16_t code)
{
    return code >= 0x60 && code <= 0x7f;
}
