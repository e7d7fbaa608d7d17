/* Which files of a walk, or of a list, are images to be taken. */
#ifndef RV_SIEVE_H
#define RV_SIEVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rv_sieve {
    const char *const *extensions; /* lower-case, without dot */
    const char *const *include;    /* patterns (glob.h); none: every file */
    const char *const *exclude;    /* the three end with NULL */
    uint64_t min_size, max_size;   /* bytes, both included */
    double newer_than;             /* Unix seconds, not included; -HUGE_VAL: any */
    uint32_t shard, shards;        /* this of so many, from 1; shards 1: all */
};

enum rv_sieve_result {
    RV_SIEVE_OTHER,    /* no image, or another shard's */
    RV_SIEVE_FILTERED, /* an image that the patterns, its size or its time leave out */
    RV_SIEVE_TAKEN,
};

/* A copy that owns its strings; NULL when out of memory. */
struct rv_sieve *rv_sieve_copy(const struct rv_sieve *s);
void rv_sieve_free(struct rv_sieve *s); /* of a copy; NULL is fine */

/* Whether a name has one of the extensions. */
bool rv_sieve_is_image(const struct rv_sieve *s, const char *name, size_t len);

/* Whether anything but the extension counts. */
bool rv_sieve_sifts(const struct rv_sieve *s);

/* Whether a folder is left out with all that is in it. path: len bytes, below the root. */
bool rv_sieve_excludes_folder(const struct rv_sieve *s, const char *path, size_t len);

/*
 * What to do with a file whose name has one of the extensions. path: len bytes, below the root; fd and name: how the file
 * is reached (openat) if its size or time is asked for, which may block. One that is gone is let through: what
 * uses it will say so.
 */
enum rv_sieve_result rv_sieve_file(const struct rv_sieve *s, const char *path, size_t len, int fd, const char *name);

/* The same for a listed path, NUL-terminated, whatever its extension: one that has none of them is filtered; so is one
 * in a folder that is left out. */
enum rv_sieve_result rv_sieve_listed(const struct rv_sieve *s, const char *path, int root_fd);

/* The path's last name without its last extension: an image's id. *len becomes its length. */
const char *rv_stem(const char *path, size_t *len);

/* Which of so many shards an id belongs to, from 1: FNV-1a of 64 bits, its halves xor'ed, modulo the number of shards. */
uint32_t rv_shard(const char *id, size_t len, uint32_t shards);

#endif
