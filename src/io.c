/* See io.h. The thread's loop is at the end; what it decides is in retry.c and host.c. */
#define _GNU_SOURCE
#include "io.h"
#include "clock.h"
#include "host.h"
#include "queue.h"
#include "thread.h"
#include "transfer.h"

#include <curl/curl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_EVENTS = 4096,   /* retry notices beyond are not told, only counted */
    RING_AT = 64,        /* so many events wake the owner at once … */
    MAX_AHEAD = 1024,
    MAX_WAITING = 4096,  /* requests that wait for another try before no more are wanted */
    FREE_RETRIES = 50,   /* retries before the budget of a fifth of the sends counts */
};
static char probe_method[] = "GET";
static const double RING_AFTER_S = 0.005; /* … and fewer after so long, while there is other work to send */
static const double AHEAD_S = 0.02;       /* requests for so long are kept ready beside one round of slots */

struct rv_io {
    struct rv_settings settings;
    struct rv_notify *notify;
    pthread_t thread;
    CURLM *multi;

    pthread_mutex_t lock;
    /* Under the lock: */
    struct rv_list in, out;
    bool rung, draining, stopping;
    double first_event; /* when the oldest event in out came */
    struct rv_io_stats published;
    double answer_rate; /* per second, lately */
    atomic_bool sleeping; /* the thread waits in the multi: a submission has to wake it */

    /* The thread's own: */
    struct rv_host host;
    struct rv_list urgent, ready;
    struct rv_heap waiting;
    struct rv_transfer **busy, **idle; /* in the multi, and not */
    int active, idle_count;
    struct rv_list events; /* to be handed over with the next exchange */
    bool drained, probing;
    int untold;       /* events that the owner has not taken yet */
    bool events_wait; /* … and was not woken for yet */
    struct rv_route probe_route;
    uint64_t sends, retries, retry_sends, throttled, answers;
    uint64_t rate_answers;
    double rate_mark;
};

/* ---- what becomes of requests ---- */

static void done(struct rv_io *io, struct rv_request *r)
{
    r->type = RV_EVENT_DONE;
    if (r->kind != RV_PENDING)
        io->answers++;
    rv_list_push(&io->events, r);
}

static void hand_back(struct rv_io *io, struct rv_request *r)
{
    r->kind = RV_PENDING;
    done(io, r);
}

static void make_ready(struct rv_io *io, struct rv_request *r)
{
    if (io->drained)
        hand_back(io, r);
    else
        rv_list_push(r->urgent ? &io->urgent : &io->ready, r);
}

/* Everything that is not in flight comes back; nothing new starts. */
static void hand_back_all(struct rv_io *io)
{
    io->drained = true;
    for (struct rv_request *r; (r = rv_list_pop(&io->urgent)) || (r = rv_list_pop(&io->ready));)
        hand_back(io, r);
    while (io->waiting.count)
        hand_back(io, rv_heap_pop(&io->waiting));
}

static void tell_retry(struct rv_io *io, const struct rv_request *r, double delay)
{
    if (io->events.count + io->untold >= MAX_EVENTS)
        return;
    struct rv_request *notice = rv_request_new(r->route, "", NULL, NULL, r->item);
    if (!notice)
        return;
    notice->type = RV_EVENT_RETRY;
    notice->kind = r->kind;
    notice->status = r->status;
    notice->counted = r->counted;
    notice->tries = r->tries;
    notice->sends = r->sends;
    notice->delay = delay;
    if (r->message)
        notice->message = strdup(r->message);
    if (r->body && (notice->body = malloc(r->body_len))) {
        memcpy(notice->body, r->body, r->body_len);
        notice->body_len = r->body_len;
    }
    rv_list_push(&io->events, notice);
}

static void wait_for(struct rv_io *io, struct rv_request *r, double due)
{
    r->due = due;
    /* Without memory for the wait it is tried again at once, behind the others. */
    if (!rv_heap_push(&io->waiting, r))
        make_ready(io, r);
}

/* Whether the attempt that ended may have been done by the server all the same. */
static bool may_have_landed(const struct rv_request *r)
{
    bool unclear = r->kind == RV_TIMEOUT || r->kind == RV_CUT_SHORT || (r->kind == RV_BAD_ANSWER && !r->status);
    return unclear && r->ask_route && !r->asking;
}

/* The asking was answered: the request is done, or it is sent again. */
static void asked(struct rv_io *io, struct rv_request *r, double now)
{
    r->asking = false;
    r->landed = r->status >= 200 && r->status < 300;
    if (r->landed)
        done(io, r);
    else if (io->drained)
        hand_back(io, r);
    else
        wait_for(io, r, now); /* it is a retry, for which there is a budget */
}

/* An attempt of r has ended and was judged: tell the host, then end it or put it off. */
static void attempt_ended(struct rv_io *io, struct rv_request *r, double retry_after, double now)
{
    int *counted = r->asking ? &r->ask_counted : &r->counted;
    struct rv_policy policy = io->settings.policy;
    if (r->route->max_retries >= 0)
        policy.max_retries = r->route->max_retries;
    struct rv_decision d = rv_decide(&policy, r->kind, r->status, *counted, r->backoffs, io->host.throttles,
                                     retry_after, rv_random());
    rv_host_ended(&io->host, r, &d, retry_after, now);
    if (r->route == &io->probe_route) {
        io->probing = false;
        rv_host_probed(&io->host, now);
        rv_request_free(r);
        return;
    }
    r->tries++;
    *counted += d.counts;
    io->throttled += d.holds;
    if (r->asking && r->kind == RV_OK) {
        asked(io, r, now);
    } else if (!d.retry) {
        done(io, r);
    } else if (io->drained || io->host.state == RV_IO_DOWN) {
        hand_back(io, r);
    } else {
        io->retries++;
        tell_retry(io, r, d.delay);
        if (may_have_landed(r))
            r->asking = r->urgent = true;
        if (d.holds) {
            rv_list_push_front(&io->urgent, r); /* the whole host waits, and this one was first */
        } else {
            r->backoffs++;
            wait_for(io, r, now + d.delay);
        }
    }
}

/* ---- transfers ---- */

static void start(struct rv_io *io, struct rv_request *r, double now)
{
    const char *error = "out of memory";
    struct rv_transfer *t = io->idle_count ? io->idle[--io->idle_count]
                                           : rv_transfer_new(&io->settings, &io->host.connected, &error);
    enum rv_begun begun = t ? rv_transfer_begin(t, r) : RV_NOT_BEGUN;
    if (begun == RV_FILE_UNREADABLE) {
        io->idle[io->idle_count++] = t;
        done(io, r);
        return;
    }
    if (begun == RV_BEGUN && !curl_multi_add_handle(io->multi, rv_transfer_easy(t))) {
        r->sent_at = now;
        io->busy[io->active++] = t;
        r->level = rv_host_sending(&io->host, now);
        return;
    }
    rv_transfer_free(t);
    rv_host_give_up(&io->host, error);
    if (r->route == &io->probe_route)
        rv_request_free(r);
    else
        hand_back(io, r);
}

/* Takes the transfer out of the multi; its request is judged and the handle free for another. */
static struct rv_request *finish(struct rv_io *io, struct rv_transfer *t, CURLcode code, double *retry_after)
{
    int at = 0;
    while (io->busy[at] != t)
        at++;
    io->busy[at] = io->busy[--io->active];
    io->idle[io->idle_count++] = t;
    io->sends += (uint64_t)rv_transfer_sends(t);
    rv_transfer_end(t, code, retry_after);
    curl_multi_remove_handle(io->multi, rv_transfer_easy(t));
    return rv_transfer_request(t);
}

static void finish_all_done(struct rv_io *io, double now)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(io->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct rv_transfer *t = NULL;
        double retry_after;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        struct rv_request *r = finish(io, t, m->data.result, &retry_after);
        attempt_ended(io, r, retry_after, now);
    }
}

/* Nobody waits for these any more: they come back as pending, whatever became of them. */
static void abort_all_active(struct rv_io *io)
{
    double retry_after;
    while (io->active) {
        struct rv_request *r = finish(io, io->busy[0], CURLE_ABORTED_BY_CALLBACK, &retry_after);
        if (r->route == &io->probe_route)
            rv_request_free(r);
        else
            hand_back(io, r);
    }
    io->probing = false;
}

/* A retry displaces new work instead of adding load: while there is new work, a fifth of the sends. */
static bool retry_may_go(const struct rv_io *io, double now)
{
    if (!io->waiting.count || io->waiting.items[0]->due > now)
        return false;
    return (!io->ready.count && !io->urgent.count) || io->retry_sends < FREE_RETRIES + io->sends / 5;
}

static void refill(struct rv_io *io, double now)
{
    if (rv_host_probe_due(&io->host, now) && !io->probing) {
        struct rv_request *probe = rv_request_new(&io->probe_route, io->settings.probe_url, NULL, NULL, 0);
        rv_host_probing(&io->host);
        if (probe) {
            io->probing = true;
            start(io, probe, now);
        } else {
            rv_host_give_up(&io->host, "out of memory");
        }
    }
    while (io->active < rv_host_limit(&io->host, now)) {
        bool again = retry_may_go(io, now);
        struct rv_request *r = again ? rv_heap_pop(&io->waiting) : rv_list_pop(io->urgent.count ? &io->urgent : &io->ready);
        if (!r)
            return;
        io->retry_sends += again;
        start(io, r, now);
    }
}

/* ---- the thread ---- */

static void measure_rate(struct rv_io *io, double now)
{
    double elapsed = now - io->rate_mark;
    if (elapsed < 0.1)
        return;
    io->answer_rate = (double)(io->answers - io->rate_answers) / elapsed;
    io->rate_answers = io->answers;
    io->rate_mark = now;
}

/* Swaps new requests for events with the owner; false when the engine is to stop. */
static bool exchange(struct rv_io *io, double now)
{
    pthread_mutex_lock(&io->lock);
    struct rv_list in = io->in;
    if (in.count)
        rv_list_init(&io->in);
    bool draining = io->draining, stopping = io->stopping;
    if (io->events.count && !io->out.count)
        io->first_event = now;
    rv_list_append(&io->out, &io->events);
    bool news = io->published.state != io->host.state;
    io->published = (struct rv_io_stats){
        .state = io->host.state,
        .resume_in = fmax(0, rv_host_wakes(&io->host, now) - now),
        .active = io->active,
        .ready = io->ready.count + io->urgent.count + in.count,
        .waiting = io->waiting.count,
        .limit = rv_host_level(&io->host, now),
        .sends = io->sends,
        .retries = io->retries,
        .throttled = io->throttled,
    };
    memcpy(io->published.reason, io->host.reason, sizeof io->host.reason);
    measure_rate(io, now);
    bool starving = io->published.ready < (io->published.limit + 1) / 2;
    bool ring = news || (io->out.count && !io->rung && (starving || io->out.count >= RING_AT || now - io->first_event >= RING_AFTER_S));
    if (ring)
        io->rung = true;
    io->untold = io->out.count;
    io->events_wait = io->untold && !io->rung;
    io->sleeping = true;
    pthread_mutex_unlock(&io->lock);

    /* Not under the lock: the owner, once woken, may take the processor from us, and then waits for the lock. */
    if (ring)
        rv_notify_ring(io->notify);
    while (in.count)
        make_ready(io, rv_list_pop(&in));
    if ((draining || io->host.state == RV_IO_DOWN) && !io->drained)
        hand_back_all(io);
    return !stopping;
}

/* Seconds that may pass before something is due. Answers and submissions wake the multi themselves. */
static double idle_time(const struct rv_io *io, double now)
{
    double until = now + 60;
    int limit = rv_host_limit(&io->host, now);
    double due = io->ready.count || io->urgent.count ? now : io->waiting.count ? io->waiting.items[0]->due : until;
    if (io->host.state == RV_IO_PAUSED)
        until = fmin(until, rv_host_wakes(&io->host, now));
    else if (!limit)
        until = fmin(until, fmax(due, rv_host_wakes(&io->host, now)));
    else if (io->active < limit)
        until = fmin(until, due);
    if (io->events.count || io->events_wait)
        until = fmin(until, now + RING_AFTER_S);
    return fmax(0, until - now);
}

static void *io_thread(void *arg)
{
    struct rv_io *io = arg;
    rv_thread_nice(io->settings.nice);
    io->rate_mark = rv_now();
    for (;;) {
        double now = rv_now();
        rv_host_tick(&io->host, now);
        refill(io, now);
        int running;
        curl_multi_perform(io->multi, &running);
        now = rv_now();
        finish_all_done(io, now);
        rv_host_tick(&io->host, now);
        if (io->host.state == RV_IO_DOWN)
            abort_all_active(io);
        if (!exchange(io, now))
            break;
        refill(io, now);
        curl_multi_poll(io->multi, NULL, 0, (int)ceil(idle_time(io, now) * 1000), NULL);
    }
    abort_all_active(io);
    while (io->idle_count)
        rv_transfer_free(io->idle[--io->idle_count]);
    return NULL;
}

/* ---- the owner's side ---- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;
static const curl_version_info_data *curl_info; /* as curl_version, it is written anew with each call */

static void init_curl(void)
{
    /* libcurl has a new receive buffer for each transfer. With its first threshold glibc gives memory of that size back to
     * the kernel as soon as it is free, to get it again page by page: three times the CPU of all else. Freeing a
     * large block raises the threshold, to twice its size. */
    void *volatile block = malloc(2 << 20);
    free(block);
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    curl_info = curl_version_info(CURLVERSION_NOW);
}

static void free_io(struct rv_io *io)
{
    rv_list_free(&io->in);
    rv_list_free(&io->out);
    rv_list_free(&io->events);
    rv_list_free(&io->urgent);
    rv_list_free(&io->ready);
    rv_heap_free(&io->waiting);
    free(io->busy);
    free(io->idle);
    rv_settings_free(&io->settings);
    free(io);
}

struct rv_io *rv_io_start(struct rv_settings *settings, struct rv_notify *notify, const char **error)
{
    pthread_once(&curl_once, init_curl);
    struct rv_io *io = curl_ready ? NULL : calloc(1, sizeof *io);
    *error = curl_ready ? curl_easy_strerror(curl_ready) : "out of memory";
    if (curl_info->version_num < 0x075500 || !(curl_info->features & CURL_VERSION_THREADSAFE)) {
        *error = "libcurl 7.85 or later with a thread-safe start is needed";
        free(io);
        io = NULL;
    }
    if (!io) {
        rv_settings_free(settings);
        return NULL;
    }
    io->settings = *settings;
    *settings = (struct rv_settings){0};
    io->notify = notify;
    rv_list_init(&io->in);
    rv_list_init(&io->out);
    rv_list_init(&io->events);
    rv_list_init(&io->urgent);
    rv_list_init(&io->ready);
    io->probe_route = (struct rv_route){.method = probe_method, .max_bytes = 1 << 20, .max_retries = -1};
    rv_host_init(&io->host, &io->settings);
    io->published.limit = rv_host_level(&io->host, 0);
    size_t slots = (size_t)io->settings.max_concurrent + 1; /* one for the probe */
    io->busy = calloc(slots, sizeof(struct rv_transfer *));
    io->idle = calloc(slots, sizeof(struct rv_transfer *));
    io->multi = curl_multi_init();
    if (!io->busy || !io->idle || !io->multi)
        goto failed;
    curl_multi_setopt(io->multi, CURLMOPT_MAXCONNECTS, (long)slots);
    pthread_mutex_init(&io->lock, NULL);
    if (!rv_thread_start(&io->thread, io_thread, io))
        return io;
    *error = "no thread can be started";
    pthread_mutex_destroy(&io->lock);
failed:
    curl_multi_cleanup(io->multi);
    free_io(io);
    return NULL;
}

void rv_io_submit(struct rv_io *io, struct rv_request *r)
{
    pthread_mutex_lock(&io->lock);
    rv_list_push(&io->in, r);
    pthread_mutex_unlock(&io->lock);
    if (atomic_exchange(&io->sleeping, false))
        curl_multi_wakeup(io->multi);
}

int rv_io_room(struct rv_io *io)
{
    pthread_mutex_lock(&io->lock);
    int limit = io->published.limit;
    int ahead = (int)fmin(MAX_AHEAD, fmax(limit, io->answer_rate * AHEAD_S));
    int room = limit + ahead - io->published.active - io->published.ready - io->in.count;
    if (io->published.waiting > MAX_WAITING)
        room = 0;
    pthread_mutex_unlock(&io->lock);
    return room > 0 ? room : 0;
}

struct rv_request *rv_io_take(struct rv_io *io)
{
    pthread_mutex_lock(&io->lock);
    struct rv_request *events = io->out.head;
    rv_list_init(&io->out);
    io->rung = false;
    pthread_mutex_unlock(&io->lock);
    return events;
}

/* Sets a flag that the thread looks at in its next exchange. */
static void tell(struct rv_io *io, bool *flag)
{
    pthread_mutex_lock(&io->lock);
    *flag = true;
    pthread_mutex_unlock(&io->lock);
    curl_multi_wakeup(io->multi);
}

void rv_io_drain(struct rv_io *io)
{
    tell(io, &io->draining);
}

void rv_io_stats(struct rv_io *io, struct rv_io_stats *stats)
{
    pthread_mutex_lock(&io->lock);
    *stats = io->published;
    stats->ready += io->in.count;
    pthread_mutex_unlock(&io->lock);
}

uint64_t rv_io_stop(struct rv_io *io)
{
    if (!io)
        return 0;
    tell(io, &io->stopping);
    pthread_join(io->thread, NULL);
    pthread_mutex_destroy(&io->lock);
    curl_multi_cleanup(io->multi);
    uint64_t sends = io->sends;
    free_io(io);
    return sends;
}
