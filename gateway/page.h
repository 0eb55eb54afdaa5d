/* The built page, as gateway/embed_page.mjs writes it into the binary (or page_none.c.in without
 * KERVAN_UI). */
#ifndef KV_GATEWAY_PAGE_H
#define KV_GATEWAY_PAGE_H

#include <stddef.h>

typedef struct kv_page_file {
    const char *path; /* "index.html", "assets/app-1A2B3C4D.js" */
    const char *type; /* Content-Type */
    const char *etag; /* with its quotes; of the plain bytes */
    const unsigned char *bytes;
    size_t len;
    const unsigned char *gzip; /* NULL: not smaller */
    size_t gzip_len;
} kv_page_file;

extern const kv_page_file kv_page_files[]; /* path NULL ends */

#endif
