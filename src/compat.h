/*
 * The Lua C API as 5.3 and later name it, for 5.1 (LuaJIT shares its ABI), 5.2, 5.3 and 5.4,
 * and number arguments that no host turns into something else silently.
 *
 * One build per Lua version; the 5.1 build serves LuaJIT too, so nothing here may use what only
 * LuaJIT exports.
 */
#ifndef RV_COMPAT_H
#define RV_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen lua_objlen
#define lua_setuservalue lua_setfenv
#define lua_getuservalue lua_getfenv
#undef luaL_newlibtable /* LuaJIT's headers have it, 5.1's do not */
#define luaL_newlibtable(L, l) lua_createtable(L, 0, (int)(sizeof(l) / sizeof((l)[0]) - 1))
/* LuaJIT exports these names, 5.1 does not: ours have names of their own, so that none clash. */
#define luaL_setfuncs rv_setfuncs
#define luaL_testudata rv_testudata
#define luaL_setmetatable rv_setmetatable
void rv_setfuncs(lua_State *L, const luaL_Reg *l, int nup);
void *rv_testudata(lua_State *L, int idx, const char *name);
void rv_setmetatable(lua_State *L, const char *name);
#endif

/* An integer argument or field at idx, in lo..hi; raises "what: integer lo..hi expected, got …" for
 * anything else, fractions and NaN included, on every Lua. Limits are within +-2^53. */
int64_t rv_checkint(lua_State *L, int idx, const char *what, int64_t lo, int64_t hi);

/* A finite number in lo..hi; raises likewise. */
double rv_checknum(lua_State *L, int idx, const char *what, double lo, double hi);

/* Options in the table at idx: the field's value, or fallback when it is nil. Raise likewise. */
int64_t rv_optint(lua_State *L, int idx, const char *key, int64_t fallback, int64_t lo, int64_t hi);
double rv_optnum(lua_State *L, int idx, const char *key, double fallback, double lo, double hi);
int rv_optbool(lua_State *L, int idx, const char *key);

/* The field's string without NUL bytes, or NULL when it is nil. The string stays pushed on the stack,
 * so it is valid until the caller pops it. */
const char *rv_optstr(lua_State *L, int idx, const char *key);

#endif
