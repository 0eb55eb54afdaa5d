/* The API description, gateway/openapi.json, embedded by gateway/CMakeLists.txt. */
#ifndef KV_GATEWAY_OPENAPI_H
#define KV_GATEWAY_OPENAPI_H

#include <stddef.h>

extern const unsigned char kv_openapi_json[];
extern const size_t kv_openapi_json_len;

#endif
