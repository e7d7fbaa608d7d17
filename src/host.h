/*
 * What is known of the one host that an engine talks to: whether it answers, whether it asked us to hold back,
 * when the next request may go. No clock, no threads: `now` is rv_now() of the caller, so that a table can test it.
 */
#ifndef RV_HOST_H
#define RV_HOST_H

#include "io.h"
#include "limit.h"

struct rv_host {
    enum rv_io_state state;
    int max_concurrent;
    bool adaptive;
    struct rv_limit limit; /* used when adaptive */
    double down_timeout, rate, retry_delay;
    bool connected;        /* a connection was made once; set by the transfers */
    int silent;            /* attempts in a row without any HTTP answer */
    double silent_since;   /* when the first of them ended */
    int throttles;         /* throttled answers in a row */
    double throttled_since; /* when the first of them came, plus the time to wait that they announced since */
    double held_since;     /* when the last hold began */
    double held_until;     /* no request before */
    double next_slot;      /* under a rate: when the next request may go */
    int probes;            /* since PAUSED */
    double probe_at;
    char reason[256];
};

/* So many attempts in a row without any HTTP answer mean that the backend is gone. */
enum { RV_HOST_GONE_AFTER = 10 };

void rv_host_init(struct rv_host *h, const struct rv_settings *settings);

/* How many requests may be in flight now, 0 while none may start. */
int rv_host_limit(const struct rv_host *h, double now);

/* When it is worth asking again if the limit is 0: a time, or now when it is not 0. */
double rv_host_wakes(const struct rv_host *h, double now);

/* How many requests may be in flight when nothing holds them back. */
int rv_host_level(const struct rv_host *h, double now);

/* A request is being sent; what it returns is its level. */
int rv_host_sending(struct rv_host *h, double now);

/*
 * An attempt of r has ended. wait: seconds that the server asked for, negative for none. The delay of a throttled one
 * becomes 0 where it does not hold the host but only lowers how many are in flight.
 */
void rv_host_ended(struct rv_host *h, const struct rv_request *r, struct rv_decision *d, double wait, double now);

/* What that means to the host, and what else may be told: */

/*
 * An HTTP answer came, throttled or not, to a request sent at `sent`. hold: seconds to hold back; announced: whether
 * the server asked for it. Of the requests that were in flight together when a hold began, the first refusal counts:
 * the others' neither lengthen it, unless they announce a longer one, nor does an acceptance among them end it.
 */
void rv_host_answered(struct rv_host *h, double now, double sent, bool throttled, double hold, bool announced,
                      const char *why);

/* An attempt ended without an answer. */
void rv_host_silent(struct rv_host *h, double now, const char *why);

/* Whether a probe is due (PAUSED only); the caller sends it and reports its end as for any request. */
bool rv_host_probe_due(const struct rv_host *h, double now);
void rv_host_probing(struct rv_host *h);
void rv_host_probed(struct rv_host *h, double now);

/* Time passes: turns a wait that has lasted too long into DOWN. */
void rv_host_tick(struct rv_host *h, double now);

/* Something in this process makes going on impossible. */
void rv_host_give_up(struct rv_host *h, const char *why);

#endif
