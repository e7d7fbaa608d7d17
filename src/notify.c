/* See notify.h. */
#define _GNU_SOURCE
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int rv_notify_open(struct rv_notify *n)
{
    *n = (struct rv_notify)RV_NOTIFY_CLOSED;
    return pipe2(n->fds, O_CLOEXEC | O_NONBLOCK);
}

void rv_notify_close(struct rv_notify *n)
{
    int fds[] = {n->fds[0], n->fds[1], n->listener, n->connection};
    for (int i = 0; i < 4; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *n = (struct rv_notify)RV_NOTIFY_CLOSED;
}

struct rv_notify *rv_notify_new(void)
{
    struct rv_notify *n = malloc(sizeof *n);
    if (!n || !rv_notify_open(n)) {
        if (n)
            n->users = 1;
        return n;
    }
    int error = errno;
    free(n);
    errno = error;
    return NULL;
}

struct rv_notify *rv_notify_share(struct rv_notify *n)
{
    n->users++;
    return n;
}

void rv_notify_free(struct rv_notify *n)
{
    if (!n || --n->users)
        return;
    rv_notify_close(n);
    free(n);
}

int rv_notify_listen(struct rv_notify *n, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (fchmod(fd, 0600) || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    n->listener = fd;
    return 0;
}

void rv_notify_ring(const struct rv_notify *n)
{
    int saved = errno;
    /* Full is as good as rung: the host has not looked yet. */
    if (write(n->fds[1], "", 1) < 0)
        errno = saved;
    int connection = n->connection;
    if (connection >= 0 && send(connection, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        errno = saved;
}

void rv_notify_silence(struct rv_notify *n)
{
    char sink[64];
    while (read(n->fds[0], sink, sizeof sink) == (long)sizeof sink)
        ;
    if (n->listener < 0)
        return;
    n->connection = accept4(n->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (n->connection >= 0) {
        close(n->listener);
        n->listener = -1;
    }
}
