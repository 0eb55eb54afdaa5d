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
    /* As qsort's, of two `const json_t **`; NULL: as they come. */
    int (*compare)(const void *a, const void *b);
} kv_inspect_view;

/* Goes on with `then` where the broker or the database knows this queue, and tells it as
 * call->known. Where neither does: with `must` the call ends with an error. */
void kv_admin_with_queue(kv_admin_call *call, kv_slice service, bool must, kv_admin_fn then);

/* Shows the views one after the other (JSON: one object with an array of each) and ends the call.
 * `service` len 0: all queues; one that nobody knows is an error. `views` are static. */
void kv_admin_inspect(kv_admin_call *call, const kv_inspect_view *views, int n, kv_slice service);

/* Asks for one page of at most `limit` items after `after`. */
void kv_admin_ask_inspect(kv_admin_call *call, const char *what, kv_slice service, uint64_t after,
                          uint64_t limit, kv_admin_answer_fn fn);

#endif
