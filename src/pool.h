/*
 * Threads that run a task on files, for what no service does. They never see a lua_State. The owner (one thread) submits and
 * takes; what is submitted is done in its order, as many at a time as there are threads.
 */
#ifndef RV_POOL_H
#define RV_POOL_H

#include "notify.h"
#include "task.h"
#include "vector.h"

struct rv_work {
    struct rv_work *next;
    int item;                 /* the owner's number for it */
    const char *kind;         /* static; NULL: done */
    struct rv_vector *vector; /* NULL when it failed */
    double seconds;           /* that it took; 0: it was not begun */
    char why[RV_TASK_WHY];    /* one line, where it failed */
    char path[];
};

struct rv_pool;

/* threads: 0 for as many as there are processors. bell is shared. NULL with *error (static) when something is short. */
struct rv_pool *rv_pool_start(const struct rv_task *task, int threads, int nice, struct rv_notify *bell, const char **error);

/* The caller's until submitted; NULL when out of memory. */
struct rv_work *rv_work_new(const char *path, int item);
void rv_work_free(struct rv_work *w);

void rv_pool_submit(struct rv_pool *p, struct rv_work *w);

/* All that is done, in its order; the caller frees each. The bell rings for the next. */
struct rv_work *rv_pool_take(struct rv_pool *p);

/* The bell rings once more: not all that was taken is told. */
void rv_pool_ring(struct rv_pool *p);

/* What waits, and what is submitted from here on, comes back as "pending"; what is begun ends. */
void rv_pool_drain(struct rv_pool *p);

/* Waits for what is begun, joins the threads, frees everything. NULL is fine. */
void rv_pool_stop(struct rv_pool *p);

#endif
