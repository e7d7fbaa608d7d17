/*
 * A doorbell: a pipe that is readable while somebody has rung since it was last silenced.
 * rv_notify_ring may be called from any thread and from a signal handler; the rest by the owner.
 */
#ifndef RV_NOTIFY_H
#define RV_NOTIFY_H

struct rv_notify {
    int fds[2]; /* read, write; -1 when not open */
};

/* 0, or -1 with errno set (no descriptors left). Both ends are close-on-exec and non-blocking. */
int rv_notify_open(struct rv_notify *n);
void rv_notify_close(struct rv_notify *n);
void rv_notify_ring(const struct rv_notify *n);
void rv_notify_silence(const struct rv_notify *n);

#endif
