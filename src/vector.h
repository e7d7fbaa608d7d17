/*
 * Vectors as they stand in JSON: found in an answer, checked, carried to another request byte for byte. They are
 * counted by references, as an answer's vector may be part of several requests' bodies, in two threads.
 */
#ifndef RV_VECTOR_H
#define RV_VECTOR_H

#include <stdbool.h>
#include <stddef.h>

struct rv_vector {
    _Atomic int references;
    int dimension;
    size_t len;
    char json[]; /* "[…]", len bytes and a NUL */
};

/* A checked copy of the array of numbers at json, with one reference; NULL with *why (static) when it is wrong or memory is
 * short. Wrong are no array, no or other than finite numbers (as a float of 32 bits has them), and nothing but zeros. */
struct rv_vector *rv_vector_new(const char *json, size_t len, const char **why);
struct rv_vector *rv_vector_share(struct rv_vector *v); /* gives v, with one reference more */
void rv_vector_drop(struct rv_vector *v);               /* NULL is fine */

/* The vectors of an answer. */
struct rv_vectors {
    struct rv_vector **list; /* NULL for one that is wrong */
    int count;
    const char *why;         /* what is wrong with the first of these; static */
};

/*
 * Finds the vectors at path in the document. index: the path of their numbers from 0, by which they are put in order; NULL:
 * they stand in it. NULL, or what is wrong with the whole (static): no vector, indexes that are no order, no memory.
 */
const char *rv_vectors_find(struct rv_vectors *v, const char *document, size_t len, const char *path, const char *index);
void rv_vectors_free(struct rv_vectors *v);

#endif
