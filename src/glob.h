/*
 * Patterns for paths, as git and rsync have them. Nothing here depends on the locale.
 *
 * "*" any run of characters but "/", "?" one of them, "[a-z]" and "[!a-z]" one of a set, "\" takes the next
 * character as it is. "**" between slashes (or at an end) is any number of folders, none included. A character is one
 * of UTF-8; a byte that is none counts as one. A leading dot is a character as any other.
 */
#ifndef RV_GLOB_H
#define RV_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when it is a pattern, else why not: a static text. */
const char *rv_glob_error(const char *pattern);

/*
 * pattern: without an error. path: len bytes, below the root, "/" between folders; folder: whether it is one.
 * A pattern without "/" is for the last name of the path, any other for all of it, with or without "/" before it.
 * One that ends in "/" matches folders only.
 */
bool rv_glob_match(const char *pattern, const char *path, size_t len, bool folder);

#endif
