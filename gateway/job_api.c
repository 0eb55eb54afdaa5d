/* GET /api/jobs/:id, straight from the database: a job is what the ledger wrote. */
#include "gateway/answer.h"
#include "gateway/route.h"
#include "proto/base/id.h"
#include "storage/read/jobs.h"

void kv_route_job_get(kv_request *r)
{
    uint64_t id;
    if (!kv_id_parse(r->param.ptr, r->param.len, &id)) {
        kv_answer_problem(r->req, KV_E_BAD_ID, NULL, 0);
        return;
    }
    kv_db *db = kv_loop_db(r->loop);
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_answer_buf(r->req, db == NULL ? KV_E_BROKER_AWAY : kv_job_get_json(db, id, &out), 200, &out);
    kv_buf_release(&out);
}
