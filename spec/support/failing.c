/*
 * revec.failing: the core once more, linked so that its calls for memory, descriptors and threads (and libcurl's for memory)
 * come through here (ld --wrap), where they are counted and made to fail. Never installed; in a process of its own, for
 * two cores in one would share the names of their metatables.
 *
 * failing.run(source, what, first, last, …) runs the chunk in a Lua state of its own, to which the core is the global
 * `core`, and a task for its workers `task`, with the strings that follow as arguments; the calls first..last of the sort
 * `what` fail, counted from 1 over all threads. Gives how many such calls there were; whether the chunk ended without an
 * error; the error.
 * failing.live() gives the blocks of memory that the core and libcurl hold.
 */
#define _GNU_SOURCE
#include "compat.h"
#include "task.h"

#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lualib.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum what { MEMORY, LIBCURL, FILES, THREADS, LUA, NOTHING };
static const char *const names[] = {"memory", "libcurl", "files", "threads", "lua", "nothing", NULL};

static _Atomic enum what failing = NOTHING;
static atomic_llong calls, first_failing, last_failing, live;

static bool fails(enum what what, int error)
{
    if (failing != what)
        return false;
    long long n = ++calls;
    if (n < first_failing || n > last_failing)
        return false;
    errno = error;
    return true;
}

/* What ld --wrap calls the functions themselves. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *s);
void __real_free(void *p);
int __real_open(const char *path, int flags, ...);
int __real_openat(int fd, const char *path, int flags, ...);
int __real_fcntl(int fd, int command, ...);
int __real_pipe2(int fds[2], int flags);
DIR *__real_opendir(const char *path);
DIR *__real_fdopendir(int fd);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);
int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_pipe2(int fds[2], int flags);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_fdopendir(int fd);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
CURLcode __wrap_curl_global_init(long flags);

/* ---- memory ---- */

static void *counted(void *p)
{
    if (p)
        live++;
    return p;
}

static void *reallocate(enum what what, void *old, size_t size)
{
    if (fails(what, ENOMEM))
        return NULL;
    void *p = __real_realloc(old, size);
    return old ? p : counted(p);
}

void *__wrap_malloc(size_t size) { return fails(MEMORY, ENOMEM) ? NULL : counted(__real_malloc(size)); }
void *__wrap_calloc(size_t n, size_t size) { return fails(MEMORY, ENOMEM) ? NULL : counted(__real_calloc(n, size)); }
void *__wrap_realloc(void *old, size_t size) { return reallocate(MEMORY, old, size); }
char *__wrap_strdup(const char *s) { return fails(MEMORY, ENOMEM) ? NULL : counted(__real_strdup(s)); }

void __wrap_free(void *p)
{
    if (p)
        live--;
    __real_free(p);
}

static void *curl_malloc(size_t size) { return fails(LIBCURL, ENOMEM) ? NULL : counted(__real_malloc(size)); }
static void *curl_calloc(size_t n, size_t size) { return fails(LIBCURL, ENOMEM) ? NULL : counted(__real_calloc(n, size)); }
static void *curl_realloc(void *old, size_t size) { return reallocate(LIBCURL, old, size); }
static char *curl_strdup(const char *s) { return fails(LIBCURL, ENOMEM) ? NULL : counted(__real_strdup(s)); }

CURLcode __wrap_curl_global_init(long flags)
{
    return curl_global_init_mem(flags, curl_malloc, __wrap_free, curl_realloc, curl_strdup, curl_calloc);
}

/* ---- descriptors and threads ---- */

int __wrap_open(const char *path, int flags, ...) { return fails(FILES, EMFILE) ? -1 : __real_open(path, flags); }
int __wrap_openat(int fd, const char *path, int flags, ...) { return fails(FILES, EMFILE) ? -1 : __real_openat(fd, path, flags); }
int __wrap_pipe2(int fds[2], int flags) { return fails(FILES, EMFILE) ? -1 : __real_pipe2(fds, flags); }
DIR *__wrap_opendir(const char *path) { return fails(FILES, EMFILE) ? NULL : __real_opendir(path); }
DIR *__wrap_fdopendir(int fd) { return fails(FILES, EMFILE) ? NULL : __real_fdopendir(fd); }

int __wrap_fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    int arg = va_arg(more, int);
    va_end(more);
    return fails(FILES, EMFILE) ? -1 : __real_fcntl(fd, command, arg);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    return fails(THREADS, EAGAIN) ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}

/* ---- the run ---- */

int luaopen_revec_core(lua_State *L);
__attribute__((visibility("default"))) int luaopen_revec_failing(lua_State *L);

/* Lua relies on it that less memory than before is always to be had. */
static void *lua_memory(void *ud, void *old, size_t old_size, size_t size)
{
    (void)ud;
    if (!size) {
        __real_free(old);
        return NULL;
    }
    if ((!old || size > old_size) && fails(LUA, ENOMEM))
        return NULL;
    return __real_realloc(old, size);
}

/* A module's own task would have memory of its own, which is not counted here. */
static char *small_vector(const char *path, const char **kind, char why[RV_TASK_WHY])
{
    (void)path, (void)kind, (void)why;
    return strdup("[1,2]");
}

static const struct rv_task task = {RV_TASK_MAGIC, small_vector};

struct chunk {
    lua_State *from; /* source and arguments are strings on its stack */
    enum what what;
};

static int run_chunk(lua_State *L)
{
    struct chunk *c = lua_touserdata(L, 1);
    lua_settop(L, 0);
    luaL_openlibs(L);
    calls = 0;
    failing = c->what;
    luaopen_revec_core(L);
    lua_setglobal(L, "core");
    lua_pushlightuserdata(L, (void *)&task);
    lua_setglobal(L, "task");
    size_t len;
    const char *source = lua_tolstring(c->from, 1, &len);
    if (luaL_loadbuffer(L, source, len, "=chunk"))
        return lua_error(L);
    int n = 0;
    for (; n + 5 <= lua_gettop(c->from); n++)
        lua_pushstring(L, lua_tostring(c->from, n + 5));
    lua_call(L, n, 0);
    return 0;
}

static int failing_run(lua_State *L)
{
    luaL_checkstring(L, 1);
    struct chunk c = {L, (enum what)luaL_checkoption(L, 2, NULL, names)};
    first_failing = (long long)luaL_checknumber(L, 3);
    last_failing = (long long)luaL_checknumber(L, 4);
    for (int i = 5; i <= lua_gettop(L); i++)
        luaL_checkstring(L, i);
    lua_State *own = lua_newstate(lua_memory, NULL);
    if (!own)
        return luaL_error(L, "no Lua state");
#if LUA_VERSION_NUM < 502
    bool ok = !lua_cpcall(own, run_chunk, &c);
#else
    lua_pushcfunction(own, run_chunk);
    lua_pushlightuserdata(own, &c);
    bool ok = !lua_pcall(own, 1, 0, 0);
#endif
    failing = NOTHING;
    long long n = calls;
    const char *why = ok ? NULL : lua_tostring(own, -1);
    lua_pushnumber(L, (lua_Number)n);
    lua_pushboolean(L, ok);
    lua_pushstring(L, why);
    lua_close(own);
    return 3;
}

static int failing_live(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)live);
    return 1;
}

int luaopen_revec_failing(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, failing_run);
    lua_setfield(L, -2, "run");
    lua_pushcfunction(L, failing_live);
    lua_setfield(L, -2, "live");
    return 1;
}
