/* The engine's userdata, for the files that make up its Lua face. */
#ifndef RV_ENGINE_H
#define RV_ENGINE_H

#include "core.h"
#include "io.h"
#include "walk.h"

#define ENGINE "revec.engine"
enum { MAX_ROUTES = 32 };

struct engine {
    unsigned fork_generation; /* of the process that made it */
    struct rv_settings settings; /* until the thread has taken them over */
    struct rv_notify *bell;
    bool beside;               /* another engine, whose bell it is, silences it */
    struct rv_io *io;
    struct rv_walk *walk;
    struct rv_route *routes[MAX_ROUTES];
    int route_count;
    struct rv_request *events, **last_event; /* taken, not yet told */
    int *free_items;           /* numbers of items that are free again */
    int free_count, free_room, item_count;
    int nice;                  /* of its threads */
};

/* The open engine that is the first argument; raises for anything else, and in a child of fork. */
struct engine *rv_check_engine(lua_State *L);

/* The open engine in field "beside" of the table at idx, which is left on the stack; NULL when nil. Raises as above. */
struct engine *rv_opt_beside(lua_State *L, int idx);

/* How often this process has come to be by a fork: what another generation made belongs to a parent. */
unsigned rv_fork_generation(void);

/* Methods: walk, next, total (walking.c). */
int rv_engine_walk(lua_State *L);
int rv_engine_next(lua_State *L);
int rv_engine_total(lua_State *L);

#endif
