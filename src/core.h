/* The parts of the Lua module revec.core; each pushes its functions into the table on top of the stack. */
#ifndef RV_CORE_H
#define RV_CORE_H

#include "compat.h"

void rv_open_engine(lua_State *L); /* engine.c */
void rv_open_system(lua_State *L); /* system.c */
void rv_open_text(lua_State *L);   /* strings.c */
void rv_open_walking(lua_State *L); /* walking.c */
void rv_open_workers(lua_State *L); /* workers.c */

/* A descriptor that is readable while a signal waits to be read by core.signal, or -1. */
int rv_signal_fd(void);

#endif
