/*
 * revec.internals: the C functions that have no Lua face of their own, for their specs, and three system calls that
 * the specs need. It converts arguments and results and decides nothing. Never installed.
 */
#define _GNU_SOURCE
#include "compat.h"
#include "glob.h"
#include "host.h"
#include "queue.h"
#include "retry.h"
#include "skim.h"
#include "text.h"
#include "tree.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOST "revec.internals.host"
#define LIST "revec.internals.list"
#define TREE "revec.internals.tree"
enum { MAX_STRINGS = 16 };

static double number_field(lua_State *L, int idx, const char *key, double fallback)
{
    lua_getfield(L, idx, key);
    double n = lua_isnil(L, -1) ? fallback : luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* The field's string, NULL for nil; it lives as long as the table. */
static const char *string_field(lua_State *L, int idx, const char *key, size_t *len)
{
    lua_getfield(L, idx, key);
    const char *s = lua_isnil(L, -1) ? NULL : luaL_checklstring(L, -1, len);
    lua_pop(L, 1);
    return s;
}

/* Fills list from the array at idx; the strings live as long as the table. */
static int strings_at(lua_State *L, int idx, const char **list)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    int n = (int)lua_rawlen(L, idx);
    luaL_argcheck(L, n < MAX_STRINGS, idx, "too many strings");
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, idx, i + 1);
        list[i] = luaL_checkstring(L, -1);
        lua_pop(L, 1);
    }
    list[n] = NULL;
    return n;
}

static int strings_field(lua_State *L, int idx, const char *key, const char **list)
{
    lua_getfield(L, idx, key);
    int n = lua_isnil(L, -1) ? 0 : strings_at(L, lua_gettop(L), list);
    lua_pop(L, 1);
    return n;
}

static void set_bool(lua_State *L, const char *key, bool b)
{
    lua_pushboolean(L, b);
    lua_setfield(L, -2, key);
}

/* ---- skim.h ---- */

/* skim(document, bytes at a time, {wanted…} [, list, its field]) -> {name = raw JSON}, complete, broken,
 * {name = true when truncated}, {of the list…} or nil when it was not seen */
static int in_skim(lua_State *L)
{
    size_t len;
    const char *document = luaL_checklstring(L, 1, &len);
    size_t step = (size_t)luaL_checkinteger(L, 2);
    const char *wanted[MAX_STRINGS];
    int n = strings_at(L, 3, wanted);
    struct rv_skim s = {0};
    struct rv_skim_wish wish = {wanted, n, luaL_optstring(L, 4, NULL), luaL_optstring(L, 5, NULL)};
    rv_skim_begin(&s, &wish);
    for (size_t at = 0; at < len; at += step) {
        /* Each piece in memory of its own size, so that reading beyond it is noticed. */
        size_t size = len - at < step ? len - at : step;
        char *piece = malloc(size);
        if (!piece)
            abort();
        memcpy(piece, document + at, size);
        rv_skim_feed(&s, piece, size);
        free(piece);
    }
    lua_newtable(L);
    lua_newtable(L);
    for (int i = 0; i < n; i++)
        if (s.values[i].text) {
            lua_pushlstring(L, s.values[i].text, s.values[i].len);
            lua_setfield(L, -3, wanted[i]);
            if (s.values[i].truncated)
                set_bool(L, wanted[i], true);
        }
    lua_pushboolean(L, rv_skim_complete(&s));
    lua_insert(L, -2);
    lua_pushboolean(L, s.state == RV_SKIM_BROKEN);
    lua_insert(L, -2);
    if (s.list_seen)
        lua_newtable(L);
    else
        lua_pushnil(L);
    const char *at = s.list.bytes;
    for (int i = 1; i <= s.list.count; i++) {
        uint32_t text_len;
        memcpy(&text_len, at, sizeof text_len);
        lua_pushlstring(L, at + sizeof text_len, text_len);
        lua_rawseti(L, -2, i);
        at += sizeof text_len + text_len;
    }
    rv_skim_free(&s);
    return 5;
}

/* unquote(raw JSON string) -> text or nil */
static int in_unquote(lua_State *L)
{
    size_t len;
    const char *raw = luaL_checklstring(L, 1, &len);
    char *text = malloc(len + 1);
    if (!text)
        abort();
    memcpy(text, raw, len);
    text[len] = 0;
    long n = rv_json_unquote(text, len);
    if (n >= 0)
        lua_pushlstring(L, text, (size_t)n);
    else
        lua_pushnil(L);
    free(text);
    return 1;
}

/* ---- retry.h ---- */

static const char *const transports[] = {"ok", "connect", "tls", "timeout", "cut", "garbage", "capped", NULL};

static enum rv_kind check_kind(lua_State *L, int idx)
{
    const char *name = luaL_checkstring(L, idx);
    for (int k = 0; k < RV_KINDS; k++)
        if (!strcmp(name, rv_kind_name((enum rv_kind)k)))
            return (enum rv_kind)k;
    luaL_argerror(L, idx, "no such kind");
    return RV_OK;
}

/* classify({rules}, {answer}) -> kind */
static int in_classify(lua_State *L)
{
    const char *throttle[MAX_STRINGS], *denied[MAX_STRINGS];
    int accepted[MAX_STRINGS];
    struct rv_rules rules = {
        .wants_json = rv_optbool(L, 1, "wants_json"),
        .status_field = rv_optbool(L, 1, "status_field"),
        .throttle = throttle,
        .throttle_count = strings_field(L, 1, "throttle", throttle),
        .denied = denied,
        .denied_count = strings_field(L, 1, "denied", denied),
        .accepted = accepted,
    };
    lua_getfield(L, 1, "accepted");
    rules.accepted_count = lua_istable(L, -1) ? (int)lua_rawlen(L, -1) : 0;
    for (int i = 0; i < rules.accepted_count && i < MAX_STRINGS; i++) {
        lua_rawgeti(L, -1, i + 1);
        accepted[i] = (int)luaL_checkinteger(L, -1);
        lua_pop(L, 1);
    }
    lua_getfield(L, 2, "transport");
    struct rv_answer a = {
        .transport = (enum rv_transport)luaL_checkoption(L, lua_gettop(L), "ok", transports),
        .status = (int)number_field(L, 2, "status", 0),
        .has_retry_after = rv_optbool(L, 2, "has_retry_after"),
        .json_complete = rv_optbool(L, 2, "json_complete"),
        .json_object = rv_optbool(L, 2, "json_object"),
    };
    a.said = string_field(L, 2, "said", NULL);
    a.body = string_field(L, 2, "body", &a.body_len);
    lua_pushstring(L, rv_kind_name(rv_classify(&rules, &a)));
    return 1;
}

/* decide({max_retries, retry_delay}, {kind, status, counted, backoffs, throttles, retry_after, random}) -> decision */
static int in_decide(lua_State *L)
{
    struct rv_policy policy = {
        .max_retries = (int)number_field(L, 1, "max_retries", 3),
        .retry_delay = number_field(L, 1, "retry_delay", 1),
    };
    lua_getfield(L, 2, "kind");
    struct rv_decision d = rv_decide(&policy, check_kind(L, lua_gettop(L)), (int)number_field(L, 2, "status", 0),
                                     (int)number_field(L, 2, "counted", 0), (int)number_field(L, 2, "backoffs", 0),
                                     (int)number_field(L, 2, "throttles", 0), number_field(L, 2, "retry_after", -1),
                                     number_field(L, 2, "random", 0.5));
    lua_newtable(L);
    set_bool(L, "retry", d.retry);
    set_bool(L, "counts", d.counts);
    set_bool(L, "holds", d.holds);
    lua_pushnumber(L, d.delay);
    lua_setfield(L, -2, "delay");
    return 1;
}

static int in_backoff(lua_State *L)
{
    lua_pushnumber(L, rv_backoff(luaL_checknumber(L, 1), (int)luaL_checkinteger(L, 2), luaL_checknumber(L, 3)));
    return 1;
}

static int in_retry_after(lua_State *L)
{
    const char *date = luaL_optstring(L, 2, NULL);
    lua_pushnumber(L, rv_retry_after(luaL_checkstring(L, 1), date, (int64_t)luaL_checknumber(L, 3)));
    return 1;
}

/* ---- host.h: the clock is an argument of every method ---- */

static struct rv_host *check_host(lua_State *L)
{
    return luaL_checkudata(L, 1, HOST);
}

static int in_host(lua_State *L)
{
    struct rv_settings settings = {
        .max_concurrent = (int)number_field(L, 1, "max_concurrent", 5),
        .adaptive = rv_optbool(L, 1, "adaptive"),
        .policy = {.retry_delay = number_field(L, 1, "retry_delay", 1)},
        .down_timeout = number_field(L, 1, "down_timeout", 60),
        .rate = number_field(L, 1, "rate", 0),
    };
    rv_host_init(lua_newuserdata(L, sizeof(struct rv_host)), &settings);
    luaL_setmetatable(L, HOST);
    return 1;
}

static int host_limit(lua_State *L)
{
    lua_pushinteger(L, rv_host_limit(check_host(L), luaL_checknumber(L, 2)));
    return 1;
}

static int host_wakes(lua_State *L)
{
    lua_pushnumber(L, rv_host_wakes(check_host(L), luaL_checknumber(L, 2)));
    return 1;
}

static int host_connected(lua_State *L)
{
    check_host(L)->connected = true;
    return 0;
}

/* host:sending(now) -> its level */
static int host_sending(lua_State *L)
{
    lua_pushinteger(L, rv_host_sending(check_host(L), luaL_checknumber(L, 2)));
    return 1;
}

/* host:level(now) -> how many may be in flight when nothing holds them back */
static int host_level(lua_State *L)
{
    lua_pushinteger(L, rv_host_level(check_host(L), luaL_checknumber(L, 2)));
    return 1;
}

/* host:ended(now, sent, level, kind [, hold [, wait]]): throttled when there is a hold -> how much of the hold is left */
static int host_ended(lua_State *L)
{
    struct rv_host *host = check_host(L);
    struct rv_request *r = rv_request_new(NULL, "", NULL, NULL, 0);
    if (!r)
        return luaL_error(L, "out of memory");
    r->sent_at = luaL_checknumber(L, 3);
    r->level = (int)luaL_checkinteger(L, 4);
    r->kind = check_kind(L, 5);
    r->status = r->kind == RV_UNREACHABLE || r->kind == RV_TIMEOUT ? 0 : 200;
    struct rv_decision d = {.holds = !lua_isnoneornil(L, 6), .delay = luaL_optnumber(L, 6, 0)};
    rv_host_ended(host, r, &d, luaL_optnumber(L, 7, -1), luaL_checknumber(L, 2));
    rv_request_free(r);
    lua_pushnumber(L, d.delay);
    return 1;
}

/* host:throttles() -> throttled answers in a row */
static int host_throttles(lua_State *L)
{
    lua_pushinteger(L, check_host(L)->throttles);
    return 1;
}

/* host:answered(now [, hold, announced, why [, sent]]): throttled when there is a hold; sent: now */
static int host_answered(lua_State *L)
{
    double now = luaL_checknumber(L, 2);
    rv_host_answered(check_host(L), now, luaL_optnumber(L, 6, now), !lua_isnoneornil(L, 3), luaL_optnumber(L, 3, 0),
                     lua_toboolean(L, 4), luaL_optstring(L, 5, NULL));
    return 0;
}

static int host_silent(lua_State *L)
{
    rv_host_silent(check_host(L), luaL_checknumber(L, 2), luaL_optstring(L, 3, NULL));
    return 0;
}

static int host_probe_due(lua_State *L)
{
    lua_pushboolean(L, rv_host_probe_due(check_host(L), luaL_checknumber(L, 2)));
    return 1;
}

static int host_probing(lua_State *L)
{
    rv_host_probing(check_host(L));
    return 0;
}

static int host_probed(lua_State *L)
{
    rv_host_probed(check_host(L), luaL_checknumber(L, 2));
    return 0;
}

static int host_tick(lua_State *L)
{
    rv_host_tick(check_host(L), luaL_checknumber(L, 2));
    return 0;
}

static int host_give_up(lua_State *L)
{
    rv_host_give_up(check_host(L), luaL_checkstring(L, 2));
    return 0;
}

static int host_state(lua_State *L)
{
    static const char *const states[] = {"starting", "running", "throttled", "paused", "down"};
    lua_pushstring(L, states[check_host(L)->state]);
    lua_pushstring(L, check_host(L)->reason);
    return 2;
}

/* ---- tree.h ---- */

struct tree {
    struct rv_tree *tree;
    const char *extensions[MAX_STRINGS];
    struct rv_sieve sieve;
};

/* tree(folder, {extensions…}, counting) */
static int in_tree(lua_State *L)
{
    const char *root = luaL_checkstring(L, 1);
    struct tree *t = lua_newuserdata(L, sizeof *t);
    memset(t, 0, sizeof *t);
    luaL_setmetatable(L, TREE);
    strings_at(L, 2, t->extensions);
    /* The strings belong to the table. */
    lua_newtable(L);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 1);
    lua_setuservalue(L, -2);
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return luaL_error(L, "%s: %s", root, strerror(errno));
    static const char *const none[] = {NULL};
    t->sieve = (struct rv_sieve){t->extensions, none, none, 0, UINT64_MAX, -HUGE_VAL, 1, 1};
    t->tree = rv_tree_open(fd, &t->sieve, lua_toboolean(L, 3));
    return 1;
}

/* tree:next() -> "image", path | "folder", path, error | "read", path, images | "end" */
static int tree_next(lua_State *L)
{
    static const char *const results[] = {"image", "folder", "refused", "read", "end"};
    struct tree *t = luaL_checkudata(L, 1, TREE);
    luaL_argcheck(L, t->tree, 1, "closed");
    struct rv_tree_entry e = {0};
    enum rv_tree_result r = rv_tree_next(t->tree, &e);
    lua_pushstring(L, results[r]);
    if (r == RV_TREE_END)
        return 1;
    lua_pushlstring(L, e.len ? e.path : "", e.len);
    if (r == RV_TREE_IMAGE)
        return 2;
    if (r == RV_TREE_FOLDER)
        lua_pushstring(L, strerror(e.error));
    else
        lua_pushinteger(L, (lua_Integer)e.images);
    return 3;
}

static int tree_close(lua_State *L)
{
    struct tree *t = lua_touserdata(L, 1);
    rv_tree_close(t->tree);
    t->tree = NULL;
    return 0;
}

/* ---- glob.h ---- */

/* glob(pattern, path, folder) */
static int in_glob(lua_State *L)
{
    size_t len;
    const char *path = luaL_checklstring(L, 2, &len);
    lua_pushboolean(L, rv_glob_match(luaL_checkstring(L, 1), path, len, lua_toboolean(L, 3)));
    return 1;
}

/* ---- queue.h: requests are told apart by their item and due times ---- */

static const struct rv_route no_route;

static struct rv_request *request(int item, double due)
{
    struct rv_request *r = rv_request_new(&no_route, "", NULL, NULL, item);
    if (!r)
        abort();
    r->due = due;
    return r;
}

/* heap({due times…}) -> the same in the order in which they come out */
static int in_heap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct rv_heap heap = {0};
    int n = (int)lua_rawlen(L, 1);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        rv_heap_push(&heap, request(i, lua_tonumber(L, -1)));
        lua_pop(L, 1);
    }
    lua_newtable(L);
    for (int i = 1; heap.count; i++) {
        struct rv_request *r = rv_heap_pop(&heap);
        lua_pushnumber(L, r->due);
        lua_rawseti(L, -2, i);
        rv_request_free(r);
    }
    rv_heap_free(&heap);
    return 1;
}

static int in_list(lua_State *L)
{
    rv_list_init(lua_newuserdata(L, sizeof(struct rv_list)));
    luaL_setmetatable(L, LIST);
    return 1;
}

static int list_push(lua_State *L)
{
    rv_list_push(luaL_checkudata(L, 1, LIST), request((int)luaL_checkinteger(L, 2), 0));
    return 0;
}

static int list_push_front(lua_State *L)
{
    rv_list_push_front(luaL_checkudata(L, 1, LIST), request((int)luaL_checkinteger(L, 2), 0));
    return 0;
}

static int list_pop(lua_State *L)
{
    struct rv_request *r = rv_list_pop(luaL_checkudata(L, 1, LIST));
    if (!r)
        return 0;
    lua_pushinteger(L, r->item);
    rv_request_free(r);
    return 1;
}

static int list_append(lua_State *L)
{
    rv_list_append(luaL_checkudata(L, 1, LIST), luaL_checkudata(L, 2, LIST));
    return 0;
}

static int list_count(lua_State *L)
{
    lua_pushinteger(L, ((struct rv_list *)luaL_checkudata(L, 1, LIST))->count);
    return 1;
}

static int list_gc(lua_State *L)
{
    rv_list_free(lua_touserdata(L, 1));
    return 0;
}

/* ---- text.h ---- */

/* utf8(s) -> bytes of its first character, 0 when that is none, and its code point */
static int in_utf8(lua_State *L)
{
    size_t len;
    const char *s = luaL_checklstring(L, 1, &len);
    uint32_t c = 0;
    lua_pushinteger(L, (lua_Integer)rv_utf8((const unsigned char *)s, len, &c));
    lua_pushinteger(L, (lua_Integer)c);
    return 2;
}

static int in_width(lua_State *L)
{
    lua_pushinteger(L, rv_width((uint32_t)luaL_checkinteger(L, 1)));
    return 1;
}

/* ---- the system ---- */

/* fork() -> 0 in the child, its number in the parent */
static int in_fork(lua_State *L)
{
    lua_pushinteger(L, fork());
    return 1;
}

/* exit(code): at once, without a word to anybody */
static int in_exit(lua_State *L)
{
    _exit((int)luaL_checkinteger(L, 1));
}

/* wait(child) -> "exit", code | "signal", number | nil, reason */
static int in_wait(lua_State *L)
{
    int status;
    if (waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0) < 0) {
        lua_pushnil(L);
        lua_pushstring(L, strerror(errno));
        return 2;
    }
    lua_pushstring(L, WIFSIGNALED(status) ? "signal" : "exit");
    lua_pushinteger(L, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 2;
}

/* seteuid(user) -> whether that worked */
static int in_seteuid(lua_State *L)
{
    lua_pushboolean(L, !seteuid((uid_t)luaL_checkinteger(L, 1)));
    return 1;
}

/* curl_global_cleanup() */
static int in_curl_cleanup(lua_State *L)
{
    (void)L;
    curl_global_cleanup();
    return 0;
}

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    if (gc) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_revec_internals(lua_State *L);

int luaopen_revec_internals(lua_State *L)
{
    static const luaL_Reg host_methods[] = {
        {"limit", host_limit}, {"wakes", host_wakes}, {"connected", host_connected}, {"sending", host_sending},
        {"level", host_level}, {"ended", host_ended}, {"throttles", host_throttles},
        {"answered", host_answered}, {"silent", host_silent}, {"probe_due", host_probe_due}, {"probing", host_probing},
        {"probed", host_probed}, {"tick", host_tick}, {"give_up", host_give_up}, {"state", host_state}, {NULL, NULL},
    };
    static const luaL_Reg tree_methods[] = {{"next", tree_next}, {"close", tree_close}, {NULL, NULL}};
    static const luaL_Reg list_methods[] = {
        {"push", list_push}, {"push_front", list_push_front}, {"pop", list_pop}, {"append", list_append},
        {"count", list_count}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"skim", in_skim}, {"unquote", in_unquote}, {"classify", in_classify}, {"decide", in_decide},
        {"backoff", in_backoff}, {"retry_after", in_retry_after}, {"host", in_host}, {"tree", in_tree}, {"glob", in_glob}, {"heap", in_heap},
        {"list", in_list}, {"utf8", in_utf8}, {"width", in_width}, {"fork", in_fork}, {"exit", in_exit},
        {"wait", in_wait}, {"seteuid", in_seteuid}, {"curl_cleanup", in_curl_cleanup}, {NULL, NULL},
    };
    new_class(L, HOST, host_methods, NULL);
    new_class(L, TREE, tree_methods, tree_close);
    new_class(L, LIST, list_methods, list_gc);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
