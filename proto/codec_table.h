/* messages.h as data: what the codec, the tables of PROTOCOL.md and the round-trip test walk over.
 * Read-only; any thread. */
#ifndef KV_CODEC_TABLE_H
#define KV_CODEC_TABLE_H

#include <stddef.h>

#include "proto/messages.h"

typedef enum kv_field_type {
    KV_FIELD_u64,
    KV_FIELD_i64,
    KV_FIELD_boolean,
    KV_FIELD_str,
    KV_FIELD_bin
} kv_field_type;

typedef struct kv_field_info {
    kv_field_type type;
    const char *name;
    size_t offset;  /* in kv_msg */
    uint64_t limit; /* see messages.h */
    int64_t def;
    const char *unit, *text;
    const char *bad_type, *bad_limit, *bad_text; /* sentences for kv_body_decode */
} kv_field_info;

typedef struct kv_message_info {
    uint16_t code;
    const char *name;   /* "MEDIA_COMMIT" */
    const char *from;   /* "gateway > broker" */
    const char *answer; /* name of the expected answer; "" */
    const kv_field_info *fields;
    size_t count;
    const char *text;
} kv_message_info;

/* By code; NULL: not known. */
const kv_message_info *kv_message_info_of(uint16_t code);
/* In the order of their codes; NULL behind the last one. */
const kv_message_info *kv_message_info_at(size_t i);

#endif
