/* libFuzzer on header lines: any of them, not NUL-terminated, give a wait within its bounds, or none. */
#include "headers.h"
#include "retry.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rv_headers h;
    rv_headers_begin(&h);
    bool ended = false;
    while (size) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t len = end ? (size_t)(end - data) + 1 : size;
        /* In memory of its own size, so that reading beyond it is noticed. */
        char *line = malloc(len);
        if (!line)
            abort();
        memcpy(line, data, len);
        rv_headers_line(&h, line, len);
        bool empty = line[0] == '\r' || line[0] == '\n', begins = len > 5 && !memcmp(line, "HTTP/", 5);
        if (h.ended != (empty || (ended && !begins)))
            abort();
        ended = h.ended;
        free(line);
        double wait = rv_headers_wait(&h, 1700000000);
        if (!(wait == -1 || (wait >= 0 && wait <= RV_MAX_RETRY_AFTER_S)) || wait < h.retry_after)
            abort();
        data += len;
        size -= len;
    }
    return 0;
}
