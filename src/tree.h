/* The iterator under walk.h: one thread's depth-first descent through a folder. */
#ifndef RV_TREE_H
#define RV_TREE_H

#include "sieve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rv_tree;

enum rv_tree_result {
    RV_TREE_IMAGE,  /* path is the image */
    RV_TREE_FOLDER, /* path is the folder that could not be read, error its errno */
    RV_TREE_REFUSED, /* a list's alone: see list.h */
    RV_TREE_READ,   /* one more folder was read; images is how many it holds itself */
    RV_TREE_END,
};

struct rv_tree_entry {
    const char *path; /* relative to the root, len bytes, valid until the next call */
    size_t len;
    int error;
    uint64_t images;
    uint64_t filtered; /* images that the sieve left out so far */
};

/*
 * root_fd: an open folder, owned by the tree from here on. sieve: borrowed.
 * counting: no names of images are kept and none is told, only their number, folder by folder.
 * NULL when out of memory (root_fd is closed).
 */
struct rv_tree *rv_tree_open(int root_fd, const struct rv_sieve *sieve, bool counting);
enum rv_tree_result rv_tree_next(struct rv_tree *t, struct rv_tree_entry *entry);
void rv_tree_close(struct rv_tree *t);

#endif
