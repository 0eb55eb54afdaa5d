#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/base/process.h"

static void test_signals(void **state)
{
    struct rlimit core;
    int fd = kv_process_setup("tester");

    (void)state;
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
    assert_int_equal(core.rlim_max, 0);
    assert_false(kv_process_stop_asked(fd));
    raise(SIGTERM);
    assert_true(kv_process_stop_asked(fd));
    assert_false(kv_process_stop_asked(fd));
    raise(SIGINT);
    assert_true(kv_process_stop_asked(fd));
    raise(SIGPIPE); /* ignored */
    close(fd);
}

static void test_ready(void **state)
{
    int fds[2];
    char text[16], byte = 0;

    (void)state;
    unsetenv("KERVAN_READY_FD");
    kv_process_ready();
    setenv("KERVAN_READY_FD", "x", 1);
    kv_process_ready();
    assert_int_equal(pipe(fds), 0);
    snprintf(text, sizeof text, "%d", fds[1]);
    setenv("KERVAN_READY_FD", text, 1);
    kv_process_ready();
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(read(fds[0], &byte, 1), 0); /* closed */
    kv_process_ready();                          /* once only */
    close(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_signals),
                                       cmocka_unit_test(test_ready)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
