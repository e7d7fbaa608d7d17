/* What is read of an answer's header lines: when they end, where the body does, how long the server asks to wait. Pure. */
#ifndef RV_HEADERS_H
#define RV_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rv_headers {
    bool ended;               /* with the empty line; libcurl takes a connection closed among them for a whole answer */
    bool framed;              /* a length or chunks tell where the body ends, and so whether it was cut */
    double retry_after;       /* seconds, negative when none was given */
    char date[64], until[64]; /* its Date, and a Retry-After that is a date; empty when there is none */
};

/* Starts afresh, before an answer's first line. */
void rv_headers_begin(struct rv_headers *h);

/* The next header line, len (from 1) bytes with its line end, not NUL-terminated. */
void rv_headers_line(struct rv_headers *h, const char *line, size_t len);

/* Seconds that the server asked to wait (rv_retry_after), negative when it did not; now in Unix seconds. */
double rv_headers_wait(const struct rv_headers *h, int64_t now);

#endif
