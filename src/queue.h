/* Where requests wait: lists in order of arrival, and a heap in order of their due times. Not locked. */
#ifndef RV_QUEUE_H
#define RV_QUEUE_H

#include "io.h"

struct rv_list {
    struct rv_request *head, **tail;
    int count;
};

void rv_list_init(struct rv_list *l);
void rv_list_push(struct rv_list *l, struct rv_request *r);
void rv_list_push_front(struct rv_list *l, struct rv_request *r);
struct rv_request *rv_list_pop(struct rv_list *l); /* NULL when empty */
void rv_list_append(struct rv_list *to, struct rv_list *from); /* from is empty afterwards */
void rv_list_free(struct rv_list *l); /* and what is in it */

struct rv_heap {
    struct rv_request **items; /* items[0] is due first */
    int count, room;
};

bool rv_heap_push(struct rv_heap *h, struct rv_request *r); /* false when out of memory: r is not in it */
struct rv_request *rv_heap_pop(struct rv_heap *h); /* not to be asked of an empty one */
void rv_heap_free(struct rv_heap *h); /* and what is in it */

#endif
