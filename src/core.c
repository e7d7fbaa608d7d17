/* revec.core: the C side of revec as a Lua module. The reference of its functions is doc/core.md. */
#include "content.h"
#include "core.h"
#include "idset.h"
#include "proxy.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#define IDSET "revec.idset"

static struct rv_idset **check_idset(lua_State *L)
{
    return luaL_checkudata(L, 1, IDSET);
}

static int idset_new(lua_State *L)
{
    struct rv_idset **s = lua_newuserdata(L, sizeof *s);
    *s = NULL;
    luaL_setmetatable(L, IDSET);
    *s = rv_idset_new();
    return *s ? 1 : luaL_error(L, "idset: out of memory");
}

static int idset_gc(lua_State *L)
{
    struct rv_idset **s = lua_touserdata(L, 1);
    rv_idset_free(*s);
    *s = NULL;
    return 0;
}

static struct rv_idset *open_idset(lua_State *L)
{
    struct rv_idset *s = *check_idset(L);
    luaL_argcheck(L, s, 1, "the set is gone");
    return s;
}

static int opt_mark(lua_State *L, int idx)
{
    return lua_isnoneornil(L, idx) ? 1 : (int)rv_checkint(L, idx, "mark", 1, 2);
}

static int idset_add(lua_State *L)
{
    size_t len;
    const char *id = luaL_checklstring(L, 2, &len);
    int added = rv_idset_add(open_idset(L), id, len, opt_mark(L, 3));
    if (added < 0)
        return luaL_error(L, "idset: out of memory");
    lua_pushboolean(L, added);
    return 1;
}

static int idset_has(lua_State *L)
{
    size_t len;
    const char *id = luaL_checklstring(L, 2, &len);
    lua_pushboolean(L, rv_idset_has(open_idset(L), id, len, opt_mark(L, 3)));
    return 1;
}

static int idset_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)rv_idset_count(open_idset(L)));
    return 1;
}

static int idset_bytes(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)rv_idset_bytes(open_idset(L)));
    return 1;
}

static void open_idsets(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"add", idset_add}, {"has", idset_has}, {"count", idset_count}, {"bytes", idset_bytes}, {NULL, NULL},
    };
    luaL_newmetatable(L, IDSET);
    luaL_newlibtable(L, methods);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, idset_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "revec.idset");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, idset_new);
    lua_setfield(L, -2, "idset");
}

/* libcurl writes it into the same memory each time, and Lua states may load this module in several threads. */
static pthread_once_t version_once = PTHREAD_ONCE_INIT;
static const char *libcurl;

static void read_version(void)
{
    libcurl = curl_version();
}

/* core.proxy(url [, proxy]) -> the proxy that libcurl uses for the URL, the environment variable that names it (nil: the
 * argument does), whether libcurl can use it; nothing when there is none. Nothing is resolved or sent. */
static int proxy_for(lua_State *L)
{
    const char *url = luaL_checkstring(L, 1), *proxy = luaL_optstring(L, 2, NULL);
    struct rv_proxy found;
    if (rv_proxy_find(url, proxy, &found))
        return luaL_error(L, "proxy: out of memory");
    if (!found.used)
        return 0;
    bool named = found.variable[0];
    lua_pushstring(L, named ? getenv(found.variable) : proxy);
    lua_pushstring(L, named ? found.variable : NULL);
    lua_pushboolean(L, !found.unusable);
    return 3;
}

__attribute__((visibility("default"))) int luaopen_revec_core(lua_State *L);

int luaopen_revec_core(lua_State *L)
{
    lua_newtable(L);
    lua_pushliteral(L, REVEC_VERSION);
    lua_setfield(L, -2, "version");
    pthread_once(&version_once, read_version);
    lua_pushstring(L, libcurl);
    lua_setfield(L, -2, "libcurl");
    lua_pushcfunction(L, proxy_for);
    lua_setfield(L, -2, "proxy");
    open_idsets(L);
    rv_open_engine(L);
    rv_open_content(L);
    rv_open_system(L);
    rv_open_text(L);
    rv_open_walking(L);
    rv_open_workers(L);
    return 1;
}
