/*
 * See proxy.h. Which of the environment's variables count for which URL, and what no_proxy excludes, is libcurl's to say: a
 * transfer is begun, and ended where its first host would be resolved. What libcurl tells meanwhile names the variable,
 * and its error whether that host was a proxy. (CURLINFO_USED_PROXY is from 8.7 on.)
 */
#include "proxy.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct probe {
    struct rv_proxy *found;
    bool decided; /* libcurl knows where to connect to */
};

static int on_resolve(void *resolver, void *reserved, void *arg)
{
    struct probe *p = arg;
    (void)resolver, (void)reserved;
    p->decided = true;
    return 1;
}

/* An address that needs no resolver. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct probe *p = arg;
    (void)purpose, (void)address;
    p->decided = true;
    return CURL_SOCKET_BAD;
}

static int on_debug(CURL *easy, curl_infotype type, char *text, size_t len, void *arg)
{
    struct probe *p = arg;
    char line[64], name[sizeof p->found->variable];
    (void)easy;
    snprintf(line, sizeof line, "%.*s", len < sizeof line ? (int)len : (int)sizeof line - 1, text);
    if (type == CURLINFO_TEXT && sscanf(line, "Uses proxy env variable %15[A-Za-z_]", name) == 1 && strcasecmp(name, "no_proxy") != 0)
        strcpy(p->found->variable, name);
    return 0;
}

int rv_proxy_find(const char *url, const char *proxy, struct rv_proxy *found)
{
    *found = (struct rv_proxy){0};
    struct probe p = {.found = found};
    CURL *easy = curl_easy_init();
    if (!easy)
        return -1;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_PROXY, proxy);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, on_resolve);
    curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, &p);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &p);
    curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_debug);
    curl_easy_setopt(easy, CURLOPT_DEBUGDATA, &p);
    curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
    if (code == CURLE_OK)
        code = curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    if (code == CURLE_OUT_OF_MEMORY)
        return -1;
    bool named = proxy || found->variable[0];
    found->used = named && code != CURLE_COULDNT_RESOLVE_HOST && code != CURLE_URL_MALFORMAT;
    found->unusable = found->used && !p.decided;
    return 0;
}
