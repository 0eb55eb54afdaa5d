#include "proto/base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/log.h"

static bool folder_made(const char *path, mode_t mode)
{
    return mkdir(path, mode) == 0 || errno == EEXIST;
}

static kv_err open_and_lock(const char *path, int *ret_fd)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return KV_E_IO;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *ret_fd = fd;
        return KV_OK;
    }
    int why = errno;
    close(fd);
    errno = why;
    return why == EWOULDBLOCK ? KV_E_CONFLICT : KV_E_IO;
}

kv_err kv_lock_take(const char *data, const char *name, int *ret_fd)
{
    kv_err err = KV_E_IO;
    kv_buf path;
    kv_buf_init(&path, 0);
    kv_buf_addf(&path, "%s/run", data);
    bool folders = kv_buf_ok(&path) && folder_made(data, 0755) && folder_made(path.data, 0750);
    int why = errno;
    kv_buf_addf(&path, "/%s.lock", name);
    if (!kv_buf_ok(&path)) {
        err = KV_E_NO_MEMORY;
    } else if (folders) {
        err = open_and_lock(path.data, ret_fd);
        why = errno;
    }
    if (err == KV_E_IO)
        kv_log(KV_LOG_ERROR, "lock_failed", KV_STR("path", kv_buf_str(&path)),
               KV_STR("error", strerror(why)));
    kv_buf_release(&path);
    return err;
}
