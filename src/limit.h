/*
 * How many requests a backend bears, at once and per second, found out by watching what becomes of them
 * (--max-concurrent auto). No clock, no threads, no memory of its own: `now` is rv_now() of the caller.
 *
 * Two governors, one at a time, for a refusal may mean too many at once or too many per second:
 *
 * Concurrency: a goodput prober. It starts as BBR does (Cardwell et al., BBR: Congestion-Based Congestion Control, ACM Queue
 * 2016): the limit trebles per round of answers (BBR: 2.89) while each brings 25 % more goodput, then doubles until three
 * rounds bring no more. Then it is kept, and now and then tried a quarter higher (more while that pays) or a fifth lower, where answers are slow or fail; what the
 * goodput of the next window does not justify is undone. Unlike limiters by latency (Netflix's, Envoy's, Vector's) it
 * does not take a server that batches for one that is overloaded, and unlike those that cut on errors it is not ruined
 * by errors that have nothing to do with load: an error is an answer without goodput, nothing else. A refusal is the
 * exception: the limit goes below at once, and a look above has to be earned by 120 accepted requests per refusal.
 *
 * Rate: when the next request after such a cut, with clearly fewer in flight, is refused too, it is no matter of how
 * many at once. From then on requests are spaced, as in the adaptive mode of the AWS SDKs: a refusal takes the rate 8 %
 * below what was borne, from where it grows along CUBIC's curve (RFC 9438), level around the old ceiling and ever faster
 * beyond, until something else limits it. Nothing is sent for a while after a refusal: most limits count by the second of
 * some clock, and until that is over each request is refused.
 */
#ifndef RV_LIMIT_H
#define RV_LIMIT_H

#include <stdbool.h>

enum rv_outcome {
    RV_ACCEPTED, /* answered: the backend did what it could */
    RV_REFUSED,  /* throttled */
    RV_FAILED,   /* an error of the backend's, or no answer */
};

enum { RV_LIMIT_SLICES = 16 }; /* of an eighth of a second each */

struct rv_limit {
    int max;
    int in_flight;
    int limit, target;    /* requests at once: now, and where the limit is going, one for each accepted request */
    double next_at;       /* no request before */
    double latency;       /* of accepted requests, lately, rather the least; 0 before the first */
    /* What refusals told: */
    int suspect;          /* the level at the last cut, 0 when something was accepted that was sent since */
    bool probing;         /* nothing was sent yet since then */
    double debt;          /* requests to be accepted before the limit may be tried higher */
    double no_higher_until;
    double cut_at;        /* the last cut; what was sent before tells nothing of the limit after */
    /* The prober: */
    enum { RV_LIMIT_START, RV_LIMIT_HOLD, RV_LIMIT_TRY } phase;
    int settling;         /* answers to come that still belong to the limit before */
    double window_at;     /* when the window began, and what came in it: */
    int answers, accepted;
    double latency_sum;
    bool reached;         /* the limit was: else the window says nothing of it */
    double goodput;       /* START: of the best round; else of the limit that is kept; 0 unknown */
    double least_latency; /* of any window, 0 before the first */
    int kept;             /* START: the limit of the best round; TRY: the one to go back to */
    int fruitless;        /* START: rounds without a gain; else windows to keep the limit before the next try */
    int windows;          /* since the last try */
    bool downwards;       /* the way of the next try */
    double step;          /* how much higher, as a part */
    /* The rate: */
    double ceiling;       /* requests per second at the last cut; 0: no rate is known, only concurrency counts */
    double least;         /* … which is not lowered further than this until something is accepted */
    double rest;          /* seconds without a request after a refusal */
    double grows_since;   /* INFINITY until something was accepted after the cut */
    double limits_at;     /* when it was last seen that the rate is what limits */
    double flat;          /* seconds from the cut back to the ceiling */
    int slices[RV_LIMIT_SLICES]; /* requests accepted, by the time they were sent */
    long slice;           /* the newest of them */
};

void rv_limit_init(struct rv_limit *l, int max);

/* How many requests may be in flight, 1..max. */
int rv_limit_level(const struct rv_limit *l, double now);

/* A request is being sent (at l->next_at or later); how many are in flight with it: its level. */
int rv_limit_sent(struct rv_limit *l, double now);

/*
 * A request that was sent at `sent` has ended. wait: seconds that a refusal asked for, negative when it did not.
 * Returns whether all requests are to be held back for a while: for that wait, or one of the caller's own.
 */
bool rv_limit_ended(struct rv_limit *l, double sent, int level, enum rv_outcome outcome, double wait, double now);

#endif
