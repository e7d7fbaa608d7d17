/*
 * The engine as Lua sees it: core.engine{…}, its routes, submit, poll, wait, walk. doc/core.md is its reference.
 *
 * All its C memory hangs on the userdata, and is hung there before anything that may raise. Items are kept
 * in the userdata's uservalue under the number that the request carries. Only this thread runs any of this.
 */
#define _GNU_SOURCE
#include "clock.h"
#include "content.h"
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counts forks: an engine of another generation belongs to the parent, whose threads do not exist here. */
static unsigned fork_generation;

unsigned rv_fork_generation(void)
{
    return fork_generation;
}

static void count_fork(void)
{
    fork_generation++;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

static uint64_t close_engine(struct engine *e)
{
    uint64_t sends = 0;
    /* In a child of fork the threads do not exist, and what they worked on may be in mid-change; the connections are the
     * parent's too, and closing them would close them there. All that is left alone. */
    if (e->fork_generation == fork_generation) {
        rv_walk_close(e->walk);
        sends = rv_io_stop(e->io);
    }
    e->walk = NULL;
    e->io = NULL;
    rv_notify_free(e->bell);
    e->bell = NULL;
    rv_settings_free(&e->settings);
    while (e->events) {
        struct rv_request *next = e->events->next;
        rv_request_free(e->events);
        e->events = next;
    }
    while (e->route_count)
        rv_route_free(e->routes[--e->route_count]);
    free(e->free_items);
    e->free_items = NULL;
    return sends;
}

/* Also __gc and __close: nothing here can raise. */
static int engine_close(lua_State *L)
{
    struct engine *e = lua_touserdata(L, 1);
    if (e)
        close_engine(e);
    return 0;
}

/* engine:close() -> how often anything was sent, to the last request. */
static int engine_close_checked(lua_State *L)
{
    struct engine *e = luaL_checkudata(L, 1, ENGINE);
    lua_pushinteger(L, (lua_Integer)close_engine(e));
    return 1;
}

static struct engine *check_open(lua_State *L, struct engine *e)
{
    if (!e->io)
        luaL_error(L, "engine: closed");
    if (e->fork_generation != fork_generation)
        luaL_error(L, "engine: made before a fork: its threads run in the parent only; make one in this process");
    return e;
}

struct engine *rv_check_engine(lua_State *L)
{
    return check_open(L, luaL_checkudata(L, 1, ENGINE));
}

struct engine *rv_opt_beside(lua_State *L, int idx)
{
    lua_getfield(L, idx, "beside");
    if (lua_isnil(L, -1))
        return NULL;
    struct engine *e = luaL_testudata(L, -1, ENGINE);
    if (e)
        return check_open(L, e);
    luaL_error(L, "beside: engine expected, got %s", luaL_typename(L, -1));
    return NULL;
}

/* ---- options ---- */

static void *need(lua_State *L, void *p)
{
    if (!p)
        luaL_error(L, "engine: out of memory");
    return p;
}

static void opt_copy(lua_State *L, int idx, const char *key, char **out)
{
    const char *s = rv_optstr(L, idx, key);
    if (s)
        *out = need(L, strdup(s));
    lua_pop(L, 1);
}

/* The array of strings in field key, copied, NULL-ended; *out stays NULL when the field is nil. */
static int opt_strings(lua_State *L, int idx, const char *key, char ***out)
{
    int n = 0;
    lua_getfield(L, idx, key);
    if (!lua_isnil(L, -1)) {
        if (!lua_istable(L, -1))
            luaL_error(L, "%s: array of strings expected", key);
        n = (int)lua_rawlen(L, -1);
        *out = need(L, calloc((size_t)n + 1, sizeof **out));
        for (int i = 0; i < n; i++) {
            lua_rawgeti(L, -1, i + 1);
            size_t len;
            const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
            if (!s || strlen(s) != len)
                luaL_error(L, "%s: array of strings expected", key);
            (*out)[i] = need(L, strdup(s));
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return n;
}

static void read_settings(lua_State *L, int idx, struct rv_settings *s)
{
    s->max_concurrent = (int)rv_optint(L, idx, "max_concurrent", 5, 1, 1024);
    s->adaptive = rv_optbool(L, idx, "adaptive");
    s->policy.max_retries = (int)rv_optint(L, idx, "max_retries", 3, 0, 1000);
    s->policy.retry_delay = rv_optnum(L, idx, "retry_delay", 1, 0, 3600);
    s->timeout = rv_optnum(L, idx, "timeout", 60, 0.001, 86400);
    s->connect_timeout = rv_optnum(L, idx, "connect_timeout", 5, 0.001, 86400);
    s->down_timeout = rv_optnum(L, idx, "down_timeout", 60, 0, 86400 * 30);
    s->rate = rv_optnum(L, idx, "rate", 0, 0, 1e6);
    s->nice = (int)rv_optint(L, idx, "nice", 0, 0, 19);
    s->insecure = rv_optbool(L, idx, "insecure");
    s->http2 = rv_optbool(L, idx, "http2");
    opt_copy(L, idx, "probe_url", &s->probe_url);
    opt_copy(L, idx, "user_agent", &s->user_agent);
    opt_copy(L, idx, "cacert", &s->cacert);
    opt_copy(L, idx, "cert", &s->cert);
    opt_copy(L, idx, "key", &s->key);
    opt_copy(L, idx, "proxy", &s->proxy);
    opt_copy(L, idx, "unix_socket", &s->unix_socket);
    opt_strings(L, idx, "headers", &s->headers);
    if (!s->probe_url)
        luaL_error(L, "probe_url: string expected");
}

static int engine_new(lua_State *L)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    pthread_once(&once, watch_forks);
    struct engine *e = lua_newuserdata(L, sizeof *e);
    memset(e, 0, sizeof *e);
    e->fork_generation = fork_generation;
    luaL_setmetatable(L, ENGINE);
    lua_newtable(L);
    lua_setuservalue(L, -2);
    read_settings(L, 1, &e->settings);
    e->nice = e->settings.nice;
    const struct engine *beside = rv_opt_beside(L, 1);
    e->beside = beside;
    e->bell = beside ? rv_notify_share(beside->bell) : rv_notify_new();
    lua_pop(L, 1);
    if (!e->bell) {
        lua_pushnil(L);
        lua_pushfstring(L, "engine: no descriptor for a pipe: %s", strerror(errno));
        return 2;
    }
    const char *error;
    e->io = rv_io_start(&e->settings, e->bell, &error);
    if (!e->io) {
        lua_pushnil(L);
        lua_pushfstring(L, "engine: %s", error);
        return 2;
    }
    return 1;
}

static int engine_route(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (e->route_count == MAX_ROUTES)
        return luaL_error(L, "route: at most %d", MAX_ROUTES);
    struct rv_route *r = need(L, calloc(1, sizeof *r));
    e->routes[e->route_count++] = r;
    opt_copy(L, 2, "method", &r->method);
    if (!r->method)
        r->method = need(L, strdup("GET"));
    r->max_bytes = (size_t)rv_optint(L, 2, "max_bytes", 1 << 20, 1, INT64_C(1) << 40);
    opt_strings(L, 2, "headers", &r->headers);
    r->field_count = opt_strings(L, 2, "fields", &r->fields);
    if (r->field_count > 8)
        return luaL_error(L, "fields: at most 8 names, got %d", r->field_count);
    opt_copy(L, 2, "vectors", &r->vectors);
    opt_copy(L, 2, "vector_index", &r->vector_index);
    if (r->vector_index && !r->vectors)
        return luaL_error(L, "vector_index: needs vectors");
    r->whole = rv_optbool(L, 2, "whole");
    opt_copy(L, 2, "list", &r->list);
    opt_copy(L, 2, "list_field", &r->list_field);
    if (!r->list != !r->list_field)
        return luaL_error(L, "list: needs list_field, and list_field needs list");
    r->max_retries = (int)rv_optint(L, 2, "max_retries", -1, 0, 1000);
    r->rules.wants_json = r->field_count > 0 || r->list || rv_optbool(L, 2, "json");
    r->rules.status_field = rv_optbool(L, 2, "status_field");
    r->rules.throttle_count = opt_strings(L, 2, "throttle", &r->throttle);
    r->rules.throttle = (const char *const *)r->throttle;
    r->rules.denied_count = opt_strings(L, 2, "denied", &r->denied);
    r->rules.denied = (const char *const *)r->denied;
    lua_getfield(L, 2, "accept");
    if (!lua_isnil(L, -1)) {
        if (!lua_istable(L, -1))
            return luaL_error(L, "accept: array of statuses expected");
        int n = (int)lua_rawlen(L, -1);
        int *accepted = need(L, calloc((size_t)n + 1, sizeof *accepted));
        r->rules.accepted = accepted;
        for (int i = 0; i < n; i++) {
            lua_rawgeti(L, -1, i + 1);
            accepted[i] = (int)rv_checkint(L, lua_gettop(L), "accept", 100, 599);
            lua_pop(L, 1);
        }
        r->rules.accepted_count = n;
    }
    lua_pushinteger(L, e->route_count);
    return 1;
}

/* ---- requests ---- */

/* A string without NUL at idx, as a URL is. */
static const char *check_url(lua_State *L, int idx)
{
    size_t len;
    const char *url = luaL_checklstring(L, idx, &len);
    luaL_argcheck(L, strlen(url) == len, idx, "a URL without NUL bytes expected");
    return url;
}

/* A free number for an item; taken once the request that carries it exists. */
static int next_item(lua_State *L, struct engine *e)
{
    if (e->free_count)
        return e->free_items[e->free_count - 1];
    if (e->item_count == e->free_room) {
        int room = e->free_room ? e->free_room * 2 : 64;
        int *items = realloc(e->free_items, (size_t)room * sizeof *items);
        e->free_items = need(L, items);
        e->free_room = room;
    }
    return e->item_count + 1;
}

static int engine_submit(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    int64_t route = rv_checkint(L, 2, "route", 1, e->route_count);
    const char *url = check_url(L, 3), *ask_url = NULL;
    const struct rv_route *ask_route = NULL;
    luaL_argcheck(L, !lua_isnoneornil(L, 4), 4, "an item is needed, to know the answer by");
    int urgent = lua_toboolean(L, 5);
    if (!lua_isnoneornil(L, 6)) {
        ask_route = e->routes[rv_checkint(L, 6, "ask_route", 1, e->route_count) - 1];
        ask_url = check_url(L, 7);
    }
    bool sends = !lua_isnoneornil(L, 8);
    if (sends)
        rv_check_body(L, 8);
    int item = next_item(L, e);
    lua_getuservalue(L, 1);
    lua_pushvalue(L, 4);
    lua_rawseti(L, -2, item);
    struct rv_request *r = need(L, rv_request_new(e->routes[route - 1], url, ask_route, ask_url, item));
    r->urgent = urgent;
    if (sends && !rv_copy_body(L, 8, &r->content)) {
        rv_request_free(r);
        need(L, NULL);
    }
    if (e->free_count)
        e->free_count--;
    else
        e->item_count++;
    rv_io_submit(e->io, r);
    return 0;
}

static void set_text(lua_State *L, const char *key, const char *text, size_t len)
{
    if (!text)
        return;
    lua_pushlstring(L, text, len);
    lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, double n)
{
    if (n == floor(n) && fabs(n) < 1e15)
        lua_pushinteger(L, (lua_Integer)n);
    else
        lua_pushnumber(L, n);
    lua_setfield(L, -2, key);
}

/* The texts of a list as an array, in the field list of the table on top. */
static void push_list(lua_State *L, const struct rv_skim_list *list)
{
    const char *at = list->bytes;
    lua_createtable(L, list->count, 0);
    for (int i = 1; i <= list->count; i++) {
        uint32_t len;
        memcpy(&len, at, sizeof len);
        lua_pushlstring(L, at + sizeof len, len);
        lua_rawseti(L, -2, i);
        at += sizeof len + len;
    }
    lua_setfield(L, -2, "list");
}

/* Pushes one event as a table; items: stack index of the items. */
static void push_event(lua_State *L, const struct rv_request *r, int items)
{
    lua_createtable(L, 0, 8);
    lua_rawgeti(L, items, r->item);
    lua_setfield(L, -2, "item");
    set_number(L, "attempts", r->counted);
    set_number(L, "sends", r->sends);
    if (r->status)
        set_number(L, "status", r->status);
    if (r->landed) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "landed");
    }
    if (r->type == RV_EVENT_RETRY) {
        lua_pushnumber(L, r->delay);
        lua_setfield(L, -2, "retry_in");
    }
    if (r->seconds > 0)
        set_number(L, "seconds", r->seconds);
    if (r->kind != RV_OK) {
        const char *kind = rv_kind_name(r->kind);
        set_text(L, "kind", kind, strlen(kind));
        set_text(L, "message", r->message, r->message ? strlen(r->message) : 0);
        set_text(L, "location", r->location, r->location ? strlen(r->location) : 0);
    }
    set_text(L, "body", r->body, r->body_len);
    if (r->vectors.count) {
        rv_push_vectors(L, &r->vectors);
        lua_setfield(L, -2, "vectors");
        set_text(L, "vector_error", r->vectors.why, r->vectors.why ? strlen(r->vectors.why) : 0);
    }
    if (r->route->list && r->kind == RV_OK && !r->landed)
        push_list(L, &r->list);
    if (!r->values)
        return;
    lua_createtable(L, 0, r->route->field_count);
    for (int i = 0; i < r->route->field_count; i++)
        set_text(L, r->route->fields[i], r->values[i], r->value_lens[i]);
    lua_setfield(L, -2, "fields");
}

static int engine_poll(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    int most = lua_isnoneornil(L, 2) ? INT32_MAX : (int)rv_checkint(L, 2, "most", 1, INT32_MAX);
    lua_settop(L, 1);
    /* Taken even while some are left: the doorbell is silenced, and must be rung for those that come later. */
    if (!e->beside)
        rv_notify_silence(e->bell);
    if (!e->events)
        e->last_event = &e->events;
    for (*e->last_event = rv_io_take(e->io); *e->last_event;)
        e->last_event = &(*e->last_event)->next;
    lua_getuservalue(L, 1);
    lua_newtable(L);
    int n = 0;
    for (const struct rv_request *r = e->events; n < most && r; r = r->next) {
        push_event(L, r, 2);
        lua_rawseti(L, 3, ++n);
    }
    /* Events leave the list only once all are told: an error before loses none, and nothing from here on raises. */
    while (n-- > 0) {
        struct rv_request *r = e->events;
        if (r->type == RV_EVENT_DONE) {
            lua_pushnil(L);
            lua_rawseti(L, 2, r->item);
            e->free_items[e->free_count++] = r->item;
        }
        e->events = r->next;
        rv_request_free(r);
    }
    if (e->events)
        rv_notify_ring(e->bell);
    return 1;
}

static int engine_room(lua_State *L)
{
    lua_pushinteger(L, rv_io_room(rv_check_engine(L)->io));
    return 1;
}

static int engine_drain(lua_State *L)
{
    rv_io_drain(rv_check_engine(L)->io);
    return 0;
}

static int engine_stats(lua_State *L)
{
    static const char *const states[] = {"starting", "running", "throttled", "paused", "down"};
    struct rv_io_stats s;
    rv_io_stats(rv_check_engine(L)->io, &s);
    lua_createtable(L, 0, 12);
    set_text(L, "state", states[s.state], strlen(states[s.state]));
    set_text(L, "reason", s.reason[0] ? s.reason : NULL, strlen(s.reason));
    lua_pushnumber(L, s.resume_in);
    lua_setfield(L, -2, "resume_in");
    set_number(L, "active", s.active);
    set_number(L, "ready", s.ready);
    set_number(L, "waiting", s.waiting);
    set_number(L, "limit", s.limit);
    set_number(L, "sends", (double)s.sends);
    set_number(L, "retries", (double)s.retries);
    set_number(L, "throttled", (double)s.throttled);
    return 1;
}

/* ---- waiting ---- */

static int engine_wake(lua_State *L)
{
    rv_notify_ring(rv_check_engine(L)->bell);
    return 0;
}

static int engine_fd(lua_State *L)
{
    lua_pushinteger(L, rv_check_engine(L)->bell->fds[0]);
    return 1;
}

static int engine_doorbell(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    const char *path = luaL_checkstring(L, 2);
    if (e->bell->listener >= 0 || e->bell->connection >= 0)
        return luaL_error(L, "doorbell: the engine has one already");
    if (!rv_notify_listen(e->bell, path)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    int error = errno;
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", path, strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

static int engine_wait(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    double deadline = rv_now() + rv_checknum(L, 2, "seconds", 0, 86400 * 30);
    struct pollfd fds[2] = {{.fd = e->bell->fds[0], .events = POLLIN}, {.fd = rv_signal_fd(), .events = POLLIN}};
    int n;
    do {
        double left = deadline - rv_now();
        n = poll(fds, fds[1].fd >= 0 ? 2 : 1, left > 0 ? (int)fmin(ceil(left * 1000), 1e9) : 0);
    } while (n < 0 && errno == EINTR);
    lua_pushboolean(L, n > 0);
    return 1;
}

static int engine_tostring(lua_State *L)
{
    struct engine *e = luaL_checkudata(L, 1, ENGINE);
    lua_pushfstring(L, "revec.engine: %p (%s)", (void *)e, e->io ? "open" : "closed");
    return 1;
}

void rv_open_engine(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"route", engine_route}, {"submit", engine_submit}, {"poll", engine_poll}, {"room", engine_room},
        {"drain", engine_drain}, {"stats", engine_stats}, {"fd", engine_fd}, {"wait", engine_wait}, {"wake", engine_wake},
        {"doorbell", engine_doorbell},
        {"walk", rv_engine_walk}, {"next", rv_engine_next}, {"total", rv_engine_total}, {"close", engine_close_checked},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", engine_close}, {"__close", engine_close}, {"__tostring", engine_tostring}, {NULL, NULL},
    };
    luaL_newmetatable(L, ENGINE);
    luaL_setfuncs(L, meta, 0);
    luaL_newlibtable(L, methods);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, ENGINE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, engine_new);
    lua_setfield(L, -2, "engine");
}
