/* Endpoints: where messages meet inside one process (inproc, written with snprintf), and how those
 * of the broker are bound and connected to. */
#ifndef KV_ENDPOINTS_H
#define KV_ENDPOINTS_H

#include <stdbool.h>

#define KV_EP_LOOP    "inproc://loop-%u"    /* inbox of an HTTP loop: UPLOAD_DONE */
#define KV_EP_SCANNER "inproc://scanner-%u" /* inbox of a pipeline: UPLOAD_BEGIN … UPLOAD_END */

/* As zmq_bind and zmq_connect, also for tcp://[::1]:PORT. False: errno says why. The socket's
 * thread. */
bool kv_endpoint_bind(void *socket, const char *endpoint);
bool kv_endpoint_connect(void *socket, const char *endpoint);

#endif
