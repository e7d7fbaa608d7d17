/* Vectors of float32: reading them, checking them, comparing them. No state, no Lua, no locale. */
#ifndef RV_VECTOR_H
#define RV_VECTOR_H

#include <stddef.h>

enum { RV_VECTOR_WHY = 96 };

/* Each of these fills out with dimension floats. 0, or -1 with one line in why. */

/* From little-endian float32, of any alignment. */
int rv_vector_unpack(const void *bytes, size_t len, float *out, size_t dimension, char why[RV_VECTOR_WHY]);

/* From the text of a JSON array of numbers (RFC 8259), each at most one unit in the last place away. */
int rv_vector_parse(const char *text, size_t len, float *out, size_t dimension, char why[RV_VECTOR_WHY]);

/* From either: text that begins like an array is JSON, unless it is none and has the length that the floats would have. */
int rv_vector_read(const char *bytes, size_t len, float *out, size_t dimension, char why[RV_VECTOR_WHY]);

/* Little-endian float32 in place, to be written to a file or handed out. */
void rv_vector_pack(float *v, size_t dimension);

/* The length of v in the geometric sense, at least 0; or -1 with one line in why: all zero, or not finite. */
double rv_vector_norm(const float *v, size_t dimension, char why[RV_VECTOR_WHY]);

/* The dot product, summed in double: no overflow whatever the floats. */
double rv_vector_dot(const float *a, const float *b, size_t dimension);

#endif
