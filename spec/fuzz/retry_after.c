/* libFuzzer on Retry-After: any two header values give a wait within its bounds, or none. */
#include "retry.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char value[256], date[256];
    size_t split = size ? data[0] % size : 0, rest = size - split;
    if (split >= sizeof value || rest >= sizeof date)
        return 0;
    if (split)
        memcpy(value, data, split);
    if (rest)
        memcpy(date, data + split, rest);
    value[split] = date[rest] = 0;
    double with = rv_retry_after(value, date, 1700000000), without = rv_retry_after(value, NULL, 1700000000);
    if (!(with == -1 || (with >= 0 && with <= RV_MAX_RETRY_AFTER_S)) || !(without == -1 || (without >= 0 && without <= RV_MAX_RETRY_AFTER_S)))
        abort();
    return 0;
}
