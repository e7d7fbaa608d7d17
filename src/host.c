/* See host.h. */
#include "host.h"

#include <math.h>
#include <stdio.h>

enum { MAX_PROBE_WAIT_S = 5 };
static const double RATE_SLACK_S = 0.01;

void rv_host_init(struct rv_host *h, const struct rv_settings *settings)
{
    *h = (struct rv_host){
        .state = RV_IO_STARTING,
        .max_concurrent = settings->max_concurrent,
        .adaptive = settings->adaptive,
        .down_timeout = settings->down_timeout,
        .rate = settings->rate,
        .retry_delay = settings->policy.retry_delay,
    };
    rv_limit_init(&h->limit, settings->max_concurrent);
}

static void enter(struct rv_host *h, enum rv_io_state state, const char *why)
{
    h->state = state;
    snprintf(h->reason, sizeof h->reason, "%s", why ? why : "");
}

int rv_host_level(const struct rv_host *h, double now)
{
    return h->adaptive ? rv_limit_level(&h->limit, now) : h->max_concurrent;
}

/* No request before, of a host that is there. */
static double opens_at(const struct rv_host *h)
{
    double at = fmax(h->held_until, h->rate > 0 ? h->next_slot : 0);
    return h->adaptive ? fmax(at, h->limit.next_at) : at;
}

int rv_host_limit(const struct rv_host *h, double now)
{
    if (h->state >= RV_IO_PAUSED || now < opens_at(h))
        return 0;
    /* The first connection alone finds out whether there is anybody (and resolves the name once); the first
     * request after a hold whether it is over. */
    return h->connected && !h->throttles ? rv_host_level(h, now) : 1;
}

double rv_host_wakes(const struct rv_host *h, double now)
{
    if (h->state == RV_IO_PAUSED)
        return h->probes ? fmin(h->probe_at, h->silent_since + h->down_timeout) : h->probe_at;
    return fmax(now, opens_at(h));
}

int rv_host_sending(struct rv_host *h, double now)
{
    /* A timer that is late is made up for, so that the rate is used; more would be a burst that a backend which permits
     * hardly more refuses. */
    if (h->rate > 0)
        h->next_slot = fmax(h->next_slot, now - RATE_SLACK_S) + 1 / h->rate;
    return h->adaptive ? rv_limit_sent(&h->limit, now) : 0;
}

void rv_host_answered(struct rv_host *h, double now, double sent, bool throttled, double hold, bool announced,
                      const char *why)
{
    bool late = h->state == RV_IO_THROTTLED && sent < h->held_since;
    h->silent = 0;
    if (!throttled && late) {
        h->throttled_since = fmax(h->throttled_since, now); /* not everything is refused */
        return;
    }
    if (!throttled) {
        h->throttles = 0;
        if (h->state != RV_IO_DOWN)
            enter(h, RV_IO_RUNNING, NULL);
        return;
    }
    if (late && !announced)
        return;
    if (!h->throttles)
        h->throttled_since = now;
    if (!late) {
        h->throttles++;
        h->held_since = now;
    }
    double held_until = fmax(h->held_until, now + hold);
    if (announced)
        h->throttled_since += held_until - fmax(h->held_until, now);
    h->held_until = held_until;
    if (h->state != RV_IO_DOWN)
        enter(h, RV_IO_THROTTLED, why);
}

void rv_host_silent(struct rv_host *h, double now, const char *why)
{
    if (h->state == RV_IO_DOWN)
        return;
    if (!h->silent++)
        h->silent_since = now;
    if (!h->connected) {
        enter(h, RV_IO_DOWN, why);
    } else if (h->state != RV_IO_PAUSED && h->silent >= RV_HOST_GONE_AFTER) {
        enter(h, RV_IO_PAUSED, why);
        h->probes = 0;
        h->probe_at = now;
    }
}

static enum rv_outcome outcome_of(const struct rv_request *r, bool throttled)
{
    switch (r->kind) {
    case RV_UNREACHABLE: case RV_TLS: case RV_TIMEOUT: case RV_CUT_SHORT: case RV_OVERLOADED: case RV_BACKEND_ERROR:
    case RV_UNREADABLE_FILE:
        return RV_FAILED;
    default:
        return throttled ? RV_REFUSED : RV_ACCEPTED;
    }
}

void rv_host_ended(struct rv_host *h, const struct rv_request *r, struct rv_decision *d, double wait, double now)
{
    const char *why = r->message ? r->message : rv_kind_name(r->kind);
    bool holds = !h->adaptive
        || rv_limit_ended(&h->limit, r->sent_at, r->level, outcome_of(r, d->holds), wait, now) || h->throttles;
    if (r->kind == RV_UNREADABLE_FILE)
        return; /* says nothing of the host */
    if (d->holds && !holds) {
        h->silent = 0;
        d->delay = 0;
    } else if (r->status || r->kind == RV_BAD_ANSWER || r->kind == RV_TOO_LARGE) {
        rv_host_answered(h, now, r->sent_at, d->holds, d->delay, wait > 0, why);
    } else if (r->kind == RV_TLS && h->state == RV_IO_STARTING) {
        rv_host_give_up(h, why); /* connected, but the server has not let us in */
    } else {
        rv_host_silent(h, now, why);
    }
}

bool rv_host_probe_due(const struct rv_host *h, double now)
{
    return h->state == RV_IO_PAUSED && now >= h->probe_at;
}

void rv_host_probing(struct rv_host *h)
{
    h->probe_at = INFINITY;
}

void rv_host_probed(struct rv_host *h, double now)
{
    h->probe_at = now + fmax(0.05, fmin(MAX_PROBE_WAIT_S, ldexp(h->retry_delay, h->probes > 30 ? 30 : h->probes)));
    h->probes++;
}

void rv_host_tick(struct rv_host *h, double now)
{
    /* Attempts that hang may take longer than that by themselves: it is given up only when a probe was silent, too. */
    if (h->state == RV_IO_PAUSED && h->probes && now - h->silent_since >= h->down_timeout)
        h->state = RV_IO_DOWN;
    else if (h->throttles && now >= h->held_until && now - h->throttled_since >= h->down_timeout)
        h->state = RV_IO_DOWN;
}

void rv_host_give_up(struct rv_host *h, const char *why)
{
    enter(h, RV_IO_DOWN, why);
}
