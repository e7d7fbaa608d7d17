/* See content.h. */
#define _GNU_SOURCE
#include "content.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTOR "revec.vector"

static struct rv_vector *vector_at(lua_State *L, int idx)
{
    struct rv_vector **v = luaL_testudata(L, idx, VECTOR);
    return v ? *v : NULL;
}

static struct rv_vector *check_vector(lua_State *L)
{
    struct rv_vector *v = *(struct rv_vector **)luaL_checkudata(L, 1, VECTOR);
    if (!v)
        luaL_error(L, "vector: released");
    return v;
}

/* An empty one, to be filled once it can be collected. */
static struct rv_vector **push_vector(lua_State *L)
{
    struct rv_vector **v = lua_newuserdata(L, sizeof *v);
    *v = NULL;
    luaL_setmetatable(L, VECTOR);
    return v;
}

void rv_push_vectors(lua_State *L, const struct rv_vectors *vectors)
{
    lua_createtable(L, vectors->count, 0);
    for (int i = 0; i < vectors->count; i++) {
        if (vectors->list[i])
            *push_vector(L) = rv_vector_share(vectors->list[i]);
        else
            lua_pushboolean(L, 0);
        lua_rawseti(L, -2, i + 1);
    }
}

/* The numbers of the array at 1 as JSON, on the stack; raises for what is no finite number. */
static const char *numbers_to_json(lua_State *L, size_t *len)
{
    luaL_Buffer b;
    int n = (int)lua_rawlen(L, 1);
    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        char text[32];
        lua_rawgeti(L, 1, i);
        double x = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !isfinite(x))
            luaL_error(L, "vector: finite numbers expected in the array, got %s at %d", luaL_typename(L, -1), i);
        lua_pop(L, 1);
        snprintf(text, sizeof text, "%s%.9g", i > 1 ? "," : "[", x);
        char *comma = strchr(text + 1, ','); /* as the locale may have it */
        if (comma)
            *comma = '.';
        luaL_addstring(&b, text);
    }
    luaL_addstring(&b, n ? "]" : "[]");
    luaL_pushresult(&b);
    return lua_tolstring(L, -1, len);
}

/* core.vector(JSON or array of numbers) -> vector; or nil and what is wrong with it. */
static int vector_new(lua_State *L)
{
    size_t len;
    const char *why;
    lua_settop(L, 1);
    const char *json = lua_istable(L, 1) ? numbers_to_json(L, &len) : luaL_checklstring(L, 1, &len);
    struct rv_vector **v = push_vector(L);
    *v = rv_vector_new(json, len, &why);
    if (*v)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static int vector_gc(lua_State *L)
{
    struct rv_vector **v = lua_touserdata(L, 1);
    rv_vector_drop(*v);
    *v = NULL;
    return 0;
}

/* The collector sees a pointer where there are 50 KB: it is in no hurry. */
static int vector_release(lua_State *L)
{
    luaL_checkudata(L, 1, VECTOR);
    return vector_gc(L);
}

static int vector_dimension(lua_State *L)
{
    struct rv_vector *v = check_vector(L);
    lua_pushinteger(L, v->dimension);
    return 1;
}

static int vector_json(lua_State *L)
{
    struct rv_vector *v = check_vector(L);
    lua_pushlstring(L, v->json, v->len);
    return 1;
}

/* ---- bodies ---- */

static const char *text_field(lua_State *L, int idx, const char *key)
{
    size_t len;
    lua_getfield(L, idx, key);
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    lua_pop(L, 1); /* the table keeps it */
    return s && strlen(s) == len ? s : NULL;
}

void rv_check_body(lua_State *L, int idx)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    int n = (int)lua_rawlen(L, idx);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, idx, i);
        bool good = lua_type(L, -1) == LUA_TSTRING || vector_at(L, -1) || (lua_istable(L, -1) && text_field(L, lua_gettop(L), "file"));
        if (!good)
            luaL_error(L, "body: a string, a vector or {file = path} expected, got %s at %d", luaL_typename(L, -1), i);
        lua_pop(L, 1);
    }
}

bool rv_copy_body(lua_State *L, int idx, struct rv_body *body)
{
    int n = (int)lua_rawlen(L, idx);
    body->parts = calloc((size_t)n + 1, sizeof *body->parts);
    if (!body->parts)
        return false;
    for (int i = 1; i <= n; i++) {
        struct rv_part *p = &body->parts[body->count++];
        lua_rawgeti(L, idx, i);
        struct rv_vector *v = vector_at(L, -1);
        const char *text = NULL;
        if (v) {
            p->type = RV_PART_VECTOR;
            p->vector = rv_vector_share(v);
        } else if (lua_istable(L, -1)) {
            text = text_field(L, lua_gettop(L), "file");
            p->len = strlen(text);
            lua_getfield(L, -1, "base64");
            p->type = lua_toboolean(L, -1) ? RV_PART_BASE64 : RV_PART_FILE;
            lua_pop(L, 1);
        } else {
            p->type = RV_PART_TEXT;
            text = lua_tolstring(L, -1, &p->len);
        }
        if (text && (p->text = malloc(p->len + 1)))
            memcpy(p->text, text, p->len + 1);
        lua_pop(L, 1);
        if (text && !p->text)
            return false;
    }
    return true;
}

void rv_open_content(lua_State *L)
{
    static const luaL_Reg methods[] = {{"dimension", vector_dimension}, {"json", vector_json}, {"release", vector_release}, {NULL, NULL}};
    luaL_newmetatable(L, VECTOR);
    luaL_newlibtable(L, methods);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, vector_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, VECTOR);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, vector_new);
    lua_setfield(L, -2, "vector");
}
