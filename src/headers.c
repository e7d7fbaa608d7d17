/* See headers.h. */
#include "headers.h"
#include "retry.h"

#include <curl/curl.h>
#include <math.h>
#include <string.h>
#include <strings.h>

void rv_headers_begin(struct rv_headers *h)
{
    h->ended = h->framed = false;
    h->date[0] = h->until[0] = 0;
    h->retry_after = -1;
}

/* The value of the header called name, copied without the line's end; false when it is another header. */
static bool header_is(const char *line, size_t len, const char *name, char *value, size_t room)
{
    size_t n = strlen(name);
    if (len <= n || strncasecmp(line, name, n) || line[n] != ':')
        return false;
    line += n + 1;
    len -= n + 1;
    while (len && (*line == ' ' || *line == '\t'))
        line++, len--;
    while (len && (unsigned char)line[len - 1] <= ' ')
        len--;
    if (len >= room)
        len = room - 1;
    memcpy(value, line, len);
    value[len] = 0;
    return true;
}

void rv_headers_line(struct rv_headers *h, const char *line, size_t len)
{
    if (line[0] == '\r' || line[0] == '\n')
        h->ended = true;
    else if (len > 5 && !memcmp(line, "HTTP/", 5))
        h->ended = false; /* The answer behind an interim one. Other lines behind the end are trailers. */
    if (header_is(line, len, "Date", h->date, sizeof h->date))
        return;
    char wait[sizeof h->until];
    if (header_is(line, len, "Content-Length", wait, sizeof wait) || header_is(line, len, "Transfer-Encoding", wait, sizeof wait))
        h->framed = true;
    if (!header_is(line, len, "Retry-After", wait, sizeof wait))
        return;
    /* Of several the largest counts; a date can be told only once the Date header is known. */
    if (wait[0] >= '0' && wait[0] <= '9')
        h->retry_after = fmax(h->retry_after, rv_retry_after(wait, NULL, 0));
    else if (curl_getdate(wait, NULL) > curl_getdate(h->until, NULL))
        memcpy(h->until, wait, sizeof wait);
}

double rv_headers_wait(const struct rv_headers *h, int64_t now)
{
    if (!h->until[0])
        return h->retry_after;
    return fmax(h->retry_after, rv_retry_after(h->until, h->date[0] ? h->date : NULL, now));
}
