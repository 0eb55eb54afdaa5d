#include "proto/base/wake.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int kv_wake_open(void)
{
    return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void kv_wake(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    assert(n == sizeof one || errno == EAGAIN); /* full: it is readable */
    (void)n;
}

bool kv_wake_taken(int fd)
{
    uint64_t times;
    ssize_t n = read(fd, &times, sizeof times);
    assert(n == sizeof times || errno == EAGAIN);
    return n == sizeof times;
}
