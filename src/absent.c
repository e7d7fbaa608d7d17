/* Stands for a module whose library was not there when revec was built: to require it says what to do, in one line. */
#include "compat.h"

#define OPEN_OF(module) luaopen_revec_##module
#define OPEN(module) OPEN_OF(module)

__attribute__((visibility("default"))) int OPEN(RV_MODULE)(lua_State *L);

int OPEN(RV_MODULE)(lua_State *L)
{
    return luaL_error(L, "%s", RV_ABSENT);
}
