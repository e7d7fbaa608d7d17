/* revec.describe: what an image looks like as a vector, as a Lua module. The reference is doc/describe.md. */
#include "../compat.h"
#include "../task.h"
#include "descriptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIXELS = 100000000 };

static const char *const kinds[] = {"", "unreadable_file", "bad_image", "too_large"};

/* describe.file(path [, options]) -> little-endian float32, width, height; or nil, kind, "path: why" */
static int describe_file(lua_State *L)
{
    size_t len;
    const char *path = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    if (!path || !len || strlen(path) != len)
        return luaL_error(L, "path: string expected, neither empty nor with NUL bytes, got %s", luaL_typename(L, 1));
    int64_t max_pixels = MAX_PIXELS;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        max_pixels = rv_optint(L, 2, "max_pixels", max_pixels, 1, 1000000000);
    }
    struct rv_image *image = lua_newuserdata(L, sizeof *image);
    enum rv_image_result result = rv_image_read(path, max_pixels, image);
    if (result) {
        lua_pushnil(L);
        lua_pushstring(L, kinds[result]);
        lua_pushfstring(L, "%s: %s", path, image->why);
        return 3;
    }
    float vector[RV_DESCRIPTOR];
    rv_descriptor(image, vector);
    unsigned char bytes[sizeof vector];
    for (size_t i = 0; i < sizeof bytes; i++) {
        uint32_t bits;
        memcpy(&bits, vector + i / 4, sizeof bits);
        bytes[i] = (unsigned char)(bits >> 8 * (i % 4));
    }
    lua_pushlstring(L, (const char *)bytes, sizeof bytes);
    lua_pushinteger(L, image->width);
    lua_pushinteger(L, image->height);
    return 3;
}

/* Digits that give the same float again, with a point whatever the locale. */
static char *put_number(char *at, float x)
{
    char *end = at + sprintf(at, "%.9g", (double)x);
    char *comma = memchr(at, ',', (size_t)(end - at));
    if (comma)
        *comma = '.';
    return end;
}

/* For revec.core's workers: the descriptor as JSON. */
static char *describe_task(const char *path, const char **kind, char why[RV_TASK_WHY])
{
    enum { DIGITS = 16 }; /* of a number, and the comma before it */
    struct rv_image *image = malloc(sizeof *image);
    if (!image)
        return NULL;
    enum rv_image_result result = rv_image_read(path, MAX_PIXELS, image);
    char *json = NULL;
    if (result) {
        *kind = kinds[result];
        snprintf(why, RV_TASK_WHY, "%s", image->why);
    } else if ((json = malloc(RV_DESCRIPTOR * DIGITS + 2))) {
        float vector[RV_DESCRIPTOR];
        rv_descriptor(image, vector);
        char *at = json;
        for (int i = 0; i < RV_DESCRIPTOR; i++) {
            *at++ = i ? ',' : '[';
            at = put_number(at, vector[i]);
        }
        strcpy(at, "]");
    }
    free(image);
    return json;
}

static const struct rv_task task = {RV_TASK_MAGIC, describe_task};

__attribute__((visibility("default"))) int luaopen_revec_describe(lua_State *L);

int luaopen_revec_describe(lua_State *L)
{
    rv_image_silence();
    lua_newtable(L);
    lua_pushcfunction(L, describe_file);
    lua_setfield(L, -2, "file");
    lua_pushlightuserdata(L, (void *)&task);
    lua_setfield(L, -2, "task");
    lua_pushinteger(L, RV_DESCRIPTOR);
    lua_setfield(L, -2, "dimension");
    lua_pushliteral(L, RV_DESCRIPTOR_NAME);
    lua_setfield(L, -2, "name");
    return 1;
}
