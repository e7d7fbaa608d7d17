/* The engine's walk as Lua sees it; engine.c has the rest of its face. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <string.h>

int rv_engine_walk(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (e->walk)
        return luaL_error(L, "walk: this engine walks already");
    uint64_t limit = (uint64_t)rv_optint(L, 2, "limit", 0, 0, INT64_C(1) << 53);
    const char *root = rv_optstr(L, 2, "root");
    luaL_argcheck(L, root, 2, "root: string expected");
    /* The array of extensions belongs to a userdata, the strings to the table. */
    lua_getfield(L, 2, "extensions");
    if (!lua_istable(L, -1))
        return luaL_error(L, "extensions: array of strings expected");
    int n = (int)lua_rawlen(L, -1), list = lua_gettop(L);
    const char **extensions = lua_newuserdata(L, ((size_t)n + 1) * sizeof *extensions);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, list, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            return luaL_error(L, "extensions: array of strings expected");
        extensions[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    extensions[n] = NULL;
    e->walk = rv_walk_open(root, extensions, limit, &e->notify);
    if (e->walk) {
        lua_pushboolean(L, 1);
        return 1;
    }
    int error = errno;
    lua_pushnil(L);
    /* Nothing else here gives EAGAIN, whose own words would be taken for the folder's fault. */
    lua_pushstring(L, error == EAGAIN ? "no thread can be started" : strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

static struct rv_walk *check_walk(lua_State *L)
{
    struct engine *e = rv_check_engine(L);
    if (!e->walk)
        luaL_error(L, "walk: not started");
    return e->walk;
}

/* The file's name without its last extension. */
static void push_stem(lua_State *L, const char *path, size_t len)
{
    const char *slash = memrchr(path, '/', len);
    const char *name = slash ? slash + 1 : path;
    size_t name_len = len - (size_t)(name - path);
    const char *dot = memrchr(name, '.', name_len);
    lua_pushlstring(L, name, dot && dot > name ? (size_t)(dot - name) : name_len);
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
        push_stem(L, path, len);
        rv_walk_pass(w);
        return 2;
    case RV_WALK_FOLDER:
        lua_pushnil(L);
        lua_pushliteral(L, "folder");
        lua_pushlstring(L, path, len);
        lua_pushstring(L, strerror(error));
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
    uint64_t total = rv_walk_total(check_walk(L), &known);
    lua_pushinteger(L, (lua_Integer)total);
    lua_pushboolean(L, known);
    return 2;
}
