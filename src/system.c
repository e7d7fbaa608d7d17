/* revec.core's functions on the system: files that must be safe on disk, the terminal, signals, time. */
#define _GNU_SOURCE
#include "clock.h"
#include "core.h"
#include "notify.h"

#include <dirent.h>
#include <lualib.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* nil, "path: reason", errno */
static int failure(lua_State *L, const char *path, int error)
{
    lua_pushnil(L);
    if (path)
        lua_pushfstring(L, "%s: %s", path, strerror(error));
    else
        lua_pushstring(L, strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

/* The FILE of an open Lua file. */
static FILE *check_file(lua_State *L)
{
#if LUA_VERSION_NUM < 502
    FILE **file = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    luaL_argcheck(L, *file, 1, "the file is closed");
    return *file;
#else
    luaL_Stream *file = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    luaL_argcheck(L, file->closef, 1, "the file is closed");
    return file->f;
#endif
}

/* core.now(): monotonic seconds. */
static int sys_now(lua_State *L)
{
    lua_pushnumber(L, rv_now());
    return 1;
}

/* core.sync(file) -> true, or nil, message: what was written to it is on the disk. Blocks. */
static int sys_sync(lua_State *L)
{
    FILE *f = check_file(L);
    if (fflush(f) || fsync(fileno(f)))
        return failure(L, NULL, errno);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.sync_folder(path) -> true, or nil, message: renames in it are on the disk. Blocks. */
static int sys_sync_folder(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (error)
        return failure(L, path, error);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.lock(file [, path]) -> true when this process now holds the file's lock; false when another does, or when path no
 * longer names the file; nil, message, errno when it cannot be locked (a file system without locks). Never blocks. */
static int sys_lock(lua_State *L)
{
    int fd = fileno(check_file(L));
    const char *path = luaL_optstring(L, 2, NULL);
    struct stat ours, named;
    bool locked = !flock(fd, LOCK_EX | LOCK_NB);
    if (!locked && errno != EWOULDBLOCK)
        return failure(L, NULL, errno);
    bool named_so = !path || (!fstat(fd, &ours) && !stat(path, &named) && ours.st_dev == named.st_dev && ours.st_ino == named.st_ino);
    lua_pushboolean(L, locked && named_so);
    return 1;
}

/* 0, or -1 and errno: EEXIST when there is something called to. */
static int move_new(const char *from, const char *to)
{
    if (!link(from, to)) {
        unlink(from);
        return 0;
    }
    if (errno == EEXIST)
        return -1;
    /* A file system without links (FAT, some of networks): an empty file takes the name first. */
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    close(fd);
    if (!rename(from, to))
        return 0;
    int error = errno;
    unlink(to);
    errno = error;
    return -1;
}

/* core.move(from, to) -> true when the file is now called to; false when something was called so already; nil, message,
 * errno. Of several that move files to one name at once one succeeds. */
static int sys_move(lua_State *L)
{
    const char *from = luaL_checkstring(L, 1), *to = luaL_checkstring(L, 2);
    bool moved = !move_new(from, to);
    if (!moved && errno != EEXIST)
        return failure(L, to, errno);
    lua_pushboolean(L, moved);
    return 1;
}

/* core.stat(path) -> type ("file", "folder", "other"), size in bytes, mtime in Unix seconds; or nil, message, errno.
 * Follows links. Blocks as long as the file system does. */
static int sys_stat(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if (stat(path, &st))
        return failure(L, path, errno);
    lua_pushstring(L, S_ISREG(st.st_mode) ? "file" : S_ISDIR(st.st_mode) ? "folder" : "other");
    lua_pushnumber(L, (lua_Number)st.st_size);
    lua_pushnumber(L, (lua_Number)st.st_mtim.tv_sec + (lua_Number)st.st_mtim.tv_nsec * 1e-9);
    return 3;
}

/* core.list(path) -> array of the names in a folder, unsorted; or nil, message, errno. */
static int sys_list(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    /* Names are pushed while the folder is open, and that may raise: the folder belongs to a userdata meanwhile. */
    DIR **dir = lua_newuserdata(L, sizeof(DIR *));
    *dir = NULL;
    luaL_setmetatable(L, "revec.folder");
    if (!(*dir = opendir(path)))
        return failure(L, path, errno);
    lua_newtable(L);
    int n = 0;
    for (const struct dirent *e; (e = readdir(*dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        lua_pushstring(L, e->d_name);
        lua_rawseti(L, -2, ++n);
    }
    closedir(*dir);
    *dir = NULL;
    return 1;
}

static int folder_gc(lua_State *L)
{
    DIR **dir = lua_touserdata(L, 1);
    if (*dir)
        closedir(*dir);
    *dir = NULL;
    return 0;
}

/* core.columns(file) -> the width of the terminal that the file is, nil when it is none. */
static int sys_columns(lua_State *L)
{
    int fd = fileno(check_file(L));
    struct winsize size;
    if (!isatty(fd))
        return 0;
    lua_pushinteger(L, ioctl(fd, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col);
    return 1;
}

/* ---- signals: for a program that is its process's master, never for a library inside another ---- */

static struct rv_notify signals = RV_NOTIFY_CLOSED;
static const struct {
    const char *name;
    int number;
} signal_names[] = {{"INT", SIGINT}, {"TERM", SIGTERM}, {"HUP", SIGHUP}, {"USR1", SIGUSR1}};
enum { SIGNALS = sizeof signal_names / sizeof *signal_names };
static atomic_int caught[SIGNALS]; /* lock-free, so a handler may count */

int rv_signal_fd(void)
{
    return signals.fds[0];
}

static void on_signal(int number)
{
    for (int i = 0; i < SIGNALS; i++)
        if (signal_names[i].number == number)
            caught[i]++;
    rv_notify_ring(&signals);
}

/* A program may be started without standard input, output or error: the next pipe of ours would be taken for them. */
static void fill_standard(void)
{
    int fd;
    do
        fd = open("/dev/null", O_WRONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* core.catch_signals() -> true, or nil, message: from here on SIGINT, SIGTERM, SIGHUP and SIGUSR1 are kept for
 * core.signal, end engine:wait early, and SIGPIPE is ignored. Standard descriptors that are closed lead nowhere. One that was ignored already (nohup) stays ignored. */
static int sys_catch_signals(lua_State *L)
{
    fill_standard();
    if (signals.fds[0] < 0 && rv_notify_open(&signals))
        return failure(L, NULL, errno);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++)
        if (!sigaction(signal_names[i].number, NULL, &before) && before.sa_handler != SIG_IGN)
            sigaction(signal_names[i].number, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.signal() -> the name of a signal that came ("INT"), nil when none did. */
static int sys_signal(lua_State *L)
{
    if (signals.fds[0] >= 0)
        rv_notify_silence(&signals);
    for (int i = 0; i < SIGNALS; i++)
        if (caught[i]) {
            caught[i]--;
            lua_pushstring(L, signal_names[i].name);
            return 1;
        }
    return 0;
}

/* core.pid() -> the process's number. */
static int sys_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

void rv_open_system(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"now", sys_now}, {"sync", sys_sync}, {"sync_folder", sys_sync_folder}, {"lock", sys_lock}, {"move", sys_move},
        {"stat", sys_stat}, {"list", sys_list}, {"columns", sys_columns}, {"catch_signals", sys_catch_signals}, {"signal", sys_signal},
        {"pid", sys_pid}, {NULL, NULL},
    };
    luaL_newmetatable(L, "revec.folder");
    lua_pushcfunction(L, folder_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
