/*
 * For fuzzers of what is written in Lua: a Lua state with the core in it, and a script that returns a function, which is
 * called with each input and raises what it finds. The lines of Lua that run are told to libFuzzer as counters, so that it
 * looks for inputs that reach more of them. Run in the checkout.
 */
#ifndef RV_IN_LUA_H
#define RV_IN_LUA_H

#include "core.h"

#include <lualib.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int luaopen_revec_core(lua_State *L);
const char *__asan_default_options(void);

/* Garbage that Lua has not collected yet would have libFuzzer look for leaks after each input. */
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t lines[1 << 14];

static void on_line(lua_State *L, lua_Debug *ar)
{
    lua_getinfo(L, "S", ar);
    lines[((uintptr_t)ar->source / 8 + (size_t)ar->currentline) % sizeof lines]++;
}

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

static void fail(lua_State *L)
{
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
}

/* Calls the script's function with the input. */
static int run_in_lua(const char *script, const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (!L) {
        L = luaL_newstate();
        luaL_openlibs(L);
        luaL_requiref(L, "revec.core", luaopen_revec_core, 0);
        if (luaL_dostring(L, "package.path = 'lua/?.lua;lua/?/init.lua;' .. package.path"))
            fail(L);
        lua_settop(L, 0);
        lua_pushcfunction(L, traceback);
        if (luaL_loadfile(L, script) || lua_pcall(L, 0, 1, 0))
            fail(L);
        lua_sethook(L, on_line, LUA_MASKLINE, 0);
    }
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 0, 1))
        fail(L);
    return 0;
}

#endif
