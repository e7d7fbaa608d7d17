/* See compat.h. */
#include "compat.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#if LUA_VERSION_NUM < 502
void luaL_setfuncs(lua_State *L, const luaL_Reg *l, int nup)
{
    luaL_checkstack(L, nup + 1, "too many upvalues");
    for (; l->name; l++) {
        for (int i = 0; i < nup; i++)
            lua_pushvalue(L, -nup);
        lua_pushcclosure(L, l->func, nup);
        lua_setfield(L, -(nup + 2), l->name);
    }
    lua_pop(L, nup);
}

void *luaL_testudata(lua_State *L, int idx, const char *name)
{
    void *p = lua_touserdata(L, idx);
    if (!p || !lua_getmetatable(L, idx))
        return NULL;
    luaL_getmetatable(L, name);
    if (!lua_rawequal(L, -1, -2))
        p = NULL;
    lua_pop(L, 2);
    return p;
}

void luaL_setmetatable(lua_State *L, const char *name)
{
    luaL_getmetatable(L, name);
    lua_setmetatable(L, -2);
}
#endif

/* lua_pushfstring writes 1024.0 on some Luas and 1024 on others: the range is written here. */
static int refuse(lua_State *L, int idx, const char *what, const char *type, double lo, double hi)
{
    char range[64], got[32];
    snprintf(range, sizeof range, "%.14g..%.14g", lo, hi);
    if (lua_type(L, idx) == LUA_TNUMBER)
        snprintf(got, sizeof got, "%.14g", (double)lua_tonumber(L, idx));
    else
        snprintf(got, sizeof got, "%s", luaL_typename(L, idx));
    return luaL_error(L, "%s: %s %s expected, got %s", what, type, range, got);
}

int64_t rv_checkint(lua_State *L, int idx, const char *what, int64_t lo, int64_t hi)
{
    double n = lua_type(L, idx) == LUA_TNUMBER ? (double)lua_tonumber(L, idx) : NAN;
    if (!(n >= (double)lo && n <= (double)hi) || n != floor(n))
        refuse(L, idx, what, "integer", (double)lo, (double)hi);
    return (int64_t)n;
}

double rv_checknum(lua_State *L, int idx, const char *what, double lo, double hi)
{
    double n = lua_type(L, idx) == LUA_TNUMBER ? (double)lua_tonumber(L, idx) : NAN;
    if (!(n >= lo && n <= hi))
        refuse(L, idx, what, "number", lo, hi);
    return n;
}

int64_t rv_optint(lua_State *L, int idx, const char *key, int64_t fallback, int64_t lo, int64_t hi)
{
    lua_getfield(L, idx, key);
    int64_t n = lua_isnil(L, -1) ? fallback : rv_checkint(L, lua_gettop(L), key, lo, hi);
    lua_pop(L, 1);
    return n;
}

double rv_optnum(lua_State *L, int idx, const char *key, double fallback, double lo, double hi)
{
    lua_getfield(L, idx, key);
    double n = lua_isnil(L, -1) ? fallback : rv_checknum(L, lua_gettop(L), key, lo, hi);
    lua_pop(L, 1);
    return n;
}

int rv_optbool(lua_State *L, int idx, const char *key)
{
    lua_getfield(L, idx, key);
    int truth = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return truth;
}

const char *rv_optstr(lua_State *L, int idx, const char *key)
{
    lua_getfield(L, idx, key);
    if (lua_isnil(L, -1))
        return NULL;
    size_t len;
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (!s || strlen(s) != len)
        luaL_error(L, "%s: string without NUL bytes expected, got %s", key, luaL_typename(L, -1));
    return s;
}
