/* What is asked, and how: requests, routes and settings are made and freed here. See io.h. */
#define _GNU_SOURCE
#include "io.h"

#include <stdlib.h>
#include <string.h>

void rv_request_forget(struct rv_request *r)
{
    for (int i = 0; r->values && i < r->route->field_count; i++)
        free(r->values[i]);
    free(r->values);
    free(r->message);
    free(r->location);
    free(r->body);
    free(r->list.bytes);
    rv_vectors_free(&r->vectors);
    r->list = (struct rv_skim_list){0};
    r->values = NULL;
    r->message = r->location = r->body = NULL;
    r->body_len = 0;
}

struct rv_request *rv_request_new(const struct rv_route *route, const char *url, const struct rv_route *ask_route,
                                  const char *ask_url, int item)
{
    size_t len = strlen(url) + 1, ask_len = ask_url ? strlen(ask_url) + 1 : 0;
    struct rv_request *r = calloc(1, sizeof *r + len + ask_len);
    if (!r)
        return NULL;
    r->route = route;
    r->item = item;
    memcpy(r->url, url, len);
    if (ask_url) {
        r->ask_route = ask_route;
        r->ask_url = memcpy(r->url + len, ask_url, ask_len);
    }
    return r;
}

void rv_request_free(struct rv_request *r)
{
    if (r) {
        rv_request_forget(r);
        rv_body_free(&r->content);
    }
    free(r);
}

static void free_strings(char **list)
{
    for (char **s = list; s && *s; s++)
        free(*s);
    free(list);
}

void rv_route_free(struct rv_route *r)
{
    if (!r)
        return;
    free(r->method);
    free_strings(r->headers);
    free_strings(r->fields);
    char *const names[] = {r->list, r->list_field, r->vectors, r->vector_index};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        free(names[i]);
    free((void *)r->rules.accepted);
    free_strings(r->throttle);
    free_strings(r->denied);
    free(r);
}

void rv_settings_free(struct rv_settings *s)
{
    free_strings(s->headers);
    char *const strings[] = {s->probe_url, s->user_agent, s->cacert, s->cert, s->key, s->proxy, s->unix_socket};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        free(strings[i]);
    *s = (struct rv_settings){0};
}
