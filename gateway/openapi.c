/* GET /api/openapi.json */
#include "gateway/openapi.h"

#include "gateway/answer.h"
#include "gateway/route.h"

void kv_route_openapi(kv_request *r)
{
    kv_add_header(r->req, "cache-control", "no-cache");
    kv_answer_static(r->req, 200, "application/json", kv_openapi_json, kv_openapi_json_len);
}
