/* The iterator under walk.h that reads paths from a file, a pipe or a terminal instead of descending. */
#ifndef RV_LIST_H
#define RV_LIST_H

#include "sieve.h"
#include "tree.h"

struct rv_list;

/*
 * fd: open for reading, root_fd: the open root; both are the list's from here on. root: how the root was named. sieve is
 * borrowed. NULL with errno set: fd is a folder, or resources are short (both are closed).
 *
 * Paths stand each on a line, or end in NUL: that is so when there is a NUL in the first PATH_MAX bytes. At the end of
 * a line a carriage return is dropped; the last path needs no end; empty ones are passed over. Absolute paths must be
 * below the root; others count from the root, unless they begin with the root as it was named. "." and ".." are
 * resolved by the names alone.
 */
struct rv_list *rv_list_open(int fd, int root_fd, const char *root, const struct rv_sieve *sieve);

/*
 * RV_TREE_IMAGE: a path below the root, as from a tree. RV_TREE_REFUSED: path is the entry as it stands in the list, or its
 * beginning, error why it is no use: an errno or an rv_list_error. RV_TREE_READ: no image, or nothing to read yet.
 * Waits 10 ms at most.
 */
enum rv_tree_result rv_list_next(struct rv_list *l, struct rv_tree_entry *entry);
void rv_list_close(struct rv_list *l); /* NULL is fine */

enum rv_list_error { RV_LIST_LONG = -1, RV_LIST_NUL = -2, RV_LIST_OUTSIDE = -3 };

/* In words; a static text. error: an errno too. */
const char *rv_list_reason(int error);

#endif
