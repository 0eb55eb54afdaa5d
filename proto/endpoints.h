/* Where messages meet inside one process: inproc endpoints, written with snprintf. */
#ifndef KV_ENDPOINTS_H
#define KV_ENDPOINTS_H

#define KV_EP_LOOP    "inproc://loop-%u"    /* inbox of an HTTP loop: UPLOAD_DONE */
#define KV_EP_SCANNER "inproc://scanner-%u" /* inbox of a pipeline: UPLOAD_BEGIN … UPLOAD_END */

#endif
