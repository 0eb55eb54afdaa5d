/* The png walker on anything: see walk_properties.h. */
#include "tests/fuzz/walk_properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    walk_properties(KV_STRIP_PNG, data, size);
    return 0;
}
