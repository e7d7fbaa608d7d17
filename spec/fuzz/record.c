/* libFuzzer on record.lua in this folder, which says what must hold. */
#include "in_lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return run_in_lua("spec/fuzz/record.lua", data, size);
}
