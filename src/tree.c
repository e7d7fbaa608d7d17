/* See tree.h. */
#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Folders on the path that stay open, beside the current one; those between are reached step by step from the
 * deepest open one above, so that neither PATH_MAX nor the limit on descriptors bounds the depth. */
enum { MAX_OPEN = 64 };

struct name {
    uint64_t prefix; /* the first 8 bytes, big-endian: most comparisons end here */
    size_t offset;   /* into the level's bytes, NUL-terminated */
    uint32_t len;
    bool folder;
};

struct level {
    int fd; /* -1 when closed */
    char *bytes;
    size_t used, room;
    struct name *names;
    size_t count, names_room, next;
    size_t path_len; /* of this folder's own path, with its slash */
};

struct rv_tree {
    const struct rv_sieve *sieve;
    bool counting, sifts;
    uint64_t filtered;
    int root_fd; /* until the first folder is read */
    struct level *levels;
    size_t depth, levels_room;
    char *path;
    size_t path_room;
};

static bool grow(void *array, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room)
        return true;
    size_t more = *room ? *room * 2 : 64;
    while (more < needed)
        more *= 2;
    void *bigger = realloc(*(void **)array, more * size);
    if (!bigger)
        return false;
    *(void **)array = bigger;
    *room = more;
    return true;
}

static uint64_t prefix_of(const char *name, size_t len)
{
    uint64_t p = 0;
    for (size_t i = 0; i < 8; i++)
        p = p << 8 | (i < len ? (unsigned char)name[i] : 0);
    return p;
}

static int compare(const void *left, const void *right, void *bytes)
{
    const struct name *a = left, *b = right;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    int order = memcmp((char *)bytes + a->offset, (char *)bytes + b->offset, a->len < b->len ? a->len : b->len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* DT_REG, DT_DIR or DT_UNKNOWN for what is neither; a link counts as what it leads to, unless a folder. */
static int type_of(int fd, const struct dirent *e)
{
    if (e->d_type == DT_REG || e->d_type == DT_DIR)
        return e->d_type;
    if (e->d_type != DT_LNK && e->d_type != DT_UNKNOWN)
        return DT_UNKNOWN;
    struct stat st;
    if (e->d_type == DT_UNKNOWN && !fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
        return DT_DIR;
    return !fstatat(fd, e->d_name, &st, 0) && S_ISREG(st.st_mode) ? DT_REG : DT_UNKNOWN;
}

static bool set_path(struct rv_tree *t, size_t base, const char *name, size_t len)
{
    if (!grow(&t->path, &t->path_room, base + len + 2, 1))
        return false;
    memcpy(t->path + base, name, len);
    t->path[base + len] = '/';
    return true;
}

/* Whether the sieve keeps a file or a folder: 1 or 0, -1 when out of memory. */
static int sift(struct rv_tree *t, const struct level *l, int fd, const char *name, size_t len, bool folder)
{
    if (!set_path(t, l->path_len, name, len))
        return -1;
    if (folder)
        return !rv_sieve_excludes_folder(t->sieve, t->path, l->path_len + len);
    enum rv_sieve_result r = rv_sieve_file(t->sieve, t->path, l->path_len + len, fd, name);
    t->filtered += r == RV_SIEVE_FILTERED;
    return r == RV_SIEVE_TAKEN;
}

/* Keeps one entry; 1 for an image, 0 for anything else, -1 when out of memory. */
static int take_entry(struct rv_tree *t, struct level *l, int fd, const struct dirent *e)
{
    const char *name = e->d_name;
    size_t len = strlen(name);
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return 0;
    bool image = rv_sieve_is_image(t->sieve, name, len);
    if (!image && e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)
        return 0;
    int type = type_of(fd, e);
    if (type == DT_UNKNOWN || (type == DT_REG && !image))
        return 0;
    int kept = t->sifts ? sift(t, l, fd, name, len, type == DT_DIR) : 1;
    if (kept <= 0 || (type == DT_REG && t->counting))
        return kept;
    if (!grow(&l->bytes, &l->room, l->used + len + 1, 1) || !grow(&l->names, &l->names_room, l->count + 1, sizeof *l->names))
        return -1;
    memcpy(l->bytes + l->used, name, len + 1);
    l->names[l->count++] = (struct name){prefix_of(name, len), l->used, (uint32_t)len, type == DT_DIR};
    l->used += len + 1;
    return type == DT_REG;
}

static int read_folder(struct rv_tree *t, struct level *l, int fd, uint64_t *images)
{
    int error = 0;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        error = errno;
        close(fd);
        return error;
    }
    const struct dirent *e;
    while ((errno = 0, e = readdir(dir)) && !error) {
        int took = take_entry(t, l, fd, e);
        if (took < 0)
            error = ENOMEM;
        else
            *images += (uint64_t)took;
    }
    if (!error)
        error = errno;
    closedir(dir);
    if (!t->counting && l->count)
        qsort_r(l->names, l->count, sizeof *l->names, compare, l->bytes);
    return error;
}

static int open_folder(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
}

/* Opens the folder of the level above `depth` again, from the deepest that is open. */
static int reopen_parent(const struct rv_tree *t, size_t depth)
{
    size_t at = depth;
    while (t->levels[at - 1].fd < 0)
        at--;
    int fd = fcntl(t->levels[at - 1].fd, F_DUPFD_CLOEXEC, 0);
    for (; fd >= 0 && at < depth; at++) {
        const struct level *l = &t->levels[at - 1];
        int child = open_folder(fd, l->bytes + l->names[l->next - 1].offset);
        close(fd);
        fd = child;
    }
    return fd;
}

/* Reads the folder `name` below the current level (NULL: the root) and makes it the current one. */
static int descend(struct rv_tree *t, const char *name, size_t path_len, uint64_t *images)
{
    int fd = t->root_fd;
    if (name) {
        struct level *parent = &t->levels[t->depth - 1];
        if (parent->fd < 0 && (parent->fd = reopen_parent(t, t->depth)) < 0)
            return errno;
        if ((fd = open_folder(parent->fd, name)) < 0)
            return errno;
        if (t->depth > MAX_OPEN) {
            close(parent->fd);
            parent->fd = -1;
        }
    }
    t->root_fd = -1;
    if (!grow(&t->levels, &t->levels_room, t->depth + 1, sizeof *t->levels)) {
        close(fd);
        return ENOMEM;
    }
    struct level *l = &t->levels[t->depth];
    *l = (struct level){.path_len = path_len};
    /* With no descriptor to spare, the way down from above is as good; only the root has none. */
    l->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (!t->depth && l->fd < 0) {
        int error = errno;
        close(fd);
        return error;
    }
    t->depth++;
    return read_folder(t, l, fd, images);
}

static void ascend(struct rv_tree *t)
{
    struct level *l = &t->levels[--t->depth];
    if (l->fd >= 0)
        close(l->fd);
    free(l->bytes);
    free(l->names);
}

struct rv_tree *rv_tree_open(int root_fd, const struct rv_sieve *sieve, bool counting)
{
    struct rv_tree *t = calloc(1, sizeof *t);
    if (!t) {
        close(root_fd);
        return NULL;
    }
    t->sieve = sieve;
    t->sifts = rv_sieve_sifts(sieve);
    t->counting = counting;
    t->root_fd = root_fd;
    return t;
}

void rv_tree_close(struct rv_tree *t)
{
    if (!t)
        return;
    while (t->depth)
        ascend(t);
    if (t->root_fd >= 0)
        close(t->root_fd);
    free(t->levels);
    free(t->path);
    free(t);
}

static enum rv_tree_result folder_read(const struct rv_tree *t, struct rv_tree_entry *entry, size_t len, int error,
                                       uint64_t images)
{
    *entry = (struct rv_tree_entry){.path = t->path, .len = len, .error = error, .images = images, .filtered = t->filtered};
    return error ? RV_TREE_FOLDER : RV_TREE_READ;
}

enum rv_tree_result rv_tree_next(struct rv_tree *t, struct rv_tree_entry *entry)
{
    uint64_t images = 0;
    if (t->root_fd >= 0) {
        int error = descend(t, NULL, 0, &images);
        return folder_read(t, entry, 0, error, images);
    }
    while (t->depth) {
        struct level *l = &t->levels[t->depth - 1];
        if (l->next == l->count) {
            ascend(t);
            continue;
        }
        const struct name *n = &l->names[l->next++];
        if (!set_path(t, l->path_len, l->bytes + n->offset, n->len))
            return folder_read(t, entry, 0, ENOMEM, 0);
        size_t len = l->path_len + n->len;
        if (!n->folder) {
            *entry = (struct rv_tree_entry){.path = t->path, .len = len, .filtered = t->filtered};
            return RV_TREE_IMAGE;
        }
        int error = descend(t, l->bytes + n->offset, len + 1, &images);
        return folder_read(t, entry, len, error, images);
    }
    *entry = (struct rv_tree_entry){.filtered = t->filtered};
    return RV_TREE_END;
}
