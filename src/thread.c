/* See thread.h. */
#define _GNU_SOURCE
#include "thread.h"

#include <signal.h>
#include <sys/resource.h>

int rv_thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

void rv_thread_nice(int nice)
{
    /* Of the thread, not the process, on Linux. To be nicer is always allowed. */
    if (nice > getpriority(PRIO_PROCESS, 0))
        setpriority(PRIO_PROCESS, 0, nice);
}
