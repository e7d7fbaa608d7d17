/* libFuzzer on what finds and checks vectors in an answer: any bytes, under paths of every shape. */
#include "vector.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const paths[][2] = {
    {"e", NULL}, {"data[].e", "data[].i"}, {"o.e[].v", NULL}, {"[]", NULL}, {"a[][].v", "a[].i"},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    const char *const *path = paths[data[0] % (sizeof paths / sizeof *paths)];
    /* In memory of its own size, so that reading beyond it is noticed. */
    char *document = malloc(size);
    if (!document)
        abort();
    memcpy(document, data + 1, size - 1);
    struct rv_vectors v;
    const char *why = rv_vectors_find(&v, document, size - 1, path[0], path[1]);
    if (!why != (v.count > 0))
        abort();
    for (int i = 0; i < v.count; i++) {
        if (!v.list[i])
            continue;
        struct rv_vector *again = rv_vector_new(v.list[i]->json, v.list[i]->len, &why);
        if (!again || again->dimension != v.list[i]->dimension)
            abort();
        rv_vector_drop(again);
    }
    rv_vectors_free(&v);
    free(document);
    return 0;
}
