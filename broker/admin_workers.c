/* Commands about who works. */
#include "broker/admin_views.h"

static void show(kv_admin_call *call, const kv_inspect_view *view)
{
    kv_slice service = {"", 0};
    if (kv_admin_word(call, 0).len == 0 || kv_admin_service(call, 0, &service))
        kv_admin_inspect(call, view, 1, service);
}

static void workers(kv_admin_call *call)
{
    show(call, &kv_view_workers);
}

static void leases(kv_admin_call *call)
{
    show(call, &kv_view_leases);
}

static const kv_admin_command commands[] = {
    {"workers", "[SERVICE]", "who works on what, and when it was heard", 0, 1, NULL, false,
     workers},
    {"leases", "[SERVICE]", "jobs being worked on, by whom and since when", 0, 1, NULL, false,
     leases},
};
const kv_admin_module kv_admin_workers = {"Workers", commands,
                                          sizeof commands / sizeof commands[0]};
