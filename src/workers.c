/* Threads that run another module's task on files, as Lua sees them: core.workers{…}. doc/core.md is the reference. */
#include "content.h"
#include "engine.h"
#include "pool.h"

#include <string.h>

#define WORKERS "revec.workers"

/* Its items are in the uservalue, by the number that the work carries. */
struct workers {
    unsigned fork_generation; /* of the process that made it */
    struct rv_pool *pool;
    int last_item;
    struct rv_work *done; /* taken, not yet told */
};

/* Also __gc and __close: nothing here can raise. In a child of fork the threads do not exist: all is left alone. */
static int workers_close(lua_State *L)
{
    struct workers *w = lua_touserdata(L, 1);
    if (!w)
        return 0;
    if (w->fork_generation == rv_fork_generation())
        rv_pool_stop(w->pool);
    w->pool = NULL;
    for (struct rv_work *next; w->done; w->done = next) {
        next = w->done->next;
        rv_work_free(w->done);
    }
    return 0;
}

static int workers_close_checked(lua_State *L)
{
    luaL_checkudata(L, 1, WORKERS);
    workers_close(L);
    lua_pushinteger(L, 0);
    return 1;
}

static struct workers *check_workers(lua_State *L)
{
    struct workers *w = luaL_checkudata(L, 1, WORKERS);
    if (!w->pool)
        luaL_error(L, "workers: closed");
    if (w->fork_generation != rv_fork_generation())
        luaL_error(L, "workers: made before a fork: their threads run in the parent only; make some in this process");
    return w;
}

static int workers_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    int threads = (int)rv_optint(L, 1, "threads", 0, 0, 64);
    int nice = (int)rv_optint(L, 1, "nice", 0, 0, 19);
    lua_getfield(L, 1, "task");
    const struct rv_task *task = lua_type(L, -1) == LUA_TLIGHTUSERDATA ? lua_touserdata(L, -1) : NULL;
    if (!task || task->magic != RV_TASK_MAGIC)
        return luaL_error(L, "task: a module's task expected, got %s", luaL_typename(L, -1));
    const struct engine *beside = rv_opt_beside(L, 1);
    if (!beside)
        return luaL_error(L, "beside: engine expected, got nil");
    struct workers *w = lua_newuserdata(L, sizeof *w);
    memset(w, 0, sizeof *w);
    w->fork_generation = rv_fork_generation();
    luaL_setmetatable(L, WORKERS);
    lua_newtable(L);
    lua_setuservalue(L, -2);
    const char *error;
    w->pool = rv_pool_start(task, threads, nice, beside->bell, &error);
    if (w->pool)
        return 1;
    lua_pushnil(L);
    lua_pushfstring(L, "workers: %s", error);
    return 2;
}

/* workers:submit(path, item) */
static int workers_submit(lua_State *L)
{
    struct workers *w = check_workers(L);
    size_t len;
    const char *path = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len && strlen(path) == len, 2, "a path expected, neither empty nor with NUL bytes");
    luaL_argcheck(L, !lua_isnoneornil(L, 3), 3, "an item is needed, to know the answer by");
    lua_getuservalue(L, 1);
    /* Those of two thousand million works ago are done. */
    w->last_item = w->last_item == INT32_MAX ? 1 : w->last_item + 1;
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, w->last_item);
    struct rv_work *work = rv_work_new(path, w->last_item);
    if (!work)
        return luaL_error(L, "workers: out of memory");
    rv_pool_submit(w->pool, work);
    return 0;
}

static void push_event(lua_State *L, const struct rv_work *work, int items)
{
    lua_createtable(L, 0, 7);
    lua_rawgeti(L, items, work->item);
    lua_setfield(L, -2, "item");
    lua_pushinteger(L, 1);
    lua_setfield(L, -2, "attempts");
    lua_pushinteger(L, 0);
    lua_setfield(L, -2, "sends");
    if (work->seconds > 0) {
        lua_pushnumber(L, work->seconds);
        lua_setfield(L, -2, "seconds");
    }
    if (work->kind) {
        lua_pushstring(L, work->kind);
        lua_setfield(L, -2, "kind");
        lua_pushstring(L, work->why);
        lua_setfield(L, -2, "message");
    } else {
        struct rv_vector *vector = work->vector;
        const struct rv_vectors vectors = {.list = &vector, .count = 1};
        rv_push_vectors(L, &vectors);
        lua_setfield(L, -2, "vectors");
    }
}

/* workers:poll([most]) -> array of events */
static int workers_poll(lua_State *L)
{
    struct workers *w = check_workers(L);
    int most = lua_isnoneornil(L, 2) ? INT32_MAX : (int)rv_checkint(L, 2, "most", 1, INT32_MAX);
    lua_settop(L, 1);
    struct rv_work **end = &w->done;
    while (*end)
        end = &(*end)->next;
    *end = rv_pool_take(w->pool);
    lua_getuservalue(L, 1);
    lua_newtable(L);
    int n = 0;
    for (const struct rv_work *work = w->done; n < most && work; work = work->next) {
        push_event(L, work, 2);
        lua_rawseti(L, 3, ++n);
    }
    /* As in engine:poll: an error before loses none, and nothing from here on raises. */
    while (n-- > 0) {
        struct rv_work *work = w->done;
        lua_pushnil(L);
        lua_rawseti(L, 2, work->item);
        w->done = work->next;
        rv_work_free(work);
    }
    if (w->done)
        rv_pool_ring(w->pool);
    return 1;
}

static int workers_drain(lua_State *L)
{
    rv_pool_drain(check_workers(L)->pool);
    return 0;
}

void rv_open_workers(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"submit", workers_submit}, {"poll", workers_poll}, {"drain", workers_drain}, {"close", workers_close_checked}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__gc", workers_close}, {"__close", workers_close}, {NULL, NULL}};
    luaL_newmetatable(L, WORKERS);
    luaL_setfuncs(L, meta, 0);
    luaL_newlibtable(L, methods);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, WORKERS);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, workers_new);
    lua_setfield(L, -2, "workers");
}
