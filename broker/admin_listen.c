#include "broker/admin_listen.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/log.h"

enum { BACKLOG = 16 };

static kv_err failed(kv_err err, const char *path, const char *what)
{
    kv_log(KV_LOG_ERROR, "admin_failed", KV_STR("path", path), KV_STR("what", what));
    return err;
}

static bool somebody_listens(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* EAGAIN: its backlog is full, so it lives */
    bool yes =
        fd >= 0 && (connect(fd, (const struct sockaddr *)at, sizeof *at) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return yes;
}

static kv_err clear_place(const struct sockaddr_un *at)
{
    struct stat st;
    if (lstat(at->sun_path, &st) != 0)
        return KV_OK;
    if (!S_ISSOCK(st.st_mode))
        return failed(KV_E_CONFIG, at->sun_path,
                      "something that is not a socket stands in its place; set KERVAN_ADMIN to "
                      "another path");
    if (somebody_listens(at))
        return failed(KV_E_LOCKED, at->sun_path,
                      "somebody listens there; set KERVAN_ADMIN to another path");
    return unlink(at->sun_path) == 0 ? KV_OK : failed(KV_E_IO, at->sun_path, strerror(errno));
}

kv_err kv_admin_listen(const char *path, int *ret_fd)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *ret_fd = -1;
    if (strlen(path) >= sizeof at.sun_path)
        return failed(
            KV_E_CONFIG, path,
            "the path of a socket has 107 bytes at most; set KERVAN_ADMIN to a shorter one");
    memcpy(at.sun_path, path, strlen(path));
    kv_err err = clear_place(&at);
    if (err != KV_OK)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* nobody can connect before listen: by then the mode is right */
    if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        chmod(path, 0600) != 0 || listen(fd, BACKLOG) != 0) {
        err = failed(kv_err_from_errno(errno), path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return err;
    }
    *ret_fd = fd;
    return KV_OK;
}

void kv_admin_unlisten(const char *path, int fd)
{
    unlink(path);
    close(fd);
}
