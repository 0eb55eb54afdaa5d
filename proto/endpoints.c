#include "proto/endpoints.h"

#include <string.h>
#include <zmq.h>

/* ZeroMQ speaks IPv6 only where it is asked to, and then needs it of the machine for all addresses.
 */
static bool choose_family(void *socket, const char *endpoint)
{
    int yes = 1;
    return strncmp(endpoint, "tcp://[", 7) != 0 ||
           zmq_setsockopt(socket, ZMQ_IPV6, &yes, sizeof yes) == 0;
}

bool kv_endpoint_bind(void *socket, const char *endpoint)
{
    return choose_family(socket, endpoint) && zmq_bind(socket, endpoint) == 0;
}

bool kv_endpoint_connect(void *socket, const char *endpoint)
{
    return choose_family(socket, endpoint) && zmq_connect(socket, endpoint) == 0;
}
