/* Vectors and request bodies as Lua has them. doc/core.md is the reference. */
#ifndef RV_CONTENT_H
#define RV_CONTENT_H

#include "body.h"
#include "core.h"

/* Checks the array of parts at idx and raises when it is none, allocating nothing. */
void rv_check_body(lua_State *L, int idx);

/* Its copy, for a request to own; false when out of memory. Raises nothing. */
bool rv_copy_body(lua_State *L, int idx, struct rv_body *body);

/* Pushes an array of vectors, each false where it is wrong. */
void rv_push_vectors(lua_State *L, const struct rv_vectors *vectors);

/* Adds `vector` to the module on top. */
void rv_open_content(lua_State *L);

#endif
