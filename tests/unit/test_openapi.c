/* The API description is held against the route table, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "gateway/openapi.h"
#include "gateway/routes.h"
#include "proto/base/words.h"

typedef struct route {
    const char *method, *path;
} route;

static const route routes[] = {
#define ROW(method, path, handler, flags, text) {#method, path},
    KV_ROUTES(ROW)
#undef ROW
};
#define ROUTES (sizeof(routes) / sizeof(routes[0]))

/* "/api/media/:id" to "/api/media/{id}", "*" to "{path}". */
static void template_of(const char *path, char *out)
{
    for (; *path != '\0'; path++) {
        if (*path == '*') {
            strcpy(out, "{path}");
            out += 6;
        } else if (*path == ':') {
            *out++ = '{';
            while (path[1] != '\0' && path[1] != '/')
                *out++ = *++path;
            *out++ = '}';
        } else {
            *out++ = *path;
        }
    }
    *out = '\0';
}

static void lower(const char *in, char *out)
{
    while (*in != '\0')
        *out++ = (char)(*in++ | 0x20);
    *out = '\0';
}

static json_t *load(void)
{
    json_error_t error;
    json_t *doc = json_loadb((const char *)kv_openapi_json, kv_openapi_json_len,
                             JSON_REJECT_DUPLICATES, &error);
    if (doc == NULL)
        fail_msg("openapi.json:%d: %s", error.line, error.text);
    return doc;
}

static void test_every_route_is_described(void **state)
{
    (void)state;
    json_t *doc = load(), *paths = json_object_get(doc, "paths");
    for (size_t i = 0; i < ROUTES; i++) {
        char path[128], method[16];
        template_of(routes[i].path, path);
        lower(routes[i].method, method);
        json_t *op = json_object_get(json_object_get(paths, path), method);
        if (op == NULL)
            fail_msg("%s %s is not in openapi.json", routes[i].method, path);
        assert_true(json_string_length(json_object_get(op, "summary")) > 0);
        assert_true(json_string_length(json_object_get(op, "operationId")) > 0);
        assert_true(json_object_size(json_object_get(op, "responses")) > 0);
    }
    json_decref(doc);
}

static void test_every_description_has_a_route(void **state)
{
    (void)state;
    json_t *doc = load(), *item, *op;
    const char *path, *method;
    json_object_foreach(json_object_get(doc, "paths"), path, item)
    {
        json_object_foreach(item, method, op)
        {
            if (strcmp(method, "parameters") == 0)
                continue;
            size_t found = 0;
            for (size_t i = 0; i < ROUTES; i++) {
                char t[128], m[16];
                template_of(routes[i].path, t);
                lower(routes[i].method, m);
                found += strcmp(t, path) == 0 && strcmp(m, method) == 0;
            }
            if (found != 1)
                fail_msg("%s %s of openapi.json is no route", method, path);
        }
    }
    json_decref(doc);
}

/* Every $ref leads somewhere. */
static void check_refs(json_t *doc, json_t *node)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_array(node)) {
        json_array_foreach(node, i, value) check_refs(doc, value);
        return;
    }
    json_object_foreach(node, key, value)
    {
        if (strcmp(key, "$ref") == 0) {
            const char *name = json_string_value(value), *prefix = "#/components/schemas/";
            assert_int_equal(strncmp(name, prefix, strlen(prefix)), 0);
            json_t *schemas = json_object_get(json_object_get(doc, "components"), "schemas");
            if (json_object_get(schemas, name + strlen(prefix)) == NULL)
                fail_msg("%s leads nowhere", name);
        } else {
            check_refs(doc, value);
        }
    }
}

static void test_refs_and_version(void **state)
{
    (void)state;
    json_t *doc = load();
    check_refs(doc, doc);
    assert_string_equal(json_string_value(json_object_get(json_object_get(doc, "info"), "version")),
                        KERVAN_VERSION);
    json_decref(doc);
}

/* schemas.<schema>.properties.<member> has just these words. */
static void check_words(json_t *doc, const char *schema, const char *member, const kv_slice *words,
                        size_t n)
{
    json_t *properties, *words_there;
    if (json_unpack(doc, "{s:{s:{s:{s:o}}}}", "components", "schemas", schema, "properties",
                    &properties) != 0 ||
        json_unpack(properties, "{s:{s:o}}", member, "enum", &words_there) != 0)
        fail_msg("%s.%s has no words in openapi.json", schema, member);
    size_t known = 0, i;
    json_t *word;
    json_array_foreach(words_there, i, word)
    {
        for (size_t k = 0; k < n; k++)
            known += kv_slice_is(words[k], json_string_value(word));
    }
    if (known != n || json_array_size(words_there) != n)
        fail_msg("%s.%s of openapi.json has other words than proto/base/words.h", schema, member);
}

static void test_words_are_those_of_the_tables(void **state)
{
    (void)state;
    json_t *doc = load();
    kv_slice states[KV_STATES], lanes[KV_LANES];
    for (int i = 0; i < KV_STATES; i++)
        states[i] = kv_slice_str(kv_state_names[i]);
    for (int i = 0; i < KV_LANES; i++)
        lanes[i] = kv_slice_str(kv_lane_names[i]);
    kv_slice healths[KV_HEALTH_COUNT];
    for (int i = 0; i < KV_HEALTH_COUNT; i++)
        healths[i] = kv_slice_str(kv_health_names[i]);
    check_words(doc, "Job", "status", states, KV_STATES);
    check_words(doc, "Queue", "health", healths, KV_HEALTH_COUNT);
    check_words(doc, "Job", "lane", lanes, KV_LANES);
    check_words(doc, "Event", "type", kv_event_names, KV_EVENT_COUNT);
    json_decref(doc);
}

/* schemas.QueueSettings: every setting that takes a number has its bounds. */
static void test_bounds_are_those_of_the_table(void **state)
{
    (void)state;
    json_t *doc = load(), *settings, *one;
    assert_int_equal(json_unpack(doc, "{s:{s:{s:{s:o}}}}", "components", "schemas", "QueueSettings",
                                 "properties", &settings),
                     0);
#define CHECK(F, T, name, kind, option, low, high, unit, text)                                     \
    one = json_object_get(settings, #name);                                                        \
    if (one == NULL)                                                                               \
        fail_msg("QueueSettings of openapi.json has no %s", #name);                                \
    if (strcmp(#kind, "count") == 0) {                                                             \
        assert_int_equal(json_integer_value(json_object_get(one, "minimum")), low);                \
        assert_int_equal(json_integer_value(json_object_get(one, "maximum")), high);               \
    }
    KV_QUEUE_SETTINGS(CHECK, , )
#undef CHECK
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_route_is_described),
                                       cmocka_unit_test(test_every_description_has_a_route),
                                       cmocka_unit_test(test_words_are_those_of_the_tables),
                                       cmocka_unit_test(test_bounds_are_those_of_the_table),
                                       cmocka_unit_test(test_refs_and_version)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
