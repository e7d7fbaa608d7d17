/* The parts of the Lua module revec.store, and what they share. */
#ifndef RV_STORE_FACE_H
#define RV_STORE_FACE_H

#include "../compat.h"
#include "file.h"
#include "vector.h"

enum { RV_STORE_ID = 512, RV_STORE_TEXT = 4096 }; /* bytes */

/* Calls body with the method's arguments, in a transaction, which its end commits; what it gives is the method's, unless
 * the transaction failed. Raises what body raises, and when the store at 1 is closed or not to be used. */
int rv_store_run(lua_State *L, int write, lua_CFunction body);

/* Within a body: the store, which is open. */
struct rv_store *rv_store_of(lua_State *L);

/* Memory for a vector, pushed: Lua owns it. */
float *rv_store_new_vector(lua_State *L, int dimension);

/* The vector at idx, in any of its forms, into out; its length in the geometric sense, or -1 with why. */
double rv_store_read_vector(lua_State *L, int idx, float *out, int dimension, char why[RV_VECTOR_WHY]);

/* Sets t[key] for the table on top of the stack; nothing where the column has no value. */
void rv_store_push_column(lua_State *L, sqlite3_stmt *statement, int column, const char *key);

extern const luaL_Reg rv_store_records[]; /* records.c */
int rv_store_search(lua_State *L);        /* search.c */

#endif
