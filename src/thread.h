/* Threads of ours inside somebody else's process. */
#ifndef RV_THREAD_H
#define RV_THREAD_H

#include <pthread.h>

/* Starts a thread that takes no signal, so that each reaches the host's own threads and none ends ours (SIGPIPE).
 * 0, or an errno when it cannot be started. */
int rv_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

/* The calling thread gives way to other threads, its own process's included: to 19, wholly. Never takes back. */
void rv_thread_nice(int nice);

#endif
