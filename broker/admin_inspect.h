/* What the broker's INSPECT tells, page by page, as tables or JSON. */
#ifndef KV_BROKER_ADMIN_INSPECT_H
#define KV_BROKER_ADMIN_INSPECT_H

#include "broker/admin_cmd.h"

typedef struct kv_inspect_view {
    const char *what; /* of INSPECT, and the name of the array in its answer */
    const char *none; /* text when it is empty; NULL: nothing */
    const kv_column *columns;
    int n;
    /* Adds to a row what the broker does not know; NULL: nothing. */
    void (*enrich)(kv_admin_call *call, json_t *row);
} kv_inspect_view;

/* Shows the views one after the other (JSON: one object with an array of each) and ends the call.
 * `service` len 0: all queues. `views` are static. */
void kv_admin_inspect(kv_admin_call *call, const kv_inspect_view *views, int n, kv_slice service);

/* Asks for one page of at most `limit` items after `after`. */
void kv_admin_ask_inspect(kv_admin_call *call, const char *what, kv_slice service, uint64_t after,
                          uint64_t limit, kv_admin_answer_fn fn);

#endif
