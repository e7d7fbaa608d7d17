/* revec.digest: what ids are made of, as a Lua module. libcrypto does the hashing. The reference is doc/digest.md. */
#define _GNU_SOURCE
#include "../compat.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { UUID_BYTES = 16, UUID_TEXT = 36, CHUNK = 65536 };

/* The 16 bytes of a UUID with hyphens; false when it is none. */
static bool read_uuid(const char *text, size_t len, unsigned char uuid[UUID_BYTES])
{
    if (len != UUID_TEXT || strspn(text, "0123456789abcdefABCDEF-") != len)
        return false;
    int digits = 0;
    for (size_t i = 0; i < len; i++) {
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if ((text[i] == '-') != hyphen)
            return false;
        if (hyphen)
            continue;
        int value = text[i] <= '9' ? text[i] - '0' : (text[i] | 0x20) - 'a' + 10;
        uuid[digits / 2] = (unsigned char)(digits % 2 ? uuid[digits / 2] << 4 | value : value);
        digits++;
    }
    return true;
}

static void push_hex(lua_State *L, const unsigned char *bytes, size_t n, bool hyphens)
{
    char text[2 * EVP_MAX_MD_SIZE + 5], *at = text;
    for (size_t i = 0; i < n; i++) {
        if (hyphens && (i == 4 || i == 6 || i == 8 || i == 10))
            *at++ = '-';
        at += sprintf(at, "%02x", bytes[i]);
    }
    lua_pushlstring(L, text, (size_t)(at - text));
}

/* digest.uuid5(namespace, name) -> UUID */
static int digest_uuid5(lua_State *L)
{
    size_t namespace_len, name_len;
    const char *namespace = luaL_checklstring(L, 1, &namespace_len), *name = luaL_checklstring(L, 2, &name_len);
    unsigned char uuid[UUID_BYTES], hash[EVP_MAX_MD_SIZE];
    luaL_argcheck(L, read_uuid(namespace, namespace_len, uuid), 1, "a UUID with hyphens expected");
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context && EVP_DigestInit_ex(context, EVP_sha1(), NULL) && EVP_DigestUpdate(context, uuid, sizeof uuid) &&
              EVP_DigestUpdate(context, name, name_len) && EVP_DigestFinal_ex(context, hash, NULL);
    EVP_MD_CTX_free(context);
    if (!ok)
        return luaL_error(L, "digest: SHA-1 is not to be had from libcrypto, or no memory");
    hash[6] = (unsigned char)((hash[6] & 0x0f) | 0x50);
    hash[8] = (unsigned char)((hash[8] & 0x3f) | 0x80);
    push_hex(L, hash, UUID_BYTES, true);
    return 1;
}

static int failure(lua_State *L, int error)
{
    lua_pushnil(L);
    lua_pushstring(L, strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

/* 0, or an errno. */
static int hash_file(int fd, EVP_MD_CTX *context)
{
    char chunk[CHUNK];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0 && !EVP_DigestUpdate(context, chunk, (size_t)n))
            return ENOMEM;
    }
}

/* digest.sha256_file(path) -> hexadecimal text; or nil, message, errno */
static int digest_sha256_file(lua_State *L)
{
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, strlen(path) == len, 1, "a path without NUL bytes expected");
    /* A pipe would keep us waiting. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return failure(L, errno);
    struct stat st;
    unsigned char hash[EVP_MAX_MD_SIZE];
    int error = fstat(fd, &st) ? errno : S_ISDIR(st.st_mode) ? EISDIR : S_ISREG(st.st_mode) ? 0 : EINVAL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!error && (!context || !EVP_DigestInit_ex(context, EVP_sha256(), NULL)))
        error = ENOMEM;
    if (!error)
        error = hash_file(fd, context);
    if (!error && !EVP_DigestFinal_ex(context, hash, NULL))
        error = ENOMEM;
    EVP_MD_CTX_free(context);
    close(fd);
    if (error)
        return failure(L, error);
    push_hex(L, hash, 32, false);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_revec_digest(lua_State *L);

int luaopen_revec_digest(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, digest_uuid5);
    lua_setfield(L, -2, "uuid5");
    lua_pushcfunction(L, digest_sha256_file);
    lua_setfield(L, -2, "sha256_file");
    return 1;
}
