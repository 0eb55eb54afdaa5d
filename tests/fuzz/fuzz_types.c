/* What a file is, by its head: the quick answer is libmagic's; the verdict is one of the table, the
 * same for whatever stands behind the head, and keeps to what is allowed and was claimed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "actors/scanner/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char allowed[] = "image/jpeg,image/png,image/webp,image/gif,image/avif,image/heic,"
                              "application/pdf,video/mp4,audio/mpeg,application/zip,text/plain";

static void demand(bool good)
{
    if (!good)
        abort();
}

static kv_types *the_types(void)
{
    static kv_types *types;
    kv_config cfg = {.allowed_mime_types = (char *)allowed};
    if (types == NULL)
        demand(kv_types_new(&cfg, &types) == KV_OK);
    return types;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a",     "a.jpg", "a.png", "a.webp", "a.gif", "a.avif",
                                        "a.mp4", "a.txt", "a.pdf", "a.svg",  "a.exe", "a.heic"};
    kv_types *types = the_types();
    char seen[128] = "", seen_again[128] = "";
    const kv_mime_info *type = NULL, *again = NULL;
    if (size < 2)
        return 0;
    kv_claim claim;
    kv_claim_read(&claim, kv_slice_str(names[data[0] % (sizeof names / sizeof *names)]),
                  kv_slice_of(NULL, 0));
    data++, size--;
    const char *quick = kv_types_quick(data, size);
    if (quick)
        demand(strcmp(quick, kv_types_ask(types, data, size)) == 0);
    kv_err err = kv_types_judge(types, &claim, data, size, &type, seen);
    demand(err != KV_E_INTERNAL && memchr(seen, '\0', sizeof seen) != NULL && seen[0]);
    if (err == KV_OK) {
        demand(type && !type->not_yet && kv_mime_find(kv_slice_str(seen)) == type);
        demand(!claim.has_ext || claim.by_ext == type);
    }
    if (size >= KV_TYPE_HEAD) {
        demand(kv_types_judge(types, &claim, data, KV_TYPE_HEAD, &again, seen_again) == err);
        demand(type == again && strcmp(seen, seen_again) == 0);
    }
    return 0;
}
