/* See vector.h. */
#include "vector.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A place in a document: everything that is read moves it; broken once the document is not JSON. */
struct place {
    const char *at, *end;
    bool broken;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char skip_space(struct place *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
    return p->at < p->end ? *p->at : 0;
}

static bool take(struct place *p, char c)
{
    /* Between a vector's numbers there is rarely a space. */
    if ((p->at < p->end && *p->at == c) || skip_space(p) == c) {
        p->at++;
        return true;
    }
    return false;
}

/* Behind the opening quote: to behind the closing one. */
static void skip_string(struct place *p)
{
    for (; p->at < p->end; p->at++) {
        if (*p->at == '"') {
            p->at++;
            return;
        }
        if (*p->at == '\\')
            p->at++;
    }
    p->broken = true;
}

/* Over any value; what is nested in it is only counted. */
static void skip_value(struct place *p)
{
    char c = skip_space(p);
    if (c == '"') {
        p->at++;
        skip_string(p);
    } else if (c == '{' || c == '[') {
        static const bool special[256] = {['"'] = true, ['{'] = true, ['['] = true, ['}'] = true, [']'] = true};
        int depth = 0;
        while (p->at < p->end && !p->broken) {
            c = *p->at++;
            if (!special[(unsigned char)c])
                continue;
            if (c == '"')
                skip_string(p);
            else if (c == '{' || c == '[')
                depth++;
            else if (--depth == 0)
                return;
        }
        p->broken = true;
    } else {
        const char *from = p->at;
        while (p->at < p->end && !strchr(",]} \n\t\r", *p->at))
            p->at++;
        p->broken = p->broken || p->at == from;
    }
}

/* Into the object's value under the key; false when there is none. */
static bool enter_key(struct place *p, const char *key, size_t key_len)
{
    if (!take(p, '{')) {
        skip_value(p);
        return false;
    }
    if (skip_space(p) == '}')
        return false;
    for (;;) {
        if (!take(p, '"')) {
            p->broken = true;
            return false;
        }
        const char *name = p->at;
        skip_string(p);
        bool same = !p->broken && (size_t)(p->at - 1 - name) == key_len && !memcmp(name, key, key_len);
        if (!take(p, ':'))
            p->broken = true;
        if (p->broken || same)
            return same && !p->broken;
        skip_value(p);
        if (p->broken || !take(p, ','))
            return false;
    }
}

/* Gives where the value ends; NULL: no more of them. */
typedef const char *found_function(void *arg, const char *value, const char *end);

/* The rest of the path from the value at p, which is left where it ends only as far as elements need it. */
static bool follow(struct place *p, const char *path, found_function *found, void *arg)
{
    if (!*path) {
        skip_space(p);
        const char *after = found(arg, p->at, p->end);
        if (after)
            p->at = after;
        return after != NULL;
    }
    if (path[0] == '[' && path[1] == ']') {
        const char *rest = path + 2 + (path[2] == '.');
        if (!take(p, '[') || skip_space(p) == ']')
            return !p->broken;
        do {
            struct place element = *p;
            if (!follow(&element, rest, found, arg))
                return false;
            skip_value(p);
        } while (!p->broken && take(p, ','));
        return !p->broken;
    }
    size_t n = strcspn(path, ".[");
    if (!n || !enter_key(p, path, n))
        return !p->broken;
    return follow(p, path + n + (path[n] == '.'), found, arg);
}

/* The values at path: keys parted by dots, "[]" behind one for each element of the array there ("data[].embedding"). false when
 * the document is broken, as far as it was looked at, or found gave NULL; a path that leads nowhere finds nothing. */
static bool each(const char *document, size_t len, const char *path, found_function *found, void *arg)
{
    struct place p = {document, document + len, false};
    return follow(&p, path, found, arg);
}

/* Over digits; zero stays true while all are '0'. Eight at a time, as vectors are long and their numbers, too. */
static const char *skip_digits(const char *at, const char *end, bool *zero)
{
    for (uint64_t eight; end - at >= 8; at += 8) {
        memcpy(&eight, at, 8);
        /* The high bit of a byte shows where it is above '9' or below '0'; what is above 127 shows it by itself. */
        if ((eight | (eight + 0x4646464646464646u) | (eight - 0x3030303030303030u)) & 0x8080808080808080u)
            break;
        *zero = *zero && eight == 0x3030303030303030u;
    }
    for (; at < end && is_digit(*at); at++)
        *zero = *zero && *at == '0';
    return at;
}

/* One number, as JSON has them: NULL, or what is wrong. zero: whether it is one. */
static const char *check_number(struct place *p, bool *zero)
{
    static const char *const none = "not all of the vector are numbers";
    const char *at = p->at, *end = p->end;
    *zero = true;
    if (at < end && *at == '-')
        at++;
    const char *digits = at;
    at = skip_digits(at, end, zero);
    if (at == digits || at - digits > 30)
        return none;
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        at = skip_digits(at, end, zero);
        if (at == fraction)
            return none;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        bool negative = ++at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+'))
            at++;
        const char *exponent = at;
        int power = 0;
        for (; at < end && is_digit(*at); at++)
            power = power < 1000 ? power * 10 + (*at - '0') : power;
        if (at == exponent)
            return none;
        if (!negative && power > 8 && !*zero) /* with at most 30 digits before it, below the largest float */
            return "a number of the vector is too large";
    }
    p->at = at;
    return NULL;
}

/* What is wrong with the array of numbers at p; NULL, with p behind it and *dimension set, when nothing is. */
static const char *check_vector(struct place *p, int *dimension)
{
    bool all_zero = true;
    *dimension = 0;
    if (!take(p, '['))
        return "no vector";
    if (take(p, ']'))
        return "the vector is empty";
    do {
        bool zero;
        if (p->at < p->end && *p->at <= ' ')
            skip_space(p);
        const char *why = check_number(p, &zero);
        if (why)
            return why;
        all_zero = all_zero && zero;
        ++*dimension;
    } while (take(p, ','));
    if (!take(p, ']'))
        return "not all of the vector are numbers";
    return all_zero ? "the vector is all zeros" : NULL;
}

static struct rv_vector *copy(const char *json, size_t len, int dimension, const char **why)
{
    struct rv_vector *v = malloc(sizeof *v + len + 1);
    if (!v) {
        *why = "out of memory";
        return NULL;
    }
    atomic_init(&v->references, 1);
    v->dimension = dimension;
    v->len = len;
    memcpy(v->json, json, len);
    v->json[len] = 0;
    return v;
}

struct rv_vector *rv_vector_new(const char *json, size_t len, const char **why)
{
    struct place p = {json, json + len, false};
    int dimension;
    *why = check_vector(&p, &dimension);
    if (!*why && skip_space(&p))
        *why = "not all of the vector are numbers";
    return *why ? NULL : copy(json, len, dimension, why);
}

struct rv_vector *rv_vector_share(struct rv_vector *v)
{
    atomic_fetch_add(&v->references, 1);
    return v;
}

void rv_vector_drop(struct rv_vector *v)
{
    if (v && atomic_fetch_sub(&v->references, 1) == 1)
        free(v);
}

void rv_vectors_free(struct rv_vectors *v)
{
    for (int i = 0; i < v->count; i++)
        rv_vector_drop(v->list[i]);
    free(v->list);
    *v = (struct rv_vectors){0};
}

static const char *add_vector(void *arg, const char *value, const char *end)
{
    struct rv_vectors *v = arg;
    if ((v->count & (v->count - 1)) == 0) { /* full at 0, 1, 2, 4 … */
        struct rv_vector **list = realloc(v->list, (v->count ? 2 * (size_t)v->count : 1) * sizeof *list);
        if (!list)
            return NULL;
        v->list = list;
    }
    struct place p = {value, end, false};
    int dimension;
    const char *why = check_vector(&p, &dimension);
    if (why) {
        p.at = value;
        skip_value(&p);
        if (p.broken)
            return NULL;
    }
    v->list[v->count++] = why ? NULL : copy(value, (size_t)(p.at - value), dimension, &why);
    if (why && !v->why)
        v->why = why;
    return p.at;
}

/* Vectors as they are put in order: the next of those found goes to the place that its index names. */
struct order {
    struct rv_vectors *from, to;
    int next;
    bool *taken;
};

static const char *place_vector(void *arg, const char *value, const char *end)
{
    struct order *o = arg;
    struct place p = {value, end, false};
    skip_value(&p);
    int index = 0;
    for (const char *at = value; at < p.at; at++) {
        if (!is_digit(*at) || index >= o->from->count)
            return NULL;
        index = index * 10 + (*at - '0');
    }
    if (p.broken || index >= o->from->count || o->next == o->from->count || o->taken[index])
        return NULL;
    o->taken[index] = true;
    o->to.list[index] = o->from->list[o->next++];
    return p.at;
}

static bool put_in_order(struct rv_vectors *v, const char *document, size_t len, const char *index)
{
    size_t n = (size_t)v->count;
    struct order o = {.from = v, .to = {.list = calloc(n, sizeof(struct rv_vector *)), .count = v->count, .why = v->why}};
    o.taken = calloc(n, sizeof *o.taken);
    bool ok = o.to.list && o.taken && each(document, len, index, place_vector, &o) && o.next == v->count;
    free(o.taken);
    free(ok ? v->list : o.to.list);
    if (ok)
        *v = o.to;
    return ok;
}

const char *rv_vectors_find(struct rv_vectors *v, const char *document, size_t len, const char *path, const char *index)
{
    *v = (struct rv_vectors){0};
    const char *why = NULL;
    if (!each(document, len, path, add_vector, v))
        why = "the answer's vectors cannot be read";
    else if (!v->count)
        why = "no vector in the answer";
    else if (index && !put_in_order(v, document, len, index))
        why = "the answer's indexes are no order of its vectors";
    if (why)
        rv_vectors_free(v);
    return why;
}
