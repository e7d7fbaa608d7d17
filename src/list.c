/* See list.h. */
#define _GNU_SOURCE
#include "list.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 64 * 1024, SHOWN = 256, WAIT_MS = 10, ROOTS = 3 };

struct root {
    char *path; /* tidy, without the slash before it */
    bool absolute;
};

struct rv_list {
    int fd, root_fd;
    const struct rv_sieve *sieve;
    struct root roots[ROOTS];
    int root_count;
    uint64_t filtered;
    bool ended, decided, cut; /* nothing more to read; what ends a path is known; the first one here lost its middle */
    char end;
    int error; /* that reading ended with, until it is told */
    size_t from, to; /* of what was read and not yet handed out */
    char path[PATH_MAX];
    char buffer[BUFFER];
};

/* Copies a path of len bytes without what can be left out by its names alone; to has room for them all. */
static void tidy(char *to, const char *path, size_t len)
{
    bool absolute = len && path[0] == '/';
    const char *end = path + len;
    char *out = to, *kept = to; /* what is before kept are "..", and stays */
    for (const char *next; path < end; path = next) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        size_t n = (size_t)((slash ? slash : end) - path);
        next = slash ? slash + 1 : end;
        if (!n || (n == 1 && path[0] == '.'))
            continue;
        bool up = n == 2 && path[0] == '.' && path[1] == '.';
        if (up && out > kept) {
            while (out > kept && out[-1] != '/')
                out--;
            out -= out > kept;
        } else if (!up || !absolute) {
            if (out > to)
                *out++ = '/';
            memcpy(out, path, n);
            out += n;
            if (up)
                kept = out;
        }
    }
    *out = '\0';
}

static bool add_root(struct rv_list *l, const char *path)
{
    char *copy = path ? malloc(strlen(path) + 1) : NULL;
    if (!copy)
        return false;
    tidy(copy, path, strlen(path));
    l->roots[l->root_count++] = (struct root){copy, path[0] == '/'};
    return true;
}

/* The root as it was named, and the absolute paths by which a list may name it too. */
static bool add_roots(struct rv_list *l, const char *root)
{
    char *real = realpath(root, NULL), *here = get_current_dir_name(), *whole = NULL;
    bool ok = add_root(l, root) && (!real || add_root(l, real));
    if (ok && here && root[0] != '/')
        ok = asprintf(&whole, "%s/%s", here, root) >= 0 && add_root(l, whole);
    free(whole);
    free(here);
    free(real);
    if (!ok)
        errno = ENOMEM;
    return ok;
}

struct rv_list *rv_list_open(int fd, int root_fd, const char *root, const struct rv_sieve *sieve)
{
    struct stat st;
    struct rv_list *l = malloc(sizeof *l);
    if (l) {
        memset(l, 0, offsetof(struct rv_list, path));
        l->fd = fd;
        l->root_fd = root_fd;
        l->sieve = sieve;
        if (fstat(fd, &st) || S_ISDIR(st.st_mode))
            errno = EISDIR;
        else if (add_roots(l, root))
            return l;
    } else {
        close(fd);
        close(root_fd);
    }
    int saved = errno;
    rv_list_close(l);
    errno = saved;
    return NULL;
}

void rv_list_close(struct rv_list *l)
{
    if (!l)
        return;
    close(l->fd);
    close(l->root_fd);
    for (int i = 0; i < l->root_count; i++)
        free(l->roots[i].path);
    free(l);
}

const char *rv_list_reason(int error)
{
    switch (error) {
    case RV_LIST_LONG:
        return "longer than any path may be";
    case RV_LIST_NUL:
        return "it holds a NUL byte";
    case RV_LIST_OUTSIDE:
        return "it is outside the storage";
    default:
        return strerror(error);
    }
}

/* Reads more; false when there is nothing yet. */
static bool fill(struct rv_list *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    if (poll(&p, 1, WAIT_MS) <= 0)
        return false;
    if (l->from) {
        memmove(l->buffer, l->buffer + l->from, l->to - l->from);
        l->to -= l->from;
        l->from = 0;
    }
    ssize_t n = read(l->fd, l->buffer + l->to, sizeof l->buffer - l->to);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0) {
        /* What is there of the last path is not known to be all of it. */
        l->error = errno;
        l->to = l->from;
    }
    l->ended = n <= 0;
    l->to += n > 0 ? (size_t)n : 0;
    return true;
}

/* Whether a path ends in NUL or in a line feed. No path is as long as what is looked at. */
static bool decide(struct rv_list *l)
{
    if (!l->decided && (l->to >= PATH_MAX || l->ended)) {
        l->end = memchr(l->buffer, '\0', l->to < PATH_MAX ? l->to : PATH_MAX) ? '\0' : '\n';
        l->decided = true;
    }
    return l->decided;
}

/* Finds the next path in what was read: *len bytes at the result; NULL when its end is not there. */
static const char *cut_off(struct rv_list *l, size_t *len)
{
    const char *start = l->buffer + l->from, *end = memchr(start, l->end, l->to - l->from);
    if (!end && l->to - l->from > PATH_MAX) {
        /* Of one that is too long the beginning stays, to be shown. */
        l->cut = true;
        l->to = l->from + SHOWN;
    }
    if (!end && !(l->ended && l->from < l->to))
        return NULL;
    *len = (size_t)((end ? end : l->buffer + l->to) - start);
    l->from += *len + (end != NULL);
    return start;
}

/* What is left of a tidy path below a root, or NULL. */
static const char *below(const char *path, const char *root)
{
    size_t n = strlen(root);
    if (!n)
        return path;
    if (strncmp(path, root, n) || (path[n] && path[n] != '/'))
        return NULL;
    return path + n + (path[n] == '/');
}

/* The path below the root that a listed one means, or NULL when it leads elsewhere. */
static const char *place(struct rv_list *l, const char *path, size_t len)
{
    bool absolute = path[0] == '/';
    tidy(l->path, path, len);
    for (int i = 0; i < l->root_count; i++) {
        const char *rest = l->roots[i].absolute == absolute ? below(l->path, l->roots[i].path) : NULL;
        if (rest && (absolute || strncmp(rest, "..", 2) || (rest[2] && rest[2] != '/')))
            return rest;
    }
    bool up = !strncmp(l->path, "..", 2) && (!l->path[2] || l->path[2] == '/');
    return absolute || up ? NULL : l->path;
}

static enum rv_tree_result refuse(const struct rv_list *l, struct rv_tree_entry *entry, const char *path, size_t len, int error)
{
    *entry = (struct rv_tree_entry){.path = path, .len = len < SHOWN ? len : SHOWN, .error = error, .filtered = l->filtered};
    return RV_TREE_REFUSED;
}

enum rv_tree_result rv_list_next(struct rv_list *l, struct rv_tree_entry *entry)
{
    size_t len;
    const char *line = NULL;
    *entry = (struct rv_tree_entry){.filtered = l->filtered};
    while (!decide(l) || !(line = cut_off(l, &len))) {
        if (l->error) {
            int error = l->error;
            l->error = 0;
            return refuse(l, entry, "", 0, error);
        }
        if (l->ended)
            return RV_TREE_END;
        if (!fill(l))
            return RV_TREE_READ;
    }
    if (l->end == '\n' && len && line[len - 1] == '\r')
        len--;
    if (!len)
        return RV_TREE_READ;
    bool cut = l->cut;
    l->cut = false;
    if (cut || len >= PATH_MAX)
        return refuse(l, entry, line, len, RV_LIST_LONG);
    if (memchr(line, '\0', len))
        return refuse(l, entry, line, len, RV_LIST_NUL);
    const char *path = place(l, line, len);
    if (!path)
        return refuse(l, entry, line, len, RV_LIST_OUTSIDE);
    enum rv_sieve_result r = rv_sieve_listed(l->sieve, path, l->root_fd);
    l->filtered += r == RV_SIEVE_FILTERED;
    bool taken = r == RV_SIEVE_TAKEN;
    *entry = (struct rv_tree_entry){.path = path, .len = strlen(path), .images = taken, .filtered = l->filtered};
    return taken ? RV_TREE_IMAGE : RV_TREE_READ;
}
