/*
 * revec.store: an index of vectors in one SQLite file, as a Lua module. The reference of its functions is doc/store.md.
 *
 * Every method is a body that runs in a transaction under pcall (run): an error of Lua's in the middle, such as no
 * memory, undoes the transaction like one of SQLite's does.
 */
#include "face.h"

#include <string.h>
#include <unistd.h>

#define STORE "revec.store"

/* ---- transactions ---- */

/* nil, "path: why" */
static int failure(lua_State *L, const struct rv_store *s)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", s->path ? s->path : "store", s->why);
    return 2;
}

static struct rv_store *check_store(lua_State *L)
{
    struct rv_store *s = luaL_checkudata(L, 1, STORE);
    if (s->pid && s->pid != getpid())
        luaL_error(L, "store: made before a fork: open the file again in this process");
    if (!s->db)
        luaL_error(L, "store: closed");
    if (s->in_use)
        luaL_error(L, "store: in use: a method of it is running");
    return s;
}

int rv_store_run(lua_State *L, int write, lua_CFunction body)
{
    struct rv_store *s = check_store(L);
    int n = lua_gettop(L);
    luaL_checkstack(L, n + 4, "too many arguments");
    /* The arguments stay where they are, so that nothing collects the store meanwhile. */
    lua_pushcfunction(L, body);
    for (int i = 1; i <= n; i++)
        lua_pushvalue(L, i);
    if (rv_store_begin(s, write))
        return failure(L, s);
    int error = lua_pcall(L, n, LUA_MULTRET, 0);
    int failed = rv_store_end(s, !error);
    if (error)
        return lua_error(L);
    return failed ? failure(L, s) : lua_gettop(L) - n;
}

struct rv_store *rv_store_of(lua_State *L)
{
    return lua_touserdata(L, 1);
}

/* ---- open, close ---- */

static const char *check_role(lua_State *L, const char *role)
{
    static const char *const roles[] = {"live", "next", "previous"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (!role || !strcmp(role, roles[i]))
            return roles[i];
    luaL_error(L, "collection: \"live\", \"next\" or \"previous\" expected, got %s", role);
    return NULL;
}

static const char *check_text(lua_State *L, int idx, const char *what)
{
    size_t len;
    const char *s = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &len) : NULL;
    if (!s || !len || strlen(s) != len)
        luaL_error(L, "%s: string expected, neither empty nor with NUL bytes, got %s", what, luaL_typename(L, idx));
    return s;
}

/* store.open(path [, options]) */
static int store_open(lua_State *L)
{
    const char *path = check_text(L, 1, "path");
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_newtable(L);
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    struct rv_store_options options = {
        .readonly = rv_optbool(L, 2, "readonly"),
        .timeout_ms = (int)(rv_optnum(L, 2, "timeout", 5, 0, 3600) * 1000),
        .max_bytes = rv_optint(L, 2, "max_bytes", 0, 0, (int64_t)1 << 52),
        .role = check_role(L, rv_optstr(L, 2, "collection")),
    };
    struct rv_store *s = lua_newuserdata(L, sizeof *s);
    memset(s, 0, sizeof *s);
    luaL_setmetatable(L, STORE);
    if (!rv_store_open(s, path, &options))
        return 1;
    failure(L, s);
    rv_store_close(s);
    return 2;
}

static int store_gc(lua_State *L)
{
    struct rv_store *s = lua_touserdata(L, 1);
    if (s->pid)
        rv_store_close(s);
    return 0;
}

/* store:close() */
static int store_close(lua_State *L)
{
    struct rv_store *s = luaL_checkudata(L, 1, STORE);
    if (s->in_use)
        return luaL_error(L, "store: in use: a method of it is running");
    return store_gc(L);
}

/* ---- collections ---- */

static int info_body(lua_State *L)
{
    const struct rv_store *s = rv_store_of(L);
    if (!s->number)
        return 0;
    lua_createtable(L, 0, 3);
    lua_pushstring(L, s->model);
    lua_setfield(L, -2, "model");
    lua_pushinteger(L, s->dimension);
    lua_setfield(L, -2, "dimension");
    lua_pushliteral(L, "cosine");
    lua_setfield(L, -2, "distance");
    return 1;
}

/* store:info() -> { model, dimension, distance }, or nothing */
static int store_info(lua_State *L)
{
    return rv_store_run(L, 0, info_body);
}

static int set_info_body(lua_State *L)
{
    struct rv_store *s = rv_store_of(L);
    const char *model = lua_tostring(L, 3);
    int dimension = (int)lua_tointeger(L, 4);
    lua_pushboolean(L, 1);
    if (s->number && s->dimension == dimension && !strcmp(s->model, model))
        return 1;
    if (s->number) {
        char why[RV_STORE_WHY];
        sqlite3_snprintf(RV_STORE_WHY, why, "holds vectors of %.64s (dimension %d), not of %.64s (dimension %d): use that,"
                         " name another file, or build the collection anew", s->model, s->dimension, model, dimension);
        rv_store_refuse(s, why);
    } else {
        rv_store_create(s, model, dimension);
    }
    return 1;
}

/* store:set_info { model, dimension [, distance] } -> true */
static int store_set_info(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_getfield(L, 2, "model");
    const char *model = check_text(L, 3, "model");
    if (strlen(model) > RV_STORE_MODEL)
        return luaL_error(L, "model: at most %d bytes expected, got %d", RV_STORE_MODEL, (int)strlen(model));
    lua_getfield(L, 2, "dimension");
    rv_checkint(L, 4, "dimension", 1, RV_STORE_DIMENSION);
    const char *distance = rv_optstr(L, 2, "distance");
    if (distance && strcmp(distance, "cosine") != 0)
        return luaL_error(L, "distance: \"cosine\" expected, got %s", distance);
    lua_settop(L, 4);
    return rv_store_run(L, 1, set_info_body);
}

static int clear_body(lua_State *L)
{
    rv_store_drop(rv_store_of(L));
    lua_pushboolean(L, 1);
    return 1;
}

/* store:clear() -> true */
static int store_clear(lua_State *L)
{
    return rv_store_run(L, 1, clear_body);
}

static int swap_body(lua_State *L)
{
    rv_store_swap(rv_store_of(L));
    lua_pushboolean(L, 1);
    return 1;
}

/* store:swap() -> true */
static int store_swap(lua_State *L)
{
    return rv_store_run(L, 1, swap_body);
}

static int rollback_body(lua_State *L)
{
    rv_store_rollback(rv_store_of(L));
    lua_pushboolean(L, 1);
    return 1;
}

/* store:rollback() -> true */
static int store_rollback(lua_State *L)
{
    return rv_store_run(L, 1, rollback_body);
}

__attribute__((visibility("default"))) int luaopen_revec_store(lua_State *L);

int luaopen_revec_store(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", store_close}, {"info", store_info}, {"set_info", store_set_info}, {"search", rv_store_search},
        {"clear", store_clear}, {"swap", store_swap}, {"rollback", store_rollback}, {NULL, NULL},
    };
    luaL_newmetatable(L, STORE);
    luaL_newlibtable(L, methods);
    luaL_setfuncs(L, methods, 0);
    luaL_setfuncs(L, rv_store_records, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, store_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, store_close);
    lua_setfield(L, -2, "__close");
    lua_pushliteral(L, STORE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, store_open);
    lua_setfield(L, -2, "open");
    return 1;
}
