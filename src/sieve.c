/* See sieve.h. */
#define _GNU_SOURCE
#include "sieve.h"
#include "glob.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void free_strings(const char *const *strings)
{
    for (const char *const *s = strings; s && *s; s++)
        free((void *)*s);
    free((void *)strings);
}

static const char *const *copy_strings(const char *const *strings)
{
    size_t n = 0;
    while (strings[n])
        n++;
    const char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        if (!(copy[i] = strdup(strings[i]))) {
            free_strings(copy);
            return NULL;
        }
    return copy;
}

struct rv_sieve *rv_sieve_copy(const struct rv_sieve *s)
{
    struct rv_sieve *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *s;
    copy->extensions = copy_strings(s->extensions);
    copy->include = copy_strings(s->include);
    copy->exclude = copy_strings(s->exclude);
    if (copy->extensions && copy->include && copy->exclude)
        return copy;
    rv_sieve_free(copy);
    return NULL;
}

void rv_sieve_free(struct rv_sieve *s)
{
    if (!s)
        return;
    free_strings(s->extensions);
    free_strings(s->include);
    free_strings(s->exclude);
    free(s);
}

bool rv_sieve_is_image(const struct rv_sieve *s, const char *name, size_t len)
{
    const char *dot = memrchr(name, '.', len);
    if (!dot || dot == name)
        return false;
    for (const char *const *e = s->extensions; *e; e++) {
        const char *a = dot + 1, *b = *e;
        while (*b && (*a == *b || (*a >= 'A' && *a <= 'Z' && *a + 32 == *b)))
            a++, b++;
        if (!*a && !*b)
            return true;
    }
    return false;
}

static bool asks_for_stat(const struct rv_sieve *s)
{
    return s->min_size || s->max_size != UINT64_MAX || s->newer_than > -HUGE_VAL;
}

bool rv_sieve_sifts(const struct rv_sieve *s)
{
    return *s->include || *s->exclude || s->shards > 1 || asks_for_stat(s);
}

static bool any_matches(const char *const *patterns, const char *path, size_t len, bool folder)
{
    for (; *patterns; patterns++)
        if (rv_glob_match(*patterns, path, len, folder))
            return true;
    return false;
}

bool rv_sieve_excludes_folder(const struct rv_sieve *s, const char *path, size_t len)
{
    return any_matches(s->exclude, path, len, true);
}

static bool stat_passes(const struct rv_sieve *s, int fd, const char *name)
{
    struct stat st;
    if (!asks_for_stat(s) || fstatat(fd, name, &st, 0))
        return true;
    uint64_t size = (uint64_t)st.st_size;
    double mtime = (double)st.st_mtim.tv_sec + (double)st.st_mtim.tv_nsec * 1e-9;
    return size >= s->min_size && size <= s->max_size && mtime > s->newer_than;
}

enum rv_sieve_result rv_sieve_file(const struct rv_sieve *s, const char *path, size_t len, int fd, const char *name)
{
    if (s->shards > 1) {
        size_t stem_len = len;
        const char *stem = rv_stem(path, &stem_len);
        if (rv_shard(stem, stem_len, s->shards) != s->shard)
            return RV_SIEVE_OTHER;
    }
    if ((*s->include && !any_matches(s->include, path, len, false)) || any_matches(s->exclude, path, len, false))
        return RV_SIEVE_FILTERED;
    return stat_passes(s, fd, name) ? RV_SIEVE_TAKEN : RV_SIEVE_FILTERED;
}

enum rv_sieve_result rv_sieve_listed(const struct rv_sieve *s, const char *path, int root_fd)
{
    size_t len = strlen(path);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    enum rv_sieve_result r = rv_sieve_file(s, path, len, root_fd, path);
    if (r != RV_SIEVE_TAKEN)
        return r;
    if (!rv_sieve_is_image(s, name, strlen(name)))
        return RV_SIEVE_FILTERED;
    for (slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/'))
        if (rv_sieve_excludes_folder(s, path, (size_t)(slash - path)))
            return RV_SIEVE_FILTERED;
    return RV_SIEVE_TAKEN;
}

const char *rv_stem(const char *path, size_t *len)
{
    const char *slash = memrchr(path, '/', *len), *name = slash ? slash + 1 : path;
    size_t name_len = *len - (size_t)(name - path);
    const char *dot = memrchr(name, '.', name_len);
    *len = dot && dot > name ? (size_t)(dot - name) : name_len;
    return name;
}

uint32_t rv_shard(const char *id, size_t len, uint32_t shards)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)id[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(hash >> 32 ^ (hash & 0xffffffff)) % shards + 1;
}
