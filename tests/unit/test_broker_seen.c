/* A user has seen very many notifications: slice by slice, one answer. */
#include "tests/unit/core_rig.h"

/* The slice in the ledger has more behind it, or none. */
static void answer_slice(rig *r, uint64_t notification, uint64_t more)
{
    assert_int_equal(r->commands.n, 1);
    assert_int_equal(r->commands.first->type, KV_CMD_SEEN);
    assert_true(kv_slice_is(r->commands.first->seen.user, "ali"));
    assert_int_equal(r->commands.first->seen.notification, notification);
    r->commands.first->other = more;
    rig_answer(r, KV_OK);
}

static void test_seen_in_slices(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "g", "gateway", "loop", 2);
    kv_msg_defaults(KV_SEEN, &m);
    m.seen.user = kv_slice_str("ali");
    uint64_t request = rig_say(&r, "g", &m);
    answer_slice(&r, 0, 900);
    assert_null(rig_last(&r, "g", KV_OKAY));
    kv_header head = {.code = KV_SEEN, .request = request};
    kv_core_message(r.core, r.now, kv_slice_str("g"), &head, &m); /* its answer is on its way */
    answer_slice(&r, 900, 900);
    answer_slice(&r, 900, 0);
    rig_expect_code(&r, request, KV_OKAY);
    request = rig_say(&r, "g", &m);
    answer_slice(&r, 0, 950);
    rig_answer(&r, KV_E_DISK_FULL);
    assert_int_equal(rig_reply(&r, request)->m.error.number, KV_E_DISK_FULL);
    assert_int_equal(r.commands.n, 0);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seen_in_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
