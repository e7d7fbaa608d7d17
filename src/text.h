/* Bytes as people and protocols want to see them. Nothing here depends on the locale. */
#ifndef RV_TEXT_H
#define RV_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Reads one character of UTF-8 at p (len > 0): its code point in *c and its length in bytes, or 0 when the
 * bytes are not UTF-8 (overlong forms and surrogates are not).
 */
size_t rv_utf8(const unsigned char *p, size_t len, uint32_t *c);

/* Columns that a character takes on a terminal: 0, 1 or 2 (East Asian Width of Unicode 15, wide and full). */
int rv_width(uint32_t c);

/* RFC 4648, with padding: (len + 2) / 3 * 4 bytes into out, no NUL; how many. */
size_t rv_base64(const char *bytes, size_t len, char *out);

#endif
