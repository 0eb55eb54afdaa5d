#include "broker/hooks.h"

const kv_hook *kv_hook_of(kv_slice service)
{
    static const kv_hook *const hooks[] = {&kv_hook_image, &kv_hook_reap};
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
        if (kv_slice_is(service, hooks[i]->service))
            return hooks[i];
    }
    return NULL;
}
