/* Whether bytes are one JSON value (RFC 8259), at most 64 deep. What clients and workers send is
 * put into our own JSON as it is. Pure. */
#ifndef KV_BROKER_JSON_CHECK_H
#define KV_BROKER_JSON_CHECK_H

#include "proto/base/slice.h"

bool kv_json_valid(kv_slice text);

#endif
