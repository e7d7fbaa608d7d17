rockspec_format = "3.0"
package = "revec"
version = "0.1.0-1"
source = { url = "git+file://." }
description = {
  summary = "Rebuilds a vector index from a folder of images, and keeps it in step",
  detailed = [[
A C core drives the HTTP work over libcurl (bounded concurrency, retries, throttling, a breaker); Lua decides what the
work is. A command, a library for scripts, and a job that any event loop can drive.]],
  license = "MIT",
}
supported_platforms = { "linux" }
-- libcurl, lua-cjson and argparse come from the system as often as from a rock: the build and the start check for them.
dependencies = { "lua >= 5.1, < 5.5" }
build = {
  type = "make",
  build_target = "rock",
  build_variables = {
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    BUILD = "build-rock",
  },
  install_variables = {
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    BUILD = "build-rock",
    LUADIR = "$(LUADIR)",
    LIBDIR = "$(LIBDIR)",
    BINDIR = "$(BINDIR)",
    ROCK = "1",
  },
}
