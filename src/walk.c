/* See walk.h. Entries travel in chunks, so that the lock is taken once for many. */
#define _GNU_SOURCE
#include "walk.h"
#include "clock.h"
#include "thread.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_ENTRIES = 512, CHUNK_BYTES = 64 * 1024, CHUNKS = RV_WALK_QUEUE / CHUNK_ENTRIES };

struct entry {
    size_t offset, len;
    int error; /* 0 for an image */
};

struct chunk {
    struct chunk *next;
    size_t count, used, room;
    struct entry entries[CHUNK_ENTRIES];
    char *bytes;
};

struct rv_walk {
    char **extensions;
    struct rv_tree *tree, *count_tree;
    uint64_t images; /* told by the walk so far; the thread's own */
    const struct rv_notify *notify;
    uint64_t limit;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted; /* the thread waits here for room in the queue */
    /* Under the lock: */
    struct chunk *head, **tail;
    size_t queued;
    bool hungry;   /* the consumer found the queue empty */
    bool finished; /* nothing will be queued any more */
    bool out_of_memory; /* … because there was no memory: set before finished */
    bool closing;
    uint64_t total;
    bool total_known;

    /* The consumer's: */
    struct chunk *current;
    size_t at;
};

static void free_chunk(struct chunk *c)
{
    if (c)
        free(c->bytes);
    free(c);
}

static void know_total(struct rv_walk *w, uint64_t total, bool known)
{
    bool enough = w->limit && total >= w->limit;
    w->total = enough ? w->limit : total;
    w->total_known = known || enough;
}

/* Hands the chunk over (NULL: out of memory); it belongs to the queue from here on. */
static void push(struct rv_walk *w, struct chunk *c, bool last)
{
    pthread_mutex_lock(&w->lock);
    if (c) {
        *w->tail = c;
        w->tail = &c->next;
        w->queued++;
    }
    w->finished = last;
    if (last)
        know_total(w, w->images, true);
    if (w->hungry)
        rv_notify_ring(w->notify);
    w->hungry = false;
    pthread_mutex_unlock(&w->lock);
}

static bool add(struct chunk *c, const struct rv_tree_entry *e)
{
    if (c->used + e->len > c->room) {
        size_t room = c->room ? c->room : CHUNK_BYTES;
        while (room < c->used + e->len)
            room *= 2;
        char *bytes = realloc(c->bytes, room);
        if (!bytes)
            return false;
        c->bytes = bytes;
        c->room = room;
    }
    if (e->len)
        memcpy(c->bytes + c->used, e->path, e->len);
    c->entries[c->count++] = (struct entry){c->used, e->len, e->error};
    c->used += e->len;
    return true;
}

/* Whether to stop here: for good, or because somebody waits for what there is. Asked every few milliseconds, for it
 * costs the lock. */
static bool awaited(struct rv_walk *w, const struct chunk *c)
{
    pthread_mutex_lock(&w->lock);
    bool yes = w->closing || (w->hungry && c->count);
    pthread_mutex_unlock(&w->lock);
    return yes;
}

/* One chunk's worth of the walk; false when there is no more. */
static bool walk_on(struct rv_walk *w)
{
    struct chunk *c = calloc(1, sizeof *c);
    struct rv_tree_entry e;
    enum rv_tree_result r = RV_TREE_END;
    double asked = w->images ? rv_now() : 0;
    while (c && (r = rv_tree_next(w->tree, &e)) != RV_TREE_END) {
        /* A folder without images takes its time too, so it is no reason to go on without looking up. */
        if (r != RV_TREE_READ && !add(c, &e)) {
            free_chunk(c);
            c = NULL;
            break;
        }
        w->images += r == RV_TREE_IMAGE;
        if (c->count == CHUNK_ENTRIES || c->used >= CHUNK_BYTES)
            break;
        if (rv_now() - asked > 0.002) {
            if (awaited(w, c))
                break;
            asked = rv_now();
        }
    }
    w->out_of_memory = !c;
    bool last = !c || r == RV_TREE_END;
    push(w, c, last);
    return !last;
}

/* Counts one more folder; false when there is no more to count. */
static bool count_on(struct rv_walk *w)
{
    struct rv_tree_entry e;
    enum rv_tree_result r = rv_tree_next(w->count_tree, &e);
    pthread_mutex_lock(&w->lock);
    know_total(w, w->total + (r == RV_TREE_END ? 0 : e.images), r == RV_TREE_END);
    bool known = w->total_known;
    pthread_mutex_unlock(&w->lock);
    if (known)
        rv_notify_ring(w->notify);
    return !known;
}

static void *walk_thread(void *arg)
{
    struct rv_walk *w = arg;
    bool counting = true;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        while (!w->closing && !counting && w->queued >= CHUNKS)
            pthread_cond_wait(&w->wanted, &w->lock);
        bool closing = w->closing;
        bool room = w->queued < CHUNKS;
        pthread_mutex_unlock(&w->lock);
        if (closing)
            return NULL;
        if (!room)
            counting = count_on(w);
        else if (!walk_on(w))
            return NULL;
    }
}

static char **copy_extensions(const char *const *extensions)
{
    size_t n = 0;
    while (extensions[n])
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        if (!(copy[i] = strdup(extensions[i]))) {
            while (i--)
                free(copy[i]);
            free(copy);
            return NULL;
        }
    return copy;
}

static void free_walk(struct rv_walk *w)
{
    rv_tree_close(w->tree);
    rv_tree_close(w->count_tree);
    for (char **e = w->extensions; e && *e; e++)
        free(*e);
    free(w->extensions);
    free_chunk(w->current);
    while (w->head) {
        struct chunk *next = w->head->next;
        free_chunk(w->head);
        w->head = next;
    }
    free(w);
}

static struct rv_tree *open_tree(const char *root, const char *const *extensions, bool counting)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? NULL : rv_tree_open(fd, extensions, counting);
}

struct rv_walk *rv_walk_open(const char *root, const char *const *extensions, uint64_t limit,
                             const struct rv_notify *notify)
{
    struct rv_walk *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->tail = &w->head;
    w->notify = notify;
    w->limit = limit;
    w->hungry = true;
    w->extensions = copy_extensions(extensions);
    const char *const *kept = (const char *const *)w->extensions;
    if (!kept || !(w->tree = open_tree(root, kept, false)) || !(w->count_tree = open_tree(root, kept, true)))
        goto failed;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wanted, NULL);
    int error = rv_thread_start(&w->thread, walk_thread, w);
    if (!error)
        return w;
    errno = error;
    pthread_cond_destroy(&w->wanted);
    pthread_mutex_destroy(&w->lock);
failed:;
    int saved = errno;
    free_walk(w);
    errno = saved;
    return NULL;
}

enum rv_walk_result rv_walk_next(struct rv_walk *w, const char **path, size_t *len, int *error)
{
    while (!w->current || w->at == w->current->count) {
        pthread_mutex_lock(&w->lock);
        struct chunk *c = w->head;
        bool finished = w->finished;
        if (c) {
            w->head = c->next;
            if (!w->head)
                w->tail = &w->head;
            w->queued--;
            pthread_cond_signal(&w->wanted);
        } else {
            w->hungry = true;
        }
        pthread_mutex_unlock(&w->lock);
        if (!c && finished && w->out_of_memory) {
            *path = "";
            *len = 0;
            *error = ENOMEM;
            return RV_WALK_FOLDER;
        }
        if (!c)
            return finished ? RV_WALK_END : RV_WALK_WAIT;
        free_chunk(w->current);
        w->current = c;
        w->at = 0;
    }
    const struct entry *e = &w->current->entries[w->at];
    *path = w->current->bytes + e->offset;
    *len = e->len;
    *error = e->error;
    return e->error ? RV_WALK_FOLDER : RV_WALK_IMAGE;
}

void rv_walk_pass(struct rv_walk *w)
{
    if (w->current && w->at < w->current->count)
        w->at++;
    else
        w->out_of_memory = false;
}

uint64_t rv_walk_total(struct rv_walk *w, bool *known)
{
    pthread_mutex_lock(&w->lock);
    uint64_t total = w->total;
    *known = w->total_known;
    pthread_mutex_unlock(&w->lock);
    return total;
}

void rv_walk_close(struct rv_walk *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->wanted);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wanted);
    pthread_mutex_destroy(&w->lock);
    free_walk(w);
}
