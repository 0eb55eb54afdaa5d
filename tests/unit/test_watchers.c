/* Several sessions that watch the same job. */
#include "tests/unit/rig_text.h"

static void watch(text_rig *t, const char *peer, uint64_t job, bool on)
{
    char id[KV_ID_BYTES];
    kv_msg m;
    kv_id_put(id, 0, job);
    kv_msg_defaults(KV_POSITION, &m);
    m.position.jobs = kv_slice_of(id, sizeof id);
    m.position.watch = on;
    m.position.unwatch = !on;
    rig_say(&t->r, peer, &m);
}

/* Who watches one job may come and go in any order: those who stay are told of its end. */
static void test_several_of_one_job(void **state)
{
    enum { SESSIONS = 5, JOBS = 60, CHANGES = 12 };
    static const char *const peers[SESSIONS] = {"c", "d", "e", "f", "g"};
    text_rig t;
    uint64_t seed = 3;
    (void)state;
    text_start(&t, 1);
    for (uint64_t i = 0; i < SESSIONS; i++)
        rig_hello(&t.r, peers[i], "client", peers[i], 1);
    for (uint64_t job = 1; job <= JOBS; job++) {
        bool watches[SESSIONS] = {false};
        int n = 0;
        rig_submit(&t.r, "c", job, "ai", 1);
        text_commit(&t);
        for (int i = 0; i < CHANGES; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t who = (seed >> 33) % SESSIONS;
            watches[who] = !watches[who];
            watch(&t, peers[who], job, watches[who]);
        }
        for (int i = 0; i < SESSIONS; i++) {
            n += watches[i];
            rig_beat(&t.r, peers[i], 0);
        }
        assert_int_equal(t.r.core->watches, n);
        kv_msg m;
        kv_msg_defaults(KV_CANCEL, &m);
        m.cancel.job = job;
        rig_say(&t.r, "c", &m);
        text_commit(&t);
        t.entries = 0;
        text_wait(&t, 300);
        assert_int_equal(t.entries, n);
        assert_int_equal(t.r.core->watches, 0);
    }
    text_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_several_of_one_job)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
