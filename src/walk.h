/*
 * Walks a folder and hands out its images in an order that depends on their names alone: the entries of a
 * folder sorted by bytes, a sub-folder's images where its name stands. One thread of its own, which also
 * counts ahead of the work. Nothing is stat'ed unless the file system does not tell its type, it is a
 * link, or the sieve asks for size or time. Hidden files count; links to files count; links to folders are not followed; anything that is
 * neither file nor folder is passed over. Or reads the paths from a list (list.h), in its order.
 *
 * Memory: the names of the folders on the current path, or a buffer of the list, and a queue of at most RV_WALK_QUEUE entries.
 */
#ifndef RV_WALK_H
#define RV_WALK_H

#include "notify.h"
#include "sieve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RV_WALK_QUEUE = 4096 };

struct rv_walk;

enum rv_walk_result {
    RV_WALK_IMAGE,  /* path is an image, relative to the root */
    RV_WALK_FOLDER, /* path is a folder that could not be read ("" is the root itself); error says why */
    RV_WALK_REFUSED, /* path is an entry of the list, or its beginning, that is no use; error: rv_list_reason says why */
    RV_WALK_WAIT,   /* nothing yet: notify rings when there is */
    RV_WALK_END,
};

/*
 * Opens root and starts the thread. files_from: the list, "-" for standard input, NULL to descend; never waits for a
 * pipe's writer. sieve is copied. limit: count at most so many (the count ends early), 0 for all. nice: of the
 * thread, 0..19. notify is borrowed and must outlive the walk. NULL with errno set when root is no folder that can be read (*list_failed: the
 * list cannot be), or resources are short.
 */
struct rv_walk *rv_walk_open(const char *root, const char *files_from, const struct rv_sieve *sieve, uint64_t limit,
                             int nice, const struct rv_notify *notify, bool *list_failed);

/* The next entry, the same again until rv_walk_pass; never blocks. *path (not NUL-terminated, *len bytes) is valid until the
 * next call. */
enum rv_walk_result rv_walk_next(struct rv_walk *w, const char **path, size_t *len, int *error);

/* Goes on behind the image or folder that rv_walk_next gave, once it was told. */
void rv_walk_pass(struct rv_walk *w);

/* How many images there are, as far as counted; *known becomes true when that is all of them. A list that is no file
 * is not counted ahead. */
uint64_t rv_walk_total(struct rv_walk *w, bool *known);

/* How many images the sieve left out before what rv_walk_next told last; a folder's all at once. */
uint64_t rv_walk_filtered(const struct rv_walk *w);

/* Stops and joins the thread; may wait for one system call of it. NULL is fine. */
void rv_walk_close(struct rv_walk *w);

#endif
