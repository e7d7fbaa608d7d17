/* See limit.h. */
#include "limit.h"

#include <math.h>

enum {
    DEBT = 120,         /* accepted requests that pay for a refusal: less than 1 % are refused */
    MIN_ACCEPTED = 3,   /* in a second, to speak of a rate */
    MAX_STALLS = 3,     /* rounds without a gain end the start */
    MIN_ANSWERS = 60,   /* in a window: fewer tell chance from gain badly, unless the gain is to be large */
    MAX_KEPT = 16,      /* windows between two tries, at most */
    FLAT = 200,         /* requests from a cut back to the ceiling, at least */
    REST = 4,           /* requests that a rest after a refusal costs: the lower the rate, the more a refusal weighs */
};
static const double STALL = 1.25;    /* a round that brings less than this is without a gain */
static const double GAIN = 0.3;      /* what a higher limit has to bring, as a part of its rise */
static const double LOSS = 0.98;     /* what a lower limit may cost */
static const double STEP = 0.25;     /* the first rise; it doubles up to 1 while it pays */
static const double FEWER = 0.8;     /* so great a part of the requests at once, or less, is clearly fewer */
static const double CUT = 0.08;      /* how far below the ceiling a cut takes the rate */
static const double MIN_FLAT_S = 3;  /* from a cut back to the ceiling */
static const double BORNE_S = 1.6;   /* longer than what is known of the last second, or a second's stall, misleads */
static const double SLOW_S = 0.1;    /* a round that takes longer */
static const double SLACK_S = 0.005; /* timers are late: so much may be made up for */
static const double REST_S = 0.05, MAX_REST_S = 0.5; /* no request so long after a refusal, at least and at most */
static const double HELD_S = 1;      /* refused for longer than that, it is no matter of a second */

static void start(struct rv_limit *l)
{
    l->phase = RV_LIMIT_START;
    l->limit = l->kept = l->max < 2 ? 1 : 2;
    l->target = l->max < 4 ? l->max : 4;
    l->goodput = 0;
    l->fruitless = l->settling = 0;
    l->debt = 0;
}

void rv_limit_init(struct rv_limit *l, int max)
{
    *l = (struct rv_limit){.max = max, .step = STEP, .cut_at = -INFINITY};
    start(l);
}

/* ---- the rate ---- */

static double rate(const struct rv_limit *l, double now)
{
    double beyond = fmax(0, now - l->grows_since) - l->flat;
    /* The way back to a low ceiling is long, so that it is refused seldom; one that is passed was wrong. */
    double x = beyond / (beyond < 0 ? l->flat : MIN_FLAT_S);
    return l->ceiling * (1 + CUT * x * x * x);
}

/* Requests of the last second that were accepted or, being still in flight, not refused. */
static double recently(const struct rv_limit *l, double now)
{
    double sum = l->in_flight;
    for (long s = l->slice; s >= 0 && s > l->slice - RV_LIMIT_SLICES; s--)
        sum += fmin(1, fmax(0, (double)(s + 1) - 8 * (now - 1))) * l->slices[s % RV_LIMIT_SLICES];
    return sum;
}

static void count(struct rv_limit *l, double sent_at)
{
    long slice = (long)floor(sent_at * 8);
    if (slice - l->slice >= RV_LIMIT_SLICES)
        l->slice = slice - RV_LIMIT_SLICES;
    while (l->slice < slice)
        l->slices[++l->slice % RV_LIMIT_SLICES] = 0;
    if (slice > l->slice - RV_LIMIT_SLICES)
        l->slices[slice % RV_LIMIT_SLICES]++;
}

/* What was accepted of late tells by how much the rate was too high. */
static void lower(struct rv_limit *l, double now)
{
    l->ceiling = fmax(l->least, fmin(l->ceiling, recently(l, now)));
}

/* A rate was refused. least: the part of it that the ceiling is at least, for after a pause little was accepted. */
static void cut(struct rv_limit *l, double refused, double least, double wait, double now)
{
    l->ceiling = refused;
    l->least = least * refused;
    lower(l, now);
    l->flat = fmax(MIN_FLAT_S, fmax(FLAT / l->ceiling, 30 * wait));
    l->rest = fmin(MAX_REST_S, fmax(REST_S, REST / l->ceiling));
    l->grows_since = INFINITY;
    l->cut_at = now;
}

/* ---- concurrency ---- */

static void begin_window(struct rv_limit *l, double now)
{
    l->window_at = now;
    l->answers = l->accepted = 0;
    l->latency_sum = 0;
    l->reached = false;
}

static void keep(struct rv_limit *l, int limit)
{
    l->limit = l->target = limit;
    l->phase = RV_LIMIT_HOLD;
    l->settling = l->in_flight + 1;
    l->windows = 0;
}

/* The same, when nothing is known of its goodput. */
static void keep_anew(struct rv_limit *l, int limit)
{
    keep(l, limit);
    l->goodput = 0;
    l->fruitless = 2;
}

/* How much the limit grows by an accepted request: by a round it trebles while that pays, then doubles. Where rounds are short it
 * always doubles: there is no time to be won, and refusals come so close upon each other that they look like a limit in time. */
static int rise(const struct rv_limit *l)
{
    return l->phase == RV_LIMIT_START && !l->fruitless && l->latency > SLOW_S ? 2 : 1;
}

static void judge_round(struct rv_limit *l, double goodput)
{
    if (goodput >= STALL * l->goodput) {
        l->goodput = goodput;
        l->kept = l->limit;
        l->fruitless = 0;
    } else if (++l->fruitless == MAX_STALLS) {
        keep_anew(l, l->kept);
        return;
    }
    l->target = (int)fmin(l->max, (1 + rise(l)) * l->limit);
}

static void judge_try(struct rv_limit *l, double goodput)
{
    double least = l->limit > l->kept ? 1 + GAIN * (l->limit / (double)l->kept - 1) : LOSS;
    bool better = goodput >= least * l->goodput;
    l->step = better && l->limit > l->kept ? fmin(1, 2 * l->step) : STEP;
    if (better)
        l->goodput = goodput;
    else
        l->downwards = !l->downwards;
    l->fruitless = better ? 1 : l->fruitless < MAX_KEPT / 2 ? 2 * l->fruitless : MAX_KEPT;
    keep(l, better ? l->limit : l->kept);
}

static void begin_try(struct rv_limit *l, bool may_lower, double now)
{
    bool may_raise = l->limit < l->max && l->debt < 1 && now >= l->no_higher_until;
    if (!may_raise && !may_lower)
        return;
    l->downwards = may_lower && (l->downwards || !may_raise);
    l->kept = l->limit;
    l->phase = RV_LIMIT_TRY;
    if (l->downwards)
        l->limit = l->target = (int)fmin(0.8 * l->limit, l->limit - 1);
    else
        l->target = (int)fmin(l->max, fmax((1 + l->step) * l->limit, l->limit + 1));
    l->settling = l->in_flight + 1;
}

/* Every answer that is no refusal; latency 0 for one that failed. */
static void observe(struct rv_limit *l, bool accepted, double latency, double now)
{
    if (l->limit < l->target && accepted && !l->probing) {
        l->limit = (int)fmin(l->target, l->limit + rise(l));
        if (l->limit == l->target && l->phase == RV_LIMIT_TRY)
            l->settling = l->in_flight + 1;
    }
    if (l->phase == RV_LIMIT_TRY && l->limit < l->target)
        return;
    if (l->settling) {
        if (!--l->settling)
            begin_window(l, now);
        return;
    }
    l->answers++;
    l->accepted += accepted;
    l->latency_sum += latency;
    double round = l->phase == RV_LIMIT_START ? l->limit / 2 : fmax(4 * l->limit, MIN_ANSWERS * STEP / l->step);
    if (l->answers < round || now - l->window_at < 0.9 * l->latency)
        return;
    double goodput = l->accepted / (now - l->window_at);
    double mean = l->accepted ? l->latency_sum / l->accepted : 0;
    bool failing = l->accepted < 0.95 * l->answers, reached = l->reached || failing;
    begin_window(l, now);
    if (!reached)
        return;
    if (mean > 0 && (!(l->least_latency > 0) || mean < l->least_latency))
        l->least_latency = mean;
    if (l->phase == RV_LIMIT_START) {
        judge_round(l, goodput);
    } else if (l->phase == RV_LIMIT_TRY) {
        judge_try(l, goodput);
    } else {
        l->goodput = l->goodput > 0 ? 0.7 * l->goodput + 0.3 * goodput : goodput;
        /* Fewer at once can only do good where they wait for each other, or fail. */
        if (++l->windows >= l->fruitless)
            begin_try(l, l->limit > 1 && (failing || mean > 1.5 * l->least_latency), now);
    }
}

/* ---- refusals ---- */

/* These return whether the host had better be held. */

static bool refused_at_rate(struct rv_limit *l, double wait, double now)
{
    if (!(l->grows_since > now)) {
        /* What was borne for a while cannot be wrong by much. */
        cut(l, rate(l, now), now - l->grows_since > BORNE_S ? 1 - CUT : 0.5, wait, now);
    } else { /* nothing was accepted since the cut */
        l->rest = fmin(MAX_REST_S, 2 * l->rest);
        lower(l, now);
    }
    l->next_at = now + l->rest;
    return now - l->cut_at > HELD_S;
}

static bool refused_at_once(struct rv_limit *l, int level, double wait, double now)
{
    /* With clearly fewer it is refused too, and nothing accepted between: it is no matter of how many at once. */
    if (l->suspect && (level == 1 || level <= FEWER * l->suspect)) {
        l->suspect = 0;
        if (recently(l, now) < MIN_ACCEPTED) {
            start(l); /* nothing is known: anew, after the hold */
            return true;
        }
        cut(l, recently(l, now), 0.5, wait, now);
        /* A burst may have used up a second of the backend's clock at any time of it, a known rate does so near its end. */
        l->rest = MAX_REST_S;
        l->next_at = now + l->rest;
        return false;
    }
    l->suspect = level;
    l->probing = true;
    l->cut_at = now;
    l->step = l->phase == RV_LIMIT_START ? 1 : STEP;
    /* Lower than just below, so that the next request tells something; what is accepted leads back up. */
    keep_anew(l, (int)fmax(1, fmin(l->limit, FEWER * level)));
    l->target = (int)fmax(1, level - 1);
    return false;
}

static bool refused(struct rv_limit *l, double sent, int level, double wait, double now)
{
    l->debt += DEBT;
    l->no_higher_until = fmax(l->no_higher_until, now + 50 * wait);
    if (sent <= l->cut_at)
        return false;
    return l->ceiling > 0 ? refused_at_rate(l, wait, now) : refused_at_once(l, level, wait, now);
}

static void accepted(struct rv_limit *l, double sent, double now)
{
    double latency = now - sent;
    l->latency = l->latency > 0 && latency > l->latency ? l->latency + (latency - l->latency) / 8 : latency;
    l->debt = fmax(0, l->debt - 1);
    count(l, sent);
    if (sent > l->cut_at)
        l->suspect = 0;
    if (!(l->ceiling > 0)) {
        observe(l, true, latency, now);
    } else if (l->grows_since > now) {
        if (sent > l->cut_at) {
            l->grows_since = sent;
            l->limits_at = now;
        }
    } else if (rate(l, now) <= 2 * recently(l, now)) {
        l->limits_at = now;
    } else if (now - l->limits_at > l->flat) {
        /* Something else limits it by now, and has for longer than a stall of the machine takes. */
        l->ceiling = 0;
        keep_anew(l, l->in_flight + 1);
    }
}

/* ---- what may be done ---- */

int rv_limit_level(const struct rv_limit *l, double now)
{
    if (!(l->ceiling > 0))
        return l->limit < l->max ? l->limit : l->max;
    return (int)fmin(l->max, 2 + 2 * rate(l, now) * l->latency);
}

int rv_limit_sent(struct rv_limit *l, double now)
{
    l->in_flight++;
    l->probing = false;
    l->reached |= l->in_flight >= l->limit;
    if (!(l->window_at > 0))
        l->window_at = now;
    /* Without a rate too a burst is spread, over half of what an answer takes, so that the first refusal stops it. */
    double gap = l->ceiling > 0 ? 1 / rate(l, now) : l->latency / (2 * l->limit);
    l->next_at = fmax(l->next_at, now - (l->ceiling > 0 ? SLACK_S : 0.001)) + gap;
    return l->in_flight;
}

bool rv_limit_ended(struct rv_limit *l, double sent, int level, enum rv_outcome outcome, double wait, double now)
{
    l->in_flight--;
    if (outcome == RV_REFUSED)
        return refused(l, sent, level, fmax(0, wait), now) || wait > 0;
    if (outcome == RV_ACCEPTED)
        accepted(l, sent, now);
    else if (!(l->ceiling > 0))
        observe(l, false, 0, now);
    return false;
}
