/* Which proxy libcurl would use for a URL. */
#ifndef RV_PROXY_H
#define RV_PROXY_H

#include <stdbool.h>

struct rv_proxy {
    bool used;         /* requests for the URL go through one */
    bool unusable;     /* libcurl can make nothing of it: its scheme or syntax */
    char variable[16]; /* the environment variable that names it; empty: the caller did */
};

/* proxy: the caller's own, or NULL. Nothing is resolved or sent; any thread. 0, or -1 when out of memory. */
int rv_proxy_find(const char *url, const char *proxy, struct rv_proxy *found);

#endif
