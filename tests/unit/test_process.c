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
#include <sys/wait.h>
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
    raise(SIGHUP); /* the terminal is gone */
    assert_true(kv_process_stop_asked(fd));
    raise(SIGPIPE); /* ignored */
    close(fd);
}

/* The exit status of `fn` in a process of its own. */
static int apart(int (*fn)(void))
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int under_nohup(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGHUP, SIG_IGN);
    int fd = kv_process_setup("tester");
    raise(SIGHUP);
    return fd >= 0 && !kv_process_stop_asked(fd) ? 0 : 1;
}

/* A parent that ignores SIGCHLD hands that on; children would vanish unseen. */
static int waits_for_children(void)
{
    signal(SIGCHLD, SIG_IGN);
    if (kv_process_setup("tester") < 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return waitpid(pid, NULL, 0) == pid ? 0 : 2;
}

static int with_supervisor(pid_t pid)
{
    char text[16];
    snprintf(text, sizeof text, "%ld", (long)pid);
    setenv("KERVAN_SUPERVISED", text, 1);
    return kv_process_setup("tester") >= 0 ? 0 : 1;
}

static int of_its_supervisor(void)
{
    return with_supervisor(getppid());
}

/* Its supervisor died before it got here: nobody would ever end it. */
static int of_a_dead_supervisor(void)
{
    return with_supervisor(getpid());
}

static void test_inherited(void **state)
{
    (void)state;
    assert_int_equal(apart(under_nohup), 0);
    assert_int_equal(apart(waits_for_children), 0);
    assert_int_equal(apart(of_its_supervisor), 0);
    assert_int_equal(apart(of_a_dead_supervisor), 1);
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
                                       cmocka_unit_test(test_inherited),
                                       cmocka_unit_test(test_ready)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
