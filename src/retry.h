/*
 * What became of one attempt, and what to do next: pure functions of their arguments.
 *
 * Sources: the closed list of kinds and the rules are revec's own (doc/reliability.md); full jitter is
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/; Retry-After is RFC 9110, 10.2.3.
 */
#ifndef RV_RETRY_H
#define RV_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rv_kind {
    RV_OK,
    RV_UNREACHABLE,   /* no connection, so nothing was asked */
    RV_TLS,           /* the server's certificate or ours was refused */
    RV_TIMEOUT,       /* asked, no whole answer in time */
    RV_CUT_SHORT,     /* asked, the answer broke off */
    RV_RATE_LIMITED,  /* throttled: says the status, Retry-After or the body */
    RV_OVERLOADED,    /* 503, 529, 425 without a time to wait */
    RV_BACKEND_ERROR, /* other 5xx, or a 200 that says it failed */
    RV_DENIED,        /* 401, 402, 403, 407, or the body says quota, billing or key */
    RV_NOT_FOUND,     /* 404, 410 */
    RV_REJECTED,      /* other 4xx */
    RV_BAD_ANSWER,    /* not the answer that the protocol promises: HTML, 3xx, no JSON, no status */
    RV_TOO_LARGE,     /* the answer is larger than its cap */
    RV_UNREADABLE_FILE, /* a file of the request's body; nothing of the host's doing */
    RV_PENDING,       /* not tried to its end: the engine was drained or closed, or the backend is down */
    RV_KINDS
};

/* The kind's name as Lua sees it ("rate_limited"); RV_OK is "ok". */
const char *rv_kind_name(enum rv_kind kind);

/* What one kind of request expects of its answers. Strings are borrowed. */
struct rv_rules {
    bool wants_json;             /* an answer must be a JSON object, or it is a bad one */
    bool status_field;           /* … whose first wanted field must be the string "success" */
    const int *accepted;         /* statuses that are answers beside 2xx, none of them a failure */
    int accepted_count;
    const char *const *throttle; /* substrings of a failure's body that mean rate_limited */
    int throttle_count;
    const char *const *denied;   /* … that mean denied */
    int denied_count;
};

enum rv_transport {
    RV_TRANSPORT_OK,
    RV_TRANSPORT_CONNECT, /* failed before anything was sent */
    RV_TRANSPORT_TLS,
    RV_TRANSPORT_TIMEOUT, /* failed after sending */
    RV_TRANSPORT_CUT,
    RV_TRANSPORT_GARBAGE, /* what came is not HTTP */
    RV_TRANSPORT_CAPPED,  /* we stopped at the cap */
};

/* What one attempt brought. */
struct rv_answer {
    enum rv_transport transport;
    int status;            /* HTTP status, 0 when none came */
    bool has_retry_after;
    bool json_complete;    /* the body is a whole JSON object, as far as it was looked at */
    bool json_object;      /* … or began as one */
    bool list_missing;     /* … without the list that was wanted of it */
    const char *said;      /* the value of the status field as raw JSON, NULL when there was none */
    const char *body;      /* what may name the cause: the message, or the body's beginning */
    size_t body_len;
};

/* Whether an answer with this status is no failure. */
bool rv_is_accepted(const struct rv_rules *rules, int status);

enum rv_kind rv_classify(const struct rv_rules *rules, const struct rv_answer *answer);

struct rv_policy {
    int max_retries;    /* 0..1000 retries after the first attempt */
    double retry_delay; /* seconds, base of every wait of our own */
};

enum { RV_MAX_DELAY_S = 60, RV_MAX_RETRY_AFTER_S = 6 * 3600 };

struct rv_decision {
    bool retry;
    bool counts;   /* the attempt uses up one of the request's max_retries + 1 */
    bool holds;    /* the whole host is to be held back for delay */
    double delay;  /* seconds, 0 when not retry */
};

/*
 * counted: attempts of this request that counted, before this one; backoffs: waits of its own, before this one;
 * throttles: throttled answers in a row from the host, before this one; retry_after: seconds the server
 * asked for, negative when it did not; random: [0, 1).
 */
struct rv_decision rv_decide(const struct rv_policy *policy, enum rv_kind kind, int status, int counted, int backoffs,
                             int throttles, double retry_after, double random);

/* random * min(RV_MAX_DELAY_S, base * 2^n) seconds. */
double rv_backoff(double base, int n, double random);

/*
 * Seconds to wait from a Retry-After value: decimal seconds (a fraction rounds up) or an HTTP date in any of
 * its three forms, measured against date (the answer's own Date header, NULL when it has none, then against
 * now, Unix seconds). 0 for a time gone by, at most RV_MAX_RETRY_AFTER_S, -1 when it cannot be read.
 */
double rv_retry_after(const char *value, const char *date, int64_t now);

#endif
