/* revec.store's methods on records: putting them in, asking for them by id. */
#include "face.h"

#include <math.h>
#include <string.h>

enum { MAX_PAGE = 1000000 };

float *rv_store_new_vector(lua_State *L, int dimension)
{
    return lua_newuserdata(L, (size_t)dimension * sizeof(float));
}

static int read_numbers(lua_State *L, int idx, float *out, int dimension, char why[RV_VECTOR_WHY])
{
    size_t len, n = (size_t)dimension;
    if (lua_type(L, idx) == LUA_TSTRING) {
        const char *bytes = lua_tolstring(L, idx, &len);
        return rv_vector_read(bytes, len, out, n, why);
    }
    if (lua_type(L, idx) != LUA_TTABLE) {
        lua_pushfstring(L, "vector: string or array of numbers expected, got %s", luaL_typename(L, idx));
    } else if (lua_rawlen(L, idx) != n) {
        lua_pushfstring(L, "vector: dimension %d expected, got %d", dimension, (int)lua_rawlen(L, idx));
    } else {
        for (int i = 1; i <= dimension; i++) {
            lua_rawgeti(L, idx, i);
            if (lua_type(L, -1) != LUA_TNUMBER) {
                lua_pushfstring(L, "vector: number %d of %d is a %s", i, dimension, luaL_typename(L, -1));
                break;
            }
            double v = (double)lua_tonumber(L, -1);
            /* A double beyond float's range must not be converted: C leaves that undefined. */
            out[i - 1] = v >= -3.4028235677973366e38 && v <= 3.4028235677973366e38 ? (float)v : (float)INFINITY;
            lua_pop(L, 1);
            if (i == dimension)
                return 0;
        }
    }
    why[0] = 0;
    strncat(why, lua_tostring(L, -1), RV_VECTOR_WHY - 1);
    return -1;
}

double rv_store_read_vector(lua_State *L, int idx, float *out, int dimension, char why[RV_VECTOR_WHY])
{
    return read_numbers(L, idx, out, dimension, why) ? -1 : rv_vector_norm(out, (size_t)dimension, why);
}

/* Binds the field to a parameter: a string, or nothing when it is nil. -1 with why when it is something else. */
static int bind_text(lua_State *L, int record, const char *key, sqlite3_stmt *statement, int parameter, char why[RV_VECTOR_WHY])
{
    size_t len;
    lua_getfield(L, record, key);
    if (lua_isnil(L, -1)) {
        sqlite3_bind_null(statement, parameter);
        return 0;
    }
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (!text || len > RV_STORE_TEXT) {
        sqlite3_snprintf(RV_VECTOR_WHY, why, "%s: string of at most %d bytes expected, got %s", key, RV_STORE_TEXT,
                         text ? "a longer one" : luaL_typename(L, -1));
        return -1;
    }
    /* It stays on the stack until the statement has run. */
    sqlite3_bind_text(statement, parameter, text, (int)len, SQLITE_STATIC);
    return 0;
}

static int bind_number(lua_State *L, int record, const char *key, sqlite3_stmt *statement, int parameter, int whole,
                       char why[RV_VECTOR_WHY])
{
    const double most = 9007199254740992.0;
    lua_getfield(L, record, key);
    double v = lua_type(L, -1) == LUA_TNUMBER ? (double)lua_tonumber(L, -1) : most * 2;
    int is_nil = lua_isnil(L, -1);
    if (is_nil)
        sqlite3_bind_null(statement, parameter);
    else if (!(v >= -most && v <= most) || (whole && v != (double)(int64_t)v))
        sqlite3_snprintf(RV_VECTOR_WHY, why, "%s: %s within 2^53 expected", key, whole ? "integer" : "number");
    else if (whole)
        sqlite3_bind_int64(statement, parameter, (int64_t)v);
    else
        sqlite3_bind_double(statement, parameter, v);
    lua_pop(L, 1);
    return *why ? -1 : 0;
}

/* Binds all of the record on top of the stack; 0, or -1 with why. */
static int bind_record(lua_State *L, const struct rv_store *s, sqlite3_stmt *statement, float *vector, char why[RV_VECTOR_WHY])
{
    int record = lua_gettop(L);
    size_t len = 0;
    if (lua_type(L, record) != LUA_TTABLE) {
        sqlite3_snprintf(RV_VECTOR_WHY, why, "record: table expected, got %s", luaL_typename(L, record));
        return -1;
    }
    lua_getfield(L, record, "id");
    const char *id = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (!id || !len || len > RV_STORE_ID) {
        sqlite3_snprintf(RV_VECTOR_WHY, why, "id: string of 1..%d bytes expected, got %s", RV_STORE_ID,
                         !id ? luaL_typename(L, -1) : len ? "a longer one" : "an empty one");
        return -1;
    }
    sqlite3_bind_text(statement, 1, id, (int)len, SQLITE_STATIC);
    if (bind_text(L, record, "path", statement, 2, why) || bind_text(L, record, "tags", statement, 3, why) ||
        bind_number(L, record, "mtime", statement, 4, 0, why) || bind_number(L, record, "size", statement, 5, 1, why))
        return -1;
    lua_getfield(L, record, "vector");
    double norm = rv_store_read_vector(L, lua_gettop(L), vector, s->dimension, why);
    if (norm < 0)
        return -1;
    rv_vector_pack(vector, (size_t)s->dimension);
    sqlite3_bind_double(statement, 6, norm);
    sqlite3_bind_blob(statement, 7, vector, s->dimension * (int)sizeof *vector, SQLITE_STATIC);
    return 0;
}

static int put_body(lua_State *L)
{
    struct rv_store *s = rv_store_of(L);
    if (!s->number)
        return rv_store_refuse(s, "the collection is not there yet: set_info makes it"), 0;
    float *vector = rv_store_new_vector(L, s->dimension);
    sqlite3_stmt *statement = rv_store_prepare(
        s, "INSERT INTO vectors_%lld(id, path, tags, mtime, size, norm, vector) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"
           " ON CONFLICT(id) DO UPDATE SET path = excluded.path, tags = excluded.tags, mtime = excluded.mtime,"
           " size = excluded.size, norm = excluded.norm, vector = excluded.vector");
    if (!statement)
        return 0;
    int n = (int)lua_rawlen(L, 2), stored = 0;
    lua_pushnil(L); /* the table of bad ones, made when there is one */
    int bad = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        char why[RV_VECTOR_WHY] = "";
        lua_rawgeti(L, 2, i);
        if (!bind_record(L, s, statement, vector, why)) {
            if (rv_store_step(s, statement) < 0)
                return 0;
            stored++;
        } else {
            if (lua_isnil(L, bad)) {
                lua_newtable(L);
                lua_replace(L, bad);
            }
            lua_pushstring(L, why);
            lua_rawseti(L, bad, i);
        }
        sqlite3_reset(statement);
        lua_settop(L, bad);
    }
    lua_pushinteger(L, stored);
    lua_insert(L, bad);
    return 2;
}

/* store:put(records) -> how many were stored, and nil or a table of a line for each position that was not */
static int store_put(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    return rv_store_run(L, 1, put_body);
}

/* ---- what is there ---- */

void rv_store_push_column(lua_State *L, sqlite3_stmt *statement, int column, const char *key)
{
    const char *bytes;
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
        return;
    case SQLITE_INTEGER:
        lua_pushinteger(L, (lua_Integer)sqlite3_column_int64(statement, column));
        break;
    case SQLITE_FLOAT:
        lua_pushnumber(L, (lua_Number)sqlite3_column_double(statement, column));
        break;
    default:
        bytes = sqlite3_column_blob(statement, column);
        lua_pushlstring(L, bytes ? bytes : "", (size_t)sqlite3_column_bytes(statement, column));
    }
    lua_setfield(L, -2, key);
}

/* Runs the statement for each id of the array at 2; on_row is called with the id on top of the stack. -1 on failure. */
static int for_each_id(lua_State *L, struct rv_store *s, const char *sql, void (*on_row)(lua_State *L))
{
    sqlite3_stmt *statement = s->number ? rv_store_prepare(s, sql) : NULL;
    if (s->number && !statement)
        return -1;
    int n = (int)lua_rawlen(L, 2);
    for (int i = 1; i <= n; i++) {
        size_t len;
        lua_rawgeti(L, 2, i);
        if (lua_type(L, -1) != LUA_TSTRING)
            return luaL_error(L, "ids: array of strings expected, got a %s at %d", luaL_typename(L, -1), i);
        const char *id = lua_tolstring(L, -1, &len);
        /* None that is longer was ever taken. */
        if (statement && len <= RV_STORE_ID) {
            sqlite3_bind_text(statement, 1, id, (int)len, SQLITE_STATIC);
            int row = rv_store_step(s, statement);
            if (row < 0)
                return -1;
            if (row)
                on_row(L);
            sqlite3_reset(statement);
        }
        lua_pop(L, 1);
    }
    return 0;
}

static void mark(lua_State *L)
{
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, 3);
}

static int has_body(lua_State *L)
{
    lua_newtable(L);
    return for_each_id(L, rv_store_of(L), "SELECT 1 FROM vectors_%lld WHERE id = ?1", mark) ? 0 : 1;
}

/* store:has(ids) -> { [id] = true } */
static int store_has(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    return rv_store_run(L, 0, has_body);
}

static void count_one(lua_State *L)
{
    lua_pushinteger(L, lua_tointeger(L, 3) + 1);
    lua_replace(L, 3);
}

static int delete_body(lua_State *L)
{
    lua_pushinteger(L, 0);
    return for_each_id(L, rv_store_of(L), "DELETE FROM vectors_%lld WHERE id = ?1 RETURNING 1", count_one) ? 0 : 1;
}

/* store:delete(ids) -> how many were there */
static int store_delete(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    return rv_store_run(L, 1, delete_body);
}

static int count_body(lua_State *L)
{
    struct rv_store *s = rv_store_of(L);
    sqlite3_stmt *statement = s->number ? rv_store_prepare(s, "SELECT count(*) FROM vectors_%lld") : NULL;
    if (s->number && (!statement || rv_store_step(s, statement) < 0))
        return 0;
    lua_pushinteger(L, statement ? (lua_Integer)sqlite3_column_int64(statement, 0) : 0);
    return 1;
}

/* store:count() -> integer */
static int store_count(lua_State *L)
{
    return rv_store_run(L, 0, count_body);
}

static int get_body(lua_State *L)
{
    static const char *const columns[] = {"id", "path", "tags", "mtime", "size", "vector"};
    struct rv_store *s = rv_store_of(L);
    size_t len;
    const char *id = lua_tolstring(L, 2, &len);
    sqlite3_stmt *statement =
        s->number ? rv_store_prepare(s, "SELECT id, path, tags, mtime, size, vector FROM vectors_%lld WHERE id = ?1") : NULL;
    if (!statement || len > RV_STORE_ID)
        return 0;
    sqlite3_bind_text(statement, 1, id, (int)len, SQLITE_STATIC);
    if (rv_store_step(s, statement) <= 0)
        return 0;
    lua_newtable(L);
    for (int i = 0; i < (int)(sizeof columns / sizeof *columns); i++)
        rv_store_push_column(L, statement, i, columns[i]);
    return 1;
}

/* store:get(id) -> record, or nothing */
static int store_get(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TSTRING);
    return rv_store_run(L, 0, get_body);
}

static int ids_body(lua_State *L)
{
    struct rv_store *s = rv_store_of(L);
    size_t len;
    const char *after = lua_tolstring(L, 2, &len);
    lua_newtable(L);
    sqlite3_stmt *statement =
        s->number ? rv_store_prepare(s, "SELECT id FROM vectors_%lld WHERE id > ?1 ORDER BY id LIMIT ?2") : NULL;
    if (!statement)
        return 1;
    sqlite3_bind_text(statement, 1, after, len > RV_STORE_TEXT ? RV_STORE_TEXT : (int)len, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, (int64_t)lua_tonumber(L, 3));
    for (int n = 1; rv_store_step(s, statement) > 0; n++) {
        const char *id = sqlite3_column_blob(statement, 0);
        lua_pushlstring(L, id ? id : "", (size_t)sqlite3_column_bytes(statement, 0));
        lua_rawseti(L, 4, n);
    }
    return 1;
}

/* store:ids([after [, limit]]) -> array of ids, by bytes */
static int store_ids(lua_State *L)
{
    luaL_optstring(L, 2, "");
    int64_t limit = lua_isnoneornil(L, 3) ? 1000 : rv_checkint(L, 3, "limit", 1, MAX_PAGE);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_pushliteral(L, "");
        lua_replace(L, 2);
    }
    lua_pushinteger(L, (lua_Integer)limit);
    return rv_store_run(L, 0, ids_body);
}

const luaL_Reg rv_store_records[] = {
    {"put", store_put}, {"has", store_has}, {"delete", store_delete}, {"count", store_count}, {"get", store_get},
    {"ids", store_ids}, {NULL, NULL},
};
