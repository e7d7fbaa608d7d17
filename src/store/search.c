/* revec.store's search: every vector is looked at, of which the best are kept in a heap. */
#include "face.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TOP = 10000 };

struct hit {
    double score;
    sqlite3_int64 row;
};

/* Which of two hits comes later: the less alike; of equals the younger. */
static int is_worse(const struct hit *a, const struct hit *b)
{
    return a->score != b->score ? a->score < b->score : a->row > b->row;
}

static int by_rank(const void *a, const void *b)
{
    return is_worse(a, b) ? 1 : is_worse(b, a) ? -1 : 0;
}

/* Adds a hit to a heap of at most most, whose first is the worst. */
static void keep(struct hit *heap, size_t *n, size_t most, struct hit hit)
{
    size_t i = 0;
    if (*n < most) {
        for (i = (*n)++; i && is_worse(&hit, &heap[(i - 1) / 2]); i = (i - 1) / 2)
            heap[i] = heap[(i - 1) / 2];
    } else {
        if (!is_worse(&heap[0], &hit))
            return;
        for (size_t child; (child = 2 * i + 1) < *n; i = child) {
            if (child + 1 < *n && is_worse(&heap[child + 1], &heap[child]))
                child++;
            if (!is_worse(&heap[child], &hit))
                break;
            heap[i] = heap[child];
        }
    }
    heap[i] = hit;
}

struct filter {
    const char *prefix, *tag; /* NULL: any */
    size_t prefix_len, tag_len;
};

static const char *filter_field(lua_State *L, const char *key, size_t *len)
{
    lua_getfield(L, 4, key);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "%s: string expected, got %s", key, luaL_typename(L, -1));
    return lua_tolstring(L, -1, len);
}

/* Whether the tag is one of those in a list separated by commas. */
static int has_tag(const char *list, size_t len, const struct filter *f)
{
    for (const char *end = list + len; list && list <= end; list++) {
        const char *comma = memchr(list, ',', (size_t)(end - list)), *stop = comma ? comma : end;
        while (list < stop && *list == ' ')
            list++;
        size_t n = (size_t)(stop - list);
        while (n && list[n - 1] == ' ')
            n--;
        if (n == f->tag_len && !memcmp(list, f->tag, n))
            return 1;
        list = stop;
    }
    return 0;
}

static int passes(sqlite3_stmt *statement, const struct filter *f)
{
    if (f->prefix) {
        const char *path = sqlite3_column_blob(statement, 3);
        size_t len = (size_t)sqlite3_column_bytes(statement, 3);
        if (len < f->prefix_len || (f->prefix_len && memcmp(path, f->prefix, f->prefix_len)))
            return 0;
    }
    if (f->tag) {
        const char *tags = sqlite3_column_blob(statement, 4);
        return has_tag(tags, (size_t)sqlite3_column_bytes(statement, 4), f);
    }
    return 1;
}

/* Fills the heap; how many, or -1 on failure. */
static int scan(struct rv_store *s, const float *query, double norm, float *row, const struct filter *f, struct hit *heap, size_t most)
{
    char why[RV_VECTOR_WHY];
    size_t n = 0, dimension = (size_t)s->dimension;
    sqlite3_stmt *statement = rv_store_prepare(s, f->prefix || f->tag ? "SELECT rowid, norm, vector, path, tags FROM vectors_%lld"
                                                                      : "SELECT rowid, norm, vector FROM vectors_%lld");
    if (!statement)
        return -1;
    int more;
    while ((more = rv_store_step(s, statement)) > 0) {
        if (!passes(statement, f))
            continue;
        const void *blob = sqlite3_column_blob(statement, 2);
        double row_norm = sqlite3_column_double(statement, 1);
        if (!blob || !(row_norm > 0) || rv_vector_unpack(blob, (size_t)sqlite3_column_bytes(statement, 2), row, dimension, why))
            return rv_store_fail(s, SQLITE_CORRUPT);
        double score = rv_vector_dot(query, row, dimension) / (norm * row_norm);
        score = score > 1 ? 1 : score < -1 ? -1 : score;
        keep(heap, &n, most, (struct hit){score, sqlite3_column_int64(statement, 0)});
    }
    return more < 0 ? -1 : (int)n;
}

static int search_body(lua_State *L)
{
    struct rv_store *s = rv_store_of(L);
    size_t most = (size_t)lua_tonumber(L, 3);
    struct filter f = {0};
    char why[RV_VECTOR_WHY] = "";
    if (!s->number)
        return lua_newtable(L), 1;
    if (lua_istable(L, 4)) {
        f.prefix = filter_field(L, "prefix", &f.prefix_len);
        f.tag = filter_field(L, "tag", &f.tag_len);
    }
    float *query = rv_store_new_vector(L, s->dimension), *row = rv_store_new_vector(L, s->dimension);
    double norm = rv_store_read_vector(L, 2, query, s->dimension, why);
    if (norm < 0)
        return rv_store_refuse(s, why), 0;
    struct hit *heap = lua_newuserdata(L, most * sizeof *heap);
    int n = scan(s, query, norm, row, &f, heap, most);
    sqlite3_stmt *statement = n < 0 ? NULL : rv_store_prepare(s, "SELECT id, path FROM vectors_%lld WHERE rowid = ?1");
    if (!statement)
        return 0;
    qsort(heap, (size_t)n, sizeof *heap, by_rank);
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        sqlite3_bind_int64(statement, 1, heap[i].row);
        if (rv_store_step(s, statement) < 0)
            return 0;
        lua_createtable(L, 0, 3);
        rv_store_push_column(L, statement, 0, "id");
        rv_store_push_column(L, statement, 1, "path");
        lua_pushnumber(L, (lua_Number)heap[i].score);
        lua_setfield(L, -2, "score");
        lua_rawseti(L, -2, i + 1);
        sqlite3_reset(statement);
    }
    return 1;
}

/* store:search(vector, top [, filter]) -> array of { id, path, score }, the most alike first */
int rv_store_search(lua_State *L)
{
    luaL_argcheck(L, lua_type(L, 2) == LUA_TSTRING || lua_type(L, 2) == LUA_TTABLE, 2, "string or array of numbers expected");
    rv_checkint(L, 3, "top", 1, MAX_TOP);
    if (!lua_isnoneornil(L, 4))
        luaL_checktype(L, 4, LUA_TTABLE);
    lua_settop(L, 4);
    return rv_store_run(L, 0, search_body);
}

