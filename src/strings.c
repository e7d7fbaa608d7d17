/* revec.core's functions on strings: for URLs, for people, for JSON. All take and give byte strings. */
#define _GNU_SOURCE
#include "core.h"
#include "text.h"

#include <string.h>

/* A buffer of n bytes that Lua owns until the function returns. */
static char *scratch(lua_State *L, size_t n)
{
    return lua_newuserdata(L, n ? n : 1);
}

static int is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c));
}

/* core.escape(s): percent-encodes everything outside RFC 3986's unreserved characters. */
static int str_escape(lua_State *L)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len;
    const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &len);
    size_t extra = 0;
    for (size_t i = 0; i < len; i++)
        extra += !is_unreserved(s[i]);
    if (!extra) {
        lua_settop(L, 1);
        return 1;
    }
    char *out = scratch(L, len + 2 * extra), *p = out;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = s[i];
        if (is_unreserved(c)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    lua_pushlstring(L, out, (size_t)(p - out));
    return 1;
}

/* core.base64(s): RFC 4648, with padding. */
static int str_base64(lua_State *L)
{
    size_t len;
    const char *s = luaL_checklstring(L, 1, &len);
    char *out = scratch(L, (len + 2) / 3 * 4);
    lua_pushlstring(L, out, rv_base64(s, len, out));
    return 1;
}

/* core.unbase64(s): the bytes, or nil when s is not base64 with padding. */
static int str_unbase64(lua_State *L)
{
    size_t len;
    const char *s = luaL_checklstring(L, 1, &len);
    size_t pad = len < 2 || s[len - 1] != '=' ? 0 : s[len - 2] == '=' ? 2 : 1;
    unsigned char *out = (unsigned char *)scratch(L, len / 4 * 3 + 3), *p = out;
    unsigned bits = 0;
    if (len % 4)
        return lua_pushnil(L), 1;
    for (size_t i = 0; i < len - pad; i++) {
        char c = s[i];
        int v = c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52
              : c == '+' ? 62 : c == '/' ? 63 : -1;
        if (v < 0)
            return lua_pushnil(L), 1;
        bits = bits << 6 | (unsigned)v;
        if (i % 4 == 3) {
            *p++ = (unsigned char)(bits >> 16);
            *p++ = (unsigned char)(bits >> 8);
            *p++ = (unsigned char)bits;
        }
    }
    if (pad == 1) {
        *p++ = (unsigned char)(bits >> 10);
        *p++ = (unsigned char)(bits >> 2);
    } else if (pad == 2) {
        *p++ = (unsigned char)(bits >> 4);
    }
    lua_pushlstring(L, (char *)out, (size_t)(p - out));
    return 1;
}

/* core.is_utf8(s): whether all of s is UTF-8. */
static int str_is_utf8(lua_State *L)
{
    size_t len;
    const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &len);
    uint32_t c;
    size_t n = 1;
    for (size_t i = 0; i < len && n; i += n)
        n = rv_utf8(s + i, len - i, &c);
    lua_pushboolean(L, n != 0);
    return 1;
}

/* core.clean(s [, keep_controls]): valid UTF-8: each byte that is not becomes U+FFFD; control characters (C0, DEL and
 * C1) and line separators become \n, \t, \r or \xNN, so that a name can neither break a line nor command a terminal. */
static int str_clean(lua_State *L)
{
    size_t len;
    const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &len);
    int keep = lua_toboolean(L, 2);
    size_t i = 0;
    while (i < len && s[i] >= 0x20 && s[i] < 0x7F)
        i++;
    if (i == len) {
        lua_settop(L, 1);
        return 1;
    }
    char *out = scratch(L, len * 8), *p = out;
    uint32_t c;
    for (size_t n; len; s += n, len -= n) {
        n = rv_utf8(s, len, &c);
        if (!n) {
            n = 1;
            p = stpcpy(p, "\xEF\xBF\xBD");
        } else if (!keep && (c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029)) {
            static const char hex[] = "0123456789abcdef";
            *p++ = '\\';
            if (c == '\n' || c == '\t' || c == '\r') {
                *p++ = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
            } else if (c > 0xFF) {
                p = stpcpy(p, c == 0x2028 ? "u2028" : "u2029");
            } else {
                *p++ = 'x';
                *p++ = hex[c >> 4];
                *p++ = hex[c & 15];
            }
        } else {
            memcpy(p, s, n);
            p += n;
        }
    }
    lua_pushlstring(L, out, (size_t)(p - out));
    return 1;
}

/* core.fit(s, columns): the longest beginning of s (UTF-8) that takes at most so many columns, and the columns it
 * takes; without columns all of it. */
static int str_fit(lua_State *L)
{
    size_t len, i = 0;
    const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &len);
    int64_t most = lua_isnoneornil(L, 2) ? INT32_MAX : rv_checkint(L, 2, "columns", 0, INT32_MAX);
    int64_t columns = 0;
    while (i < len) {
        uint32_t c = 0xFFFD;
        size_t n = rv_utf8(s + i, len - i, &c);
        int width = rv_width(c);
        if (columns + width > most)
            break;
        columns += width;
        i += n ? n : 1;
    }
    lua_pushlstring(L, (const char *)s, i);
    lua_pushinteger(L, (lua_Integer)columns);
    return 2;
}

void rv_open_text(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"escape", str_escape}, {"base64", str_base64}, {"unbase64", str_unbase64}, {"is_utf8", str_is_utf8},
        {"clean", str_clean}, {"fit", str_fit}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
