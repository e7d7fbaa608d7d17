/* See walk.h. Entries travel in chunks, so that the lock is taken once for many. */
#define _GNU_SOURCE
#include "walk.h"
#include "clock.h"
#include "list.h"
#include "thread.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_ENTRIES = 512, CHUNK_BYTES = 64 * 1024, CHUNKS = RV_WALK_QUEUE / CHUNK_ENTRIES };

struct entry {
    size_t offset, len;
    uint64_t filtered; /* up to here */
    enum rv_walk_result result;
    int error;
};

struct chunk {
    struct chunk *next;
    size_t count, used, room;
    struct entry entries[CHUNK_ENTRIES];
    char *bytes;
};

/* What is walked: one of the two. */
struct source {
    struct rv_tree *tree;
    struct rv_list *list;
};

struct rv_walk {
    struct rv_sieve *sieve;
    struct source source, counted; /* nothing to count: the list can be read but once */
    uint64_t images, filtered; /* told by the walk so far; the thread's own */
    const struct rv_notify *notify;
    uint64_t limit;
    int nice;

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
    uint64_t filtered_told;
};

static enum rv_tree_result next_of(const struct source *s, struct rv_tree_entry *e)
{
    return s->list ? rv_list_next(s->list, e) : rv_tree_next(s->tree, e);
}

static bool is_there(const struct source *s)
{
    return s->list || s->tree;
}

static void close_source(struct source *s)
{
    rv_list_close(s->list);
    rv_tree_close(s->tree);
}

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
    if (last || !is_there(&w->counted))
        know_total(w, w->images, last);
    if (w->hungry)
        rv_notify_ring(w->notify);
    w->hungry = false;
    pthread_mutex_unlock(&w->lock);
}

static bool add(struct chunk *c, enum rv_walk_result result, const struct rv_tree_entry *e)
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
    c->entries[c->count++] = (struct entry){c->used, e->len, e->filtered, result, e->error};
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
    static const enum rv_walk_result results[] = {
        [RV_TREE_IMAGE] = RV_WALK_IMAGE, [RV_TREE_FOLDER] = RV_WALK_FOLDER, [RV_TREE_REFUSED] = RV_WALK_REFUSED,
    };
    struct chunk *c = calloc(1, sizeof *c);
    struct rv_tree_entry e = {.filtered = w->filtered};
    enum rv_tree_result r = RV_TREE_END;
    double asked = w->images ? rv_now() : 0;
    while (c && (r = next_of(&w->source, &e)) != RV_TREE_END) {
        /* A folder without images takes its time too, so it is no reason to go on without looking up. */
        if (r != RV_TREE_READ && !add(c, results[r], &e)) {
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
    w->filtered = e.filtered;
    bool last = !c || r == RV_TREE_END;
    push(w, c, last);
    return !last;
}

/* Counts one more folder, or path of a list; false when there is no more to count. */
static bool count_on(struct rv_walk *w)
{
    struct rv_tree_entry e;
    enum rv_tree_result r = next_of(&w->counted, &e);
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
    bool counting = is_there(&w->counted);
    rv_thread_nice(w->nice);
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

static void free_walk(struct rv_walk *w)
{
    close_source(&w->source);
    close_source(&w->counted);
    rv_sieve_free(w->sieve);
    free_chunk(w->current);
    while (w->head) {
        struct chunk *next = w->head->next;
        free_chunk(w->head);
        w->head = next;
    }
    free(w);
}

static int open_list(const char *path)
{
    return strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
}

/* list: its path, or NULL. */
static bool open_source(struct source *s, const char *root, const char *list, const struct rv_sieve *sieve, bool counting,
                        bool *list_failed)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    if (!list)
        return (s->tree = rv_tree_open(fd, sieve, counting));
    int list_fd = open_list(list);
    if (list_fd >= 0)
        s->list = rv_list_open(list_fd, fd, root, sieve);
    *list_failed = !s->list;
    if (list_fd < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return s->list;
}

/* A pipe's content comes but once. */
static bool can_count(const char *list)
{
    struct stat st;
    return !list || (strcmp(list, "-") && !stat(list, &st) && S_ISREG(st.st_mode));
}

struct rv_walk *rv_walk_open(const char *root, const char *files_from, const struct rv_sieve *sieve, uint64_t limit,
                             int nice, const struct rv_notify *notify, bool *list_failed)
{
    *list_failed = false;
    struct rv_walk *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->tail = &w->head;
    w->notify = notify;
    w->limit = limit;
    w->nice = nice;
    w->hungry = true;
    w->sieve = rv_sieve_copy(sieve);
    if (!w->sieve || !open_source(&w->source, root, files_from, w->sieve, false, list_failed))
        goto failed;
    if (can_count(files_from) && !open_source(&w->counted, root, files_from, w->sieve, true, list_failed))
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
        if (!c && finished)
            w->filtered_told = w->filtered;
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
    w->filtered_told = e->filtered;
    return e->result;
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

uint64_t rv_walk_filtered(const struct rv_walk *w)
{
    return w->filtered_told;
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
