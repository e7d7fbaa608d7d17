/* See retry.h. */
#define _GNU_SOURCE
#include "retry.h"

#include <curl/curl.h>
#include <math.h>
#include <string.h>

const char *rv_kind_name(enum rv_kind kind)
{
    static const char *const names[RV_KINDS] = {
        "ok",         "unreachable",   "tls",    "timeout",   "cut_short", "rate_limited", "overloaded",
        "backend_error", "denied", "not_found", "rejected", "bad_answer", "too_large", "unreadable_file",
        "pending",
    };
    return names[kind];
}

static bool mentions(const struct rv_answer *a, const char *const *patterns, int count)
{
    for (int i = 0; i < count; i++)
        if (a->body && memmem(a->body, a->body_len, patterns[i], strlen(patterns[i])))
            return true;
    return false;
}

bool rv_is_accepted(const struct rv_rules *rules, int status)
{
    if (status >= 200 && status < 300)
        return true;
    for (int i = 0; i < rules->accepted_count; i++)
        if (rules->accepted[i] == status)
            return true;
    return false;
}

/* The backend wraps its provider's refusals in a failure of its own: the body tells them apart. */
static enum rv_kind by_body(const struct rv_rules *rules, const struct rv_answer *a, enum rv_kind otherwise)
{
    if (mentions(a, rules->denied, rules->denied_count))
        return RV_DENIED;
    if (mentions(a, rules->throttle, rules->throttle_count))
        return RV_RATE_LIMITED;
    return otherwise;
}

/* nginx's words, under a 400, when it stands before a service and has not seen a certificate of ours that it trusts. */
static const char *const no_certificate[] = {"No required SSL certificate was sent", "The SSL certificate error"};

static enum rv_kind by_status(const struct rv_rules *rules, const struct rv_answer *a)
{
    int status = a->status;
    switch (status) {
    case 400:
        return mentions(a, no_certificate, 2) ? RV_DENIED : by_body(rules, a, RV_REJECTED);
    case 401: case 402: case 403: case 407:
        return RV_DENIED;
    case 404: case 410:
        return RV_NOT_FOUND;
    case 408:
        return RV_TIMEOUT;
    case 425:
        return RV_OVERLOADED;
    case 429: /* OpenAI's API says so of a quota that is used up, too */
        return by_body(rules, a, RV_RATE_LIMITED);
    case 503: case 529:
        return a->has_retry_after ? RV_RATE_LIMITED : by_body(rules, a, RV_OVERLOADED);
    default:
        if (status >= 500 && status < 600)
            return by_body(rules, a, RV_BACKEND_ERROR);
        return status >= 400 && status < 500 ? by_body(rules, a, RV_REJECTED) : RV_BAD_ANSWER;
    }
}

enum rv_kind rv_classify(const struct rv_rules *rules, const struct rv_answer *a)
{
    switch (a->transport) {
    case RV_TRANSPORT_CONNECT:
        return RV_UNREACHABLE;
    case RV_TRANSPORT_TLS:
        return RV_TLS;
    case RV_TRANSPORT_CAPPED:
        return RV_TOO_LARGE;
    case RV_TRANSPORT_GARBAGE:
        return RV_BAD_ANSWER;
    case RV_TRANSPORT_TIMEOUT:
    case RV_TRANSPORT_CUT:
        /* A refusal sent before the connection broke is the better news (413, then a reset, say). */
        if (a->status >= 400 && !rv_is_accepted(rules, a->status))
            return by_status(rules, a);
        return a->transport == RV_TRANSPORT_CUT ? RV_CUT_SHORT : RV_TIMEOUT;
    case RV_TRANSPORT_OK:
        break;
    }
    if (!rv_is_accepted(rules, a->status))
        return by_status(rules, a);
    if (!rules->wants_json)
        return RV_OK;
    if (!a->json_complete)
        return a->json_object ? RV_CUT_SHORT : RV_BAD_ANSWER;
    if (a->status >= 300)
        return RV_OK;
    if (rules->status_field && !a->said)
        return RV_BAD_ANSWER;
    if (rules->status_field && strcmp(a->said, "\"success\"") != 0)
        return by_body(rules, a, RV_BACKEND_ERROR);
    return a->list_missing ? RV_BAD_ANSWER : RV_OK;
}

double rv_backoff(double base, int n, double random)
{
    return random * fmin(RV_MAX_DELAY_S, ldexp(base, n > 60 ? 60 : n));
}

struct rv_decision rv_decide(const struct rv_policy *policy, enum rv_kind kind, int status, int counted, int backoffs,
                             int throttles, double retry_after, double random)
{
    struct rv_decision d = {.counts = true};
    switch (kind) {
    case RV_RATE_LIMITED:
        d.retry = d.holds = true;
        d.counts = false;
        if (retry_after > 0) {
            /* Never earlier than asked; a little later, so that not everybody comes at once. */
            d.delay = retry_after + random * fmin(0.1 * retry_after, 10);
        } else {
            /* Starts short, so that a limit per second is not wasted, and is never 0. */
            d.delay = (0.5 + random / 2) * fmin(RV_MAX_DELAY_S, ldexp(fmin(0.1, policy->retry_delay), throttles > 60 ? 60 : throttles));
        }
        return d;
    case RV_UNREACHABLE:
    case RV_TLS:
        d.counts = false;
        d.retry = true;
        break;
    case RV_TIMEOUT:
    case RV_CUT_SHORT:
    case RV_OVERLOADED:
        d.retry = counted < policy->max_retries;
        break;
    case RV_BACKEND_ERROR:
        d.retry = status >= 500 && counted < policy->max_retries;
        break;
    case RV_BAD_ANSWER:
        /* No status: what came is not HTTP, as a status line that was cut is not. */
        d.retry = !status && counted < policy->max_retries;
        break;
    default:
        break;
    }
    if (d.retry)
        d.delay = fmax(rv_backoff(policy->retry_delay, backoffs, random), retry_after);
    return d;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

double rv_retry_after(const char *value, const char *date, int64_t now)
{
    const char *p = value + strspn(value, " \t");
    if (is_digit(*p)) {
        double seconds = 0;
        for (; is_digit(*p); p++)
            seconds = fmin(seconds * 10 + (*p - '0'), RV_MAX_RETRY_AFTER_S);
        if (*p == '.' && is_digit(p[1]))
            for (p++, seconds++; is_digit(*p); p++)
                ;
        p += strspn(p, " \t\r\n");
        return *p ? -1 : fmin(seconds, RV_MAX_RETRY_AFTER_S);
    }
    /* An HTTP date begins with the name of a day; curl_getdate takes much else, numbers too. */
    if (*p < 'A' || *p > 'Z')
        return -1;
    time_t when = curl_getdate(p, NULL);
    time_t since = date ? curl_getdate(date, NULL) : (time_t)now;
    if (when == -1)
        return -1;
    return fmin(fmax(difftime(when, since == -1 ? (time_t)now : since), 0), RV_MAX_RETRY_AFTER_S);
}
