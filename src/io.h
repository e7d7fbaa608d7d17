/*
 * The I/O thread: one curl multi that sends requests, retries them, holds back a host that throttles, pauses
 * when the backend is gone and probes until it is back. It never sees a lua_State.
 *
 * The owner (one thread) submits requests and takes events; both are plain structs that change hands under a
 * lock. At most max_concurrent requests are in the multi; the rest wait here.
 *
 * A request is in exactly one place: READY (a list), WAITING (a heap by due time), ACTIVE (a slot of the
 * multi), and at last it leaves as an event.
 */
#ifndef RV_IO_H
#define RV_IO_H

#include "notify.h"
#include "body.h"
#include "retry.h"
#include "skim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How requests of one kind are made and their answers judged. Owned by the engine, never changed. */
struct rv_route {
    char *method;
    char **headers; /* NULL-ended, "Name: value" */
    char **fields;  /* top-level fields kept of a good answer; field_count of them */
    int field_count;
    char *list, *list_field; /* and of each object in the array that field list is, its field list_field; NULL: none */
    char *vectors, *vector_index; /* paths of an answer's vectors and of their order (vector.h); NULL: none */
    bool whole; /* a good answer's body is kept, too */
    size_t max_bytes;
    int max_retries; /* instead of the policy's; negative: the policy's */
    char **throttle, **denied; /* what the rules borrow, NULL-ended */
    struct rv_rules rules;
};

struct rv_settings {
    int max_concurrent;     /* 1..1024 */
    bool adaptive;          /* that is the most; how many it really is follows the backend, see limit.h */
    struct rv_policy policy;
    double timeout, connect_timeout, down_timeout; /* seconds */
    double rate;            /* requests per second, 0 for no limit */
    char *probe_url;        /* asked with GET while the backend is gone; any HTTP answer will do. NULL: none */
    char **headers;         /* NULL-ended, sent with every request */
    char *user_agent;
    char *cacert, *cert, *key, *proxy, *unix_socket; /* NULL: libcurl's default */
    int nice;               /* 0..19, of the thread */
    bool insecure, http2;
};

enum rv_event_type { RV_EVENT_DONE, RV_EVENT_RETRY };

/* A request, and when it is done its event. */
struct rv_request {
    struct rv_request *next;
    const struct rv_route *route;
    /* How to ask, before it is sent again after a timeout or a cut answer, whether it was done all the same:
     * 2xx says yes, an accepted status no. NULL: it is just sent again. */
    const struct rv_route *ask_route;
    const char *ask_url;
    struct rv_body content; /* what it sends; empty: nothing */
    int item;        /* the owner's number for it */
    bool urgent;     /* goes before those that are not */
    enum rv_event_type type;
    /* Filled by the I/O thread: */
    bool asking;     /* it is being asked about, not sent */
    bool landed;     /* done, as the asking told */
    enum rv_kind kind;
    int status;      /* HTTP status of the last attempt, 0 when none came */
    int counted;     /* attempts that used up a retry, plus the last one */
    int ask_counted; /* the same of the asking */
    int tries;       /* attempts of every sort */
    int backoffs;    /* waits of its own so far */
    int sends;       /* times that it went on the wire, libcurl's own re-sends included */
    double sent_at;  /* rv_now() when the last attempt began */
    int level;       /* … and what rv_host_sending told of it */
    double seconds;  /* that it took */
    double due;      /* when WAITING: rv_now() to be tried again */
    double delay;    /* of a RETRY event: seconds until then */
    char *message;   /* why it failed, as libcurl says it; NULL when a status says it */
    char *location;  /* where a redirect leads, its beginning; NULL when the answer is none */
    char *body;      /* a failure's body, its beginning, or a good answer's that is kept; NULL when there was none */
    size_t body_len;
    char **values;   /* per field of the route: decoded text or raw JSON, NULL when not seen */
    size_t *value_lens;
    struct rv_skim_list list;
    struct rv_vectors vectors;
    char url[];
};

enum rv_io_state {
    RV_IO_STARTING, /* no HTTP answer yet */
    RV_IO_RUNNING,
    RV_IO_THROTTLED, /* the host asked us to hold back */
    RV_IO_PAUSED,   /* the backend is gone; probing */
    RV_IO_DOWN,     /* … and will not be waited for: everything was handed back as pending */
};

struct rv_io_stats {
    enum rv_io_state state;
    char reason[256];  /* why PAUSED, THROTTLED or DOWN; empty otherwise */
    double resume_in;  /* seconds until the next probe or the end of the hold */
    int active, ready, waiting, limit;
    uint64_t sends;    /* everything that went on the wire, probes and libcurl's re-sends included */
    uint64_t retries, throttled;
};

struct rv_io;

/*
 * Starts the thread; settings are taken over (also on failure). notify is borrowed: it rings when there are events
 * or the state has changed. NULL with *error set to a static text when something is short.
 */
struct rv_io *rv_io_start(struct rv_settings *settings, struct rv_notify *notify, const char **error);

/* NULL when out of memory. The request is the caller's until submitted. ask_route and ask_url: NULL for none. */
struct rv_request *rv_request_new(const struct rv_route *route, const char *url, const struct rv_route *ask_route,
                                  const char *ask_url, int item);
void rv_request_free(struct rv_request *r);
void rv_request_forget(struct rv_request *r); /* what its last attempt left */

/* Hands a request over. Never blocks for long. After drain or when DOWN it comes back as pending. */
void rv_io_submit(struct rv_io *io, struct rv_request *r);

/* How many more requests are worth submitting now, so that the queue neither starves nor holds more than it needs. */
int rv_io_room(struct rv_io *io);

/* Takes all events there are, as a list in their order; the caller frees each. notify rings for the next one; silence it before. */
struct rv_request *rv_io_take(struct rv_io *io);

/* What waits comes back as pending; what is in flight ends, without a further retry. */
void rv_io_drain(struct rv_io *io);

void rv_io_stats(struct rv_io *io, struct rv_io_stats *stats);

/* Ends what is in flight, joins the thread, frees everything; how often anything was sent. NULL is fine. */
uint64_t rv_io_stop(struct rv_io *io);

void rv_settings_free(struct rv_settings *s);
void rv_route_free(struct rv_route *r);

#endif
