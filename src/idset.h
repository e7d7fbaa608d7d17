/*
 * A set of ids, remembered as 128-bit hashes (SipHash-2-4-128 under a random key: https://github.com/veorq/SipHash).
 * At most 24 bytes an id once there are many. An id carries one or both of two marks, 1 and 2, so that one set
 * remembers two things of it. Two different ids share a hash with probability n^2 / 2^127.
 */
#ifndef RV_IDSET_H
#define RV_IDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rv_idset;

struct rv_idset *rv_idset_new(void); /* NULL when out of memory */
void rv_idset_free(struct rv_idset *s);

/* 1 when the id did not have the mark before, 0 when it had, -1 when out of memory (the set is as before). */
int rv_idset_add(struct rv_idset *s, const void *id, size_t len, int mark);
bool rv_idset_has(const struct rv_idset *s, const void *id, size_t len, int mark);
uint64_t rv_idset_count(const struct rv_idset *s); /* ids, whatever their marks */
size_t rv_idset_bytes(const struct rv_idset *s); /* memory in use */

#endif
