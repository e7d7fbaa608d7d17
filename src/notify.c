/* See notify.h. */
#define _GNU_SOURCE
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int rv_notify_open(struct rv_notify *n)
{
    n->fds[0] = n->fds[1] = -1;
    return pipe2(n->fds, O_CLOEXEC | O_NONBLOCK);
}

void rv_notify_close(struct rv_notify *n)
{
    for (int i = 0; i < 2; i++)
        if (n->fds[i] >= 0)
            close(n->fds[i]);
    n->fds[0] = n->fds[1] = -1;
}

void rv_notify_ring(const struct rv_notify *n)
{
    int saved = errno;
    /* A full pipe is readable already, which is all that a ring has to achieve. */
    if (write(n->fds[1], "", 1) < 0)
        errno = saved;
}

void rv_notify_silence(const struct rv_notify *n)
{
    char sink[64];
    while (read(n->fds[0], sink, sizeof sink) == (long)sizeof sink)
        ;
}
