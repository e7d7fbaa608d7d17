/* The engine's walk as Lua sees it; engine.c has the rest of its face. */
#define _GNU_SOURCE
#include "engine.h"
#include "glob.h"
#include "list.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* The field's array of strings, ended with NULL: the array belongs to a userdata that stays on the stack, the strings to
 * the table at idx. */
static const char *const *strings_of(lua_State *L, int idx, const char *key, bool needed)
{
    lua_getfield(L, idx, key);
    bool there = lua_istable(L, -1);
    if (!there && (needed || !lua_isnil(L, -1)))
        luaL_error(L, "%s: array of strings expected", key);
    int n = there ? (int)lua_rawlen(L, -1) : 0, list = lua_gettop(L);
    const char **strings = lua_newuserdata(L, ((size_t)n + 1) * sizeof *strings);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, list, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "%s: array of strings expected", key);
        strings[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    strings[n] = NULL;
    return strings;
}

static const char *const *patterns_of(lua_State *L, int idx, const char *key)
{
    const char *const *patterns = strings_of(L, idx, key, false);
    for (const char *const *p = patterns; *p; p++) {
        const char *why = rv_glob_error(*p);
        if (why)
            luaL_error(L, "%s: %s: %s", key, *p, why);
    }
    return patterns;
}

/* What the table at idx says of the images to take; its strings belong to Lua. */
static struct rv_sieve sieve_of(lua_State *L, int idx)
{
    const int64_t most = INT64_C(1) << 53;
    struct rv_sieve s = {
        .extensions = strings_of(L, idx, "extensions", true),
        .include = patterns_of(L, idx, "include"),
        .exclude = patterns_of(L, idx, "exclude"),
        .min_size = (uint64_t)rv_optint(L, idx, "min_size", 0, 0, most),
        .max_size = (uint64_t)rv_optint(L, idx, "max_size", -1, 0, most),
        .newer_than = rv_optnum(L, idx, "newer_than", -HUGE_VAL, -1e12, 1e12),
        .shards = (uint32_t)rv_optint(L, idx, "shards", 1, 1, UINT32_MAX),
    };
    s.shard = (uint32_t)rv_optint(L, idx, "shard", 1, 1, s.shards);
    return s;
}

int rv_engine_walk(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (e->walk)
        return luaL_error(L, "walk: this engine walks already");
    uint64_t limit = (uint64_t)rv_optint(L, 2, "limit", 0, 0, INT64_C(1) << 53);
    const char *root = rv_optstr(L, 2, "root");
    luaL_argcheck(L, root, 2, "root: string expected");
    const char *files_from = rv_optstr(L, 2, "files_from");
    struct rv_sieve sieve = sieve_of(L, 2);
    bool list_failed;
    e->walk = rv_walk_open(root, files_from, &sieve, limit, e->nice, e->bell, &list_failed);
    if (e->walk) {
        lua_pushboolean(L, 1);
        return 1;
    }
    int error = errno;
    lua_pushnil(L);
    /* Nothing else here gives EAGAIN, whose own words would be taken for the folder's fault. */
    lua_pushstring(L, error == EAGAIN ? "no thread can be started" : strerror(error));
    lua_pushinteger(L, error);
    lua_pushstring(L, list_failed ? "files_from" : "root");
    return 4;
}

static struct rv_walk *check_walk(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    if (!e->walk)
        luaL_error(L, "walk: not started");
    return e->walk;
}

int rv_engine_next(lua_State *L)
{
    struct rv_walk *w = check_walk(L);
    const char *path;
    size_t len;
    int error;
    /* Passed only once it is pushed: an error for want of memory loses no image. */
    switch (rv_walk_next(w, &path, &len, &error)) {
    case RV_WALK_IMAGE:
        lua_pushlstring(L, path, len);
        path = rv_stem(path, &len);
        lua_pushlstring(L, path, len);
        rv_walk_pass(w);
        return 2;
    case RV_WALK_FOLDER:
        lua_pushnil(L);
        lua_pushliteral(L, "folder");
        lua_pushlstring(L, path, len);
        lua_pushstring(L, strerror(error));
        rv_walk_pass(w);
        return 4;
    case RV_WALK_REFUSED:
        lua_pushnil(L);
        lua_pushliteral(L, "entry");
        lua_pushlstring(L, path, len);
        lua_pushstring(L, rv_list_reason(error));
        rv_walk_pass(w);
        return 4;
    case RV_WALK_WAIT:
        lua_pushnil(L);
        lua_pushliteral(L, "wait");
        return 2;
    default:
        lua_pushnil(L);
        lua_pushliteral(L, "end");
        return 2;
    }
}

int rv_engine_total(lua_State *L)
{
    bool known;
    struct rv_walk *walk = check_walk(L);
    uint64_t total = rv_walk_total(walk, &known);
    lua_pushinteger(L, (lua_Integer)total);
    lua_pushboolean(L, known);
    lua_pushinteger(L, (lua_Integer)rv_walk_filtered(walk));
    return 3;
}

/* core.shard(id, shards) -> which shard the id belongs to, 1..shards. */
static int shard(lua_State *L)
{
    size_t len;
    const char *id = luaL_checklstring(L, 1, &len);
    lua_pushinteger(L, rv_shard(id, len, (uint32_t)rv_checkint(L, 2, "shards", 1, UINT32_MAX)));
    return 1;
}

/* core.glob_error(pattern) -> why it is no pattern for include and exclude, or nil. */
static int glob_error(lua_State *L)
{
    lua_pushstring(L, rv_glob_error(luaL_checkstring(L, 1)));
    return 1;
}

void rv_open_walking(lua_State *L)
{
    static const luaL_Reg functions[] = {{"shard", shard}, {"glob_error", glob_error}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
