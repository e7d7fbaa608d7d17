/*
 * See idset.h. 256 open-addressing tables, chosen by the hash's first byte: each grows by itself, by a third when
 * nine tenths are in use, so that little is copied at a time and little stands empty.
 */
#define _GNU_SOURCE
#include "idset.h"
#include "clock.h"

#include <stdlib.h>
#include <string.h>

enum { TABLES = 256, FIRST_ROOM = 12, MARKS = 3 };

struct hash {
    uint64_t a, b; /* the two lowest bits of b are the id's marks; no mark: an empty place */
};

struct table {
    struct hash *places;
    uint32_t count, room;
};

struct rv_idset {
    uint64_t key[2];
    uint64_t count;
    struct table tables[TABLES];
};

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

static struct hash hash(const struct rv_idset *s, const unsigned char *p, size_t len)
{
    uint64_t v[4] = {s->key[0] ^ 0x736f6d6570736575u, s->key[1] ^ 0x646f72616e646f6du ^ 0xee,
                     s->key[0] ^ 0x6c7967656e657261u, s->key[1] ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)len << 56;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t m;
        memcpy(&m, p, 8);
        v[3] ^= m;
        rounds(v, 2);
        v[0] ^= m;
    }
    for (size_t i = 0; i < len; i++)
        last |= (uint64_t)p[i] << 8 * i;
    v[3] ^= last;
    rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xee;
    rounds(v, 4);
    struct hash h = {v[0] ^ v[1] ^ v[2] ^ v[3], 0};
    v[1] ^= 0xdd;
    rounds(v, 4);
    h.b = (v[0] ^ v[1] ^ v[2] ^ v[3]) & ~(uint64_t)MARKS;
    return h;
}

/* Where h is, or the empty place where it belongs. */
static struct hash *find(const struct table *t, struct hash h)
{
    /* The low half of a scaled to the room: no division, and rooms of any size. */
    uint32_t at = (uint32_t)((h.a & 0xffffffff) * t->room >> 32);
    for (;;) {
        struct hash *place = &t->places[at];
        if (!(place->b & MARKS) || (place->a == h.a && (place->b & ~(uint64_t)MARKS) == h.b))
            return place;
        if (++at == t->room)
            at = 0;
    }
}

static bool grow(struct table *t)
{
    struct table bigger = {.count = t->count, .room = t->room ? t->room + t->room / 3 : FIRST_ROOM};
    bigger.places = calloc(bigger.room, sizeof *bigger.places);
    if (!bigger.places)
        return false;
    for (uint32_t i = 0; i < t->room; i++)
        if (t->places[i].b & MARKS) {
            struct hash h = {t->places[i].a, t->places[i].b & ~(uint64_t)MARKS};
            *find(&bigger, h) = t->places[i];
        }
    free(t->places);
    *t = bigger;
    return true;
}

struct rv_idset *rv_idset_new(void)
{
    struct rv_idset *s = calloc(1, sizeof *s);
    for (int i = 0; s && i < 2; i++)
        s->key[i] = (uint64_t)(rv_random() * 0x1p53) << 11 ^ (uint64_t)(rv_random() * 0x1p53);
    return s;
}

void rv_idset_free(struct rv_idset *s)
{
    for (int i = 0; s && i < TABLES; i++)
        free(s->tables[i].places);
    free(s);
}

int rv_idset_add(struct rv_idset *s, const void *id, size_t len, int mark)
{
    struct hash h = hash(s, id, len);
    struct table *t = &s->tables[h.a >> 56];
    if (t->count >= t->room - t->room / 10 && !grow(t))
        return -1;
    struct hash *place = find(t, h);
    if (place->b & (uint64_t)mark)
        return 0;
    if (!(place->b & MARKS)) {
        *place = h;
        t->count++;
        s->count++;
    }
    place->b |= (uint64_t)mark;
    return 1;
}

bool rv_idset_has(const struct rv_idset *s, const void *id, size_t len, int mark)
{
    struct hash h = hash(s, id, len);
    const struct table *t = &s->tables[h.a >> 56];
    const struct hash *place = t->room ? find(t, h) : NULL;
    return place && place->b & (uint64_t)mark;
}

uint64_t rv_idset_count(const struct rv_idset *s)
{
    return s->count;
}

size_t rv_idset_bytes(const struct rv_idset *s)
{
    size_t bytes = sizeof *s;
    for (int i = 0; i < TABLES; i++)
        bytes += s->tables[i].room * sizeof(struct hash);
    return bytes;
}
