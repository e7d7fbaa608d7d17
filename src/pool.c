/* See pool.h. */
#define _GNU_SOURCE
#include "pool.h"

#include "clock.h"
#include "thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_THREADS = 64 };

struct works {
    struct rv_work *head, **tail;
};

struct rv_pool {
    const struct rv_task *task;
    struct rv_notify *bell;
    int nice;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct works waiting, done; /* under the lock, as are the flags */
    bool draining, stopping;
    int threads;
    pthread_t thread[MOST_THREADS];
};

static void works_init(struct works *w)
{
    w->head = NULL;
    w->tail = &w->head;
}

static void works_push(struct works *w, struct rv_work *one)
{
    one->next = NULL;
    *w->tail = one;
    w->tail = &one->next;
}

static struct rv_work *works_pop(struct works *w)
{
    struct rv_work *one = w->head;
    if (one && !(w->head = one->next))
        w->tail = &w->head;
    return one;
}

static void works_free(struct works *w)
{
    for (struct rv_work *one; (one = works_pop(w));)
        rv_work_free(one);
}

static void do_work(const struct rv_task *task, struct rv_work *w)
{
    double began = rv_now();
    w->kind = NULL;
    char *json = task->run(w->path, &w->kind, w->why);
    const char *why = NULL;
    if (json)
        w->vector = rv_vector_new(json, strlen(json), &why);
    free(json);
    if (!w->vector && !w->kind) {
        w->kind = "bad_answer";
        snprintf(w->why, sizeof w->why, "%s", why ? why : "out of memory");
    }
    w->seconds = rv_now() - began;
}

static void *run(void *arg)
{
    struct rv_pool *p = arg;
    rv_thread_nice(p->nice);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->waiting.head && !p->stopping)
            pthread_cond_wait(&p->more, &p->lock);
        if (p->stopping)
            break;
        struct rv_work *w = works_pop(&p->waiting);
        pthread_mutex_unlock(&p->lock);
        do_work(p->task, w);
        pthread_mutex_lock(&p->lock);
        works_push(&p->done, w);
        rv_notify_ring(p->bell);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct rv_pool *rv_pool_start(const struct rv_task *task, int threads, int nice, struct rv_notify *bell, const char **error)
{
    struct rv_pool *p = calloc(1, sizeof *p);
    *error = "out of memory";
    if (!p)
        return NULL;
    p->task = task;
    p->nice = nice;
    p->bell = rv_notify_share(bell);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    works_init(&p->waiting);
    works_init(&p->done);
    if (threads == 0)
        threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    while (p->threads < threads && !rv_thread_start(&p->thread[p->threads], run, p))
        p->threads++;
    if (p->threads > 0)
        return p;
    *error = "no thread can be started";
    rv_pool_stop(p);
    return NULL;
}

struct rv_work *rv_work_new(const char *path, int item)
{
    size_t len = strlen(path) + 1;
    struct rv_work *w = calloc(1, sizeof *w + len);
    if (!w)
        return NULL;
    w->item = item;
    memcpy(w->path, path, len);
    return w;
}

void rv_work_free(struct rv_work *w)
{
    rv_vector_drop(w->vector);
    free(w);
}

/* Under the lock. */
static void give_back(struct rv_pool *p, struct rv_work *w)
{
    w->kind = "pending";
    works_push(&p->done, w);
    rv_notify_ring(p->bell);
}

void rv_pool_submit(struct rv_pool *p, struct rv_work *w)
{
    pthread_mutex_lock(&p->lock);
    if (p->draining) {
        give_back(p, w);
    } else {
        works_push(&p->waiting, w);
        pthread_cond_signal(&p->more);
    }
    pthread_mutex_unlock(&p->lock);
}

struct rv_work *rv_pool_take(struct rv_pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct rv_work *done = p->done.head;
    works_init(&p->done);
    pthread_mutex_unlock(&p->lock);
    return done;
}

void rv_pool_ring(struct rv_pool *p)
{
    rv_notify_ring(p->bell);
}

void rv_pool_drain(struct rv_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->draining = true;
    for (struct rv_work *w; (w = works_pop(&p->waiting));)
        give_back(p, w);
    pthread_mutex_unlock(&p->lock);
}

void rv_pool_stop(struct rv_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    while (p->threads)
        pthread_join(p->thread[--p->threads], NULL);
    works_free(&p->waiting);
    works_free(&p->done);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    rv_notify_free(p->bell);
    free(p);
}
