/* See queue.h. */
#include "queue.h"

#include <stdlib.h>

void rv_list_init(struct rv_list *l)
{
    l->head = NULL;
    l->tail = &l->head;
    l->count = 0;
}

void rv_list_push(struct rv_list *l, struct rv_request *r)
{
    r->next = NULL;
    *l->tail = r;
    l->tail = &r->next;
    l->count++;
}

void rv_list_push_front(struct rv_list *l, struct rv_request *r)
{
    r->next = l->head;
    l->head = r;
    if (!r->next)
        l->tail = &r->next;
    l->count++;
}

struct rv_request *rv_list_pop(struct rv_list *l)
{
    struct rv_request *r = l->head;
    if (!r)
        return NULL;
    l->head = r->next;
    if (!l->head)
        l->tail = &l->head;
    l->count--;
    return r;
}

void rv_list_append(struct rv_list *to, struct rv_list *from)
{
    if (!from->head)
        return;
    *to->tail = from->head;
    to->tail = from->tail;
    to->count += from->count;
    rv_list_init(from);
}

void rv_list_free(struct rv_list *l)
{
    for (struct rv_request *r; (r = rv_list_pop(l));)
        rv_request_free(r);
}

bool rv_heap_push(struct rv_heap *h, struct rv_request *r)
{
    if (h->count == h->room) {
        int room = h->room ? h->room * 2 : 64;
        struct rv_request **items = realloc(h->items, (size_t)room * sizeof *items);
        if (!items)
            return false;
        h->items = items;
        h->room = room;
    }
    int at = h->count++;
    for (int up; at > 0 && h->items[up = (at - 1) / 2]->due > r->due; at = up)
        h->items[at] = h->items[up];
    h->items[at] = r;
    return true;
}

struct rv_request *rv_heap_pop(struct rv_heap *h)
{
    struct rv_request *top = h->items[0], *last = h->items[--h->count];
    int at = 0;
    for (int child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && h->items[child + 1]->due < h->items[child]->due)
            child++;
        if (h->items[child]->due >= last->due)
            break;
        h->items[at] = h->items[child];
    }
    h->items[at] = last;
    return top;
}

void rv_heap_free(struct rv_heap *h)
{
    while (h->count)
        rv_request_free(h->items[--h->count]);
    free(h->items);
    h->items = NULL;
    h->room = 0;
}
