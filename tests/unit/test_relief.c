/* Who does the loop's rounds while it waits for the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <semaphore.h>
#include <stdbool.h>
#include <time.h>

#include "broker/relief.h"

typedef struct loop {
    kv_relief *relief;
    sem_t rounds;
    int done, wrong; /* plain: the desk guards them */
    bool at_desk;
} loop;

static void one_round(void *arg)
{
    loop *l = arg;
    l->done++;
    l->wrong += l->at_desk;
    sem_post(&l->rounds);
}

static void await_rounds(loop *l, int n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    for (; n > 0; n--)
        assert_int_equal(sem_timedwait(&l->rounds, &until), 0);
}

static void leave(loop *l)
{
    l->at_desk = false;
    kv_relief_leave(l->relief);
}

static void come_back(loop *l)
{
    kv_relief_return(l->relief);
    l->at_desk = true;
}

static int make(void **state)
{
    static loop l;
    l = (loop){.at_desk = true};
    assert_int_equal(sem_init(&l.rounds, 0, 0), 0);
    assert_int_equal(kv_relief_start(&kv_clock_real, one_round, &l, &l.relief), KV_OK);
    *state = &l;
    return 0;
}

static int drop(void **state)
{
    loop *l = *state;
    kv_relief_stop(&l->relief);
    assert_null(l->relief);
    kv_relief_stop(&l->relief); /* of nothing */
    assert_int_equal(l->wrong, 0);
    sem_destroy(&l->rounds);
    return 0;
}

static void rounds_go_on_while_the_loop_is_away(void **state)
{
    loop *l = *state;
    for (int i = 0; i < 3; i++) {
        leave(l);
        await_rounds(l, 5);
        come_back(l);
        assert_true(l->done >= 5);
    }
}

static void short_absences_are_nobodys_business(void **state)
{
    loop *l = *state;
    for (int i = 0; i < 20000; i++) {
        leave(l);
        come_back(l);
        l->done = 0; /* with the desk held */
    }
}

/* Nobody watches a loop that did not leave for a second; the next time it leaves somebody does. */
static void it_wakes_for_the_first_absence(void **state)
{
    loop *l = *state;
    struct timespec quiet = {.tv_sec = 1, .tv_nsec = 300000000};
    for (int i = 0; i < 2; i++) {
        nanosleep(&quiet, NULL);
        leave(l);
        await_rounds(l, 1);
        come_back(l);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        T(rounds_go_on_while_the_loop_is_away),
        T(short_absences_are_nobodys_business),
        T(it_wakes_for_the_first_absence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
