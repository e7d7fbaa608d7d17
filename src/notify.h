/*
 * A doorbell: a pipe that is readable while somebody has rung since it was last silenced. For a host that cannot watch
 * a pipe but can connect to a socket, each ring may be sent to such a connection as well.
 * rv_notify_ring may be called from any thread and, before rv_notify_listen, from a signal handler; the rest by the owner.
 */
#ifndef RV_NOTIFY_H
#define RV_NOTIFY_H

#include <stdatomic.h>

struct rv_notify {
    atomic_int users;     /* of one made by rv_notify_new */
    int fds[2];           /* read, write; -1 when not open */
    int listener;         /* waits for the connection; -1: nothing does */
    atomic_int connection; /* gets a byte with each ring; -1: none */
};

#define RV_NOTIFY_CLOSED {0, {-1, -1}, -1, -1}

/* 0, or -1 with errno set (no descriptors left). Both ends are close-on-exec and non-blocking. */
int rv_notify_open(struct rv_notify *n);
void rv_notify_close(struct rv_notify *n);

/* One that several may have: it is closed and freed when the last of them lets it go. NULL with errno set. */
struct rv_notify *rv_notify_new(void);
struct rv_notify *rv_notify_share(struct rv_notify *n);
void rv_notify_free(struct rv_notify *n); /* NULL is fine */

void rv_notify_ring(const struct rv_notify *n);
void rv_notify_silence(struct rv_notify *n);

/* Makes a Unix socket at path, open to this user alone. The first to connect, before the next rv_notify_silence, gets a
 * byte with each ring from that on. The path is the caller's to remove. Once; 0, or -1 with errno set. */
int rv_notify_listen(struct rv_notify *n, const char *path);

#endif
