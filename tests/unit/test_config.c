#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proto/base/config.h"

typedef struct loaded {
    kv_config cfg;
    kv_buf problems, warnings;
    kv_err err;
} loaded;

static loaded *load(char *const *envp)
{
    static loaded l;

    kv_buf_release(&l.problems);
    kv_buf_release(&l.warnings);
    kv_config_release(&l.cfg);
    l.err = kv_config_load(&l.cfg, envp, &l.problems, &l.warnings);
    return &l;
}

#define LOAD(...) load((char *[]){__VA_ARGS__, NULL})

static void test_defaults(void **state)
{
    loaded *l =
        LOAD("PATH=/bin", "KERVAN_READY_FD=5", "KERVAN_SUPERVISED=7", "MAX_UPLOAD_SIZE_MB=");

    (void)state;
    assert_int_equal(l->err, KV_OK);
    assert_string_equal(kv_buf_str(&l->problems), "");
    assert_string_equal(kv_buf_str(&l->warnings), "");
    assert_string_equal(l->cfg.data, "./data");
    assert_string_equal(l->cfg.broker, "ipc://./data/run/broker.sock");
    assert_string_equal(l->cfg.events, "ipc://./data/run/events.sock");
    assert_string_equal(l->cfg.admin, "./data/run/admin.sock");
    assert_int_equal(l->cfg.max_upload_size_mb, 50); /* S0-50 */
    assert_true(l->cfg.dedup_enabled);               /* Y25 */
    assert_false(l->cfg.use_s3);
}

/* What the requirements name: the example and the manual follow the table, so they would not tell.
 */
static void test_promised_defaults(void **state)
{
    loaded *l = LOAD("PATH=/bin");
    const kv_config *c = &l->cfg;

    (void)state;
    assert_string_equal(c->listen, "127.0.0.1:8080");
    assert_string_equal(c->env, "development");
    assert_true(c->image_processing_enabled && c->upload_stream_enabled); /* S0-49 */
    assert_true(c->strip_original_metadata);
    assert_string_equal(c->durability, "full");
    assert_string_equal(c->processing_folders, "");
    assert_string_equal(c->allowed_mime_types,
                        "image/jpeg,image/png,image/webp,image/gif,image/avif,image/heic,"
                        "application/pdf,video/mp4,audio/mpeg,application/zip,text/plain");
    assert_string_equal(c->image_widths, "320,640,1280");
    assert_true(c->webp_quality == 80 && c->webp_effort == 4);
    assert_true(c->avif_quality == 50 && c->avif_effort == 1);
    assert_int_equal(c->header_timeout, 10);
    assert_int_equal(c->stuck_after, 300); /* S3-26 */
    assert_int_equal(c->drain_timeout, 30);
}

static void test_values(void **state)
{
    loaded *l = LOAD("KERVAN_DATA=/srv/kv//", "KERVAN_BROKER=tcp://127.0.0.1:7001",
                     "KERVAN_EVENTS=tcp://[::1]:7002", "PROCESSING_FOLDERS= banners , haber/2026,,",
                     "MEDIA_BASE_URL=https://cdn.example/", "DEDUP_ENABLED=false",
                     "MAX_UPLOAD_SIZE_MB=1048576", "KERVAN_LISTEN=[::]:80",
                     "CORS_ALLOWED_ORIGINS=HTTPS://A.example:443,http://localhost:3000");
    kv_slice item;

    (void)state;
    assert_string_equal(kv_buf_str(&l->problems), "");
    assert_string_equal(l->cfg.data, "/srv/kv");
    assert_string_equal(l->cfg.admin, "/srv/kv/run/admin.sock");
    assert_string_equal(l->cfg.broker, "tcp://127.0.0.1:7001");
    assert_string_equal(l->cfg.processing_folders, "banners,haber/2026");
    assert_string_equal(l->cfg.media_base_url, "https://cdn.example");
    assert_false(l->cfg.dedup_enabled);
    assert_true(kv_list_has(l->cfg.processing_folders, kv_slice_str("haber/2026")));
    assert_false(kv_list_has(l->cfg.processing_folders, kv_slice_str("haber")));
    assert_false(kv_list_has("", kv_slice_str("")));
    const char *list = l->cfg.processing_folders;
    assert_true(kv_list_next(&list, &item) && kv_slice_is(item, "banners"));
    assert_true(kv_list_next(&list, &item) && kv_slice_is(item, "haber/2026"));
    assert_false(kv_list_next(&list, &item));
}

static void test_all_problems_at_once(void **state)
{
    loaded *l =
        LOAD("ENV=prod", "MAX_UPLOAD_SIZE_MB=0", "WEBP_EFFORT=1e3", "DEDUP_ENABLED=yes",
             "KERVAN_LISTN=x", "KERVAN_LOG_LEVEL=debug", "KERVAN_LISTEN=localhost:80",
             "ALLOWED_MIME_TYPES=image/jpg,a/b,image/svg+xml", "PROCESSING_FOLDERS=../x",
             "IMAGE_WIDTHS=0,12x,99999,640", "KERVAN_NIX=1", "CORS_ALLOWED_ORIGINS=https://a/,*",
             "MEDIA_BASE_URL=cdn", "DATABASE_URL=postgres://u:hunter2@h/db", "USE_S3=true",
             "KERVAN_BROKER=tcp://10.0.0.1:1", "KERVAN_EVENTS=tcp://*:1", "ALLOWED_HOSTS=*",
             "LANE_SHARE=1");
    const char *text = kv_buf_str(&l->problems);
    static const char *const wanted[] = {
        "LANE_SHARE: is 1, so",
        "ENV: is \"prod\"; allowed are development|staging|production.\n",
        "MAX_UPLOAD_SIZE_MB: is \"0\"; a whole number from 1 to 1048576 MiB is needed.\n",
        "WEBP_EFFORT: is \"1e3\"",
        "DEDUP_ENABLED: is \"yes\"",
        "KERVAN_LISTN: is not known. Did you mean KERVAN_LISTEN?\n",
        "KERVAN_LOG_LEVEL: is not known. Did you mean LOG_LEVEL?\n",
        "KERVAN_NIX: is not known. kervan config lists the names.\n",
        "KERVAN_LISTEN: is \"localhost:80\"",
        "image/jpg is called image/jpeg here",
        "does not know the type \"a/b\"",
        "image/svg+xml is not accepted yet",
        "PROCESSING_FOLDERS: \"../x\"",
        "IMAGE_WIDTHS: \"0\"",
        "IMAGE_WIDTHS: \"12x\"",
        "IMAGE_WIDTHS: \"99999\"",
        "\"https://a/\" is no origin",
        "\"*\" is no origin",
        "MEDIA_BASE_URL: is \"cdn\"",
        "DATABASE_URL: this version has SQLite only",
        "USE_S3: this version keeps media on disk only",
        "KERVAN_BROKER: is \"tcp://10.0.0.1:1\"; tcp:// outside the loopback",
        "KERVAN_EVENTS: is \"tcp://*:1\"",
        "ALLOWED_HOSTS: \"*\" is no host name"};

    (void)state;
    assert_int_equal(l->err, KV_E_CONFIG);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (!strstr(text, wanted[i]))
            fail_msg("no \"%s\" in:\n%s", wanted[i], text);
    }
    assert_null(strstr(text, "hunter2"));
}

static void test_database_url(void **state)
{
    (void)state;
    assert_int_equal(LOAD("DATABASE_URL=sqlite:///")->err, KV_OK);
    assert_int_equal(LOAD("DATABASE_URL=sqlite:///var/lib/x.db")->err, KV_E_CONFIG);
    assert_non_null(strstr(kv_buf_str(&LOAD("DATABASE_URL=sqlite:x.db")->problems),
                           "DATABASE_URL: the SQLite database lives in KERVAN_DATA"));
}

/* Values that look good and could never work. */
static void test_never_works(void **state)
{
    loaded *l = LOAD("KERVAN_LISTEN=127.0.0.1:0", "KERVAN_BROKER=tcp://127.0.0.1:0",
                     "KERVAN_EVENTS=tcp://[127.0.0.1]:1",
                     "ALLOWED_HOSTS=a.example:8080,::1,[::1],[],b.example", "USE_S3=false\r",
                     "KERVAN_DATA=./data\r", "SECRET_KEY=hunter2\r", "ALLOWED_MIME_TYPES=\r");
    const char *text = kv_buf_str(&l->problems);
    static const char *const wanted[] = {"KERVAN_LISTEN: is \"127.0.0.1:0\"",
                                         "KERVAN_BROKER: is \"tcp://127.0.0.1:0\"",
                                         "KERVAN_EVENTS: is \"tcp://[127.0.0.1]:1\"",
                                         "ALLOWED_HOSTS: \"a.example:8080\"",
                                         "ALLOWED_HOSTS: \"::1\"",
                                         "ALLOWED_HOSTS: \"[]\"",
                                         "USE_S3: holds a control character",
                                         "KERVAN_DATA: holds a control character",
                                         "SECRET_KEY: holds a control character"};

    (void)state;
    assert_int_equal(l->err, KV_E_CONFIG);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (!strstr(text, wanted[i]))
            fail_msg("no \"%s\" in:\n%s", wanted[i], text);
    }
    assert_null(strstr(text, "\"[::1]\""));
    assert_null(strstr(text, "b.example"));
    assert_null(strstr(text, "\r"));
    assert_null(strstr(text, "hunter2"));
}

static void test_production(void **state)
{
    loaded *l = LOAD("ENV=production", "SECRET_KEY=short", "REDIS_URL=redis://:hunter2@h",
                     "REDIS_TOKEN=hunter2");

    (void)state;
    assert_int_equal(l->err, KV_E_CONFIG); /* S1-45 */
    assert_non_null(strstr(kv_buf_str(&l->problems), "SECRET_KEY: has 5 characters"));
    assert_non_null(strstr(kv_buf_str(&l->problems), "ALLOWED_HOSTS: is empty"));
    assert_null(strstr(kv_buf_str(&l->problems), "short"));
    assert_non_null(strstr(kv_buf_str(&l->warnings), "not stateless"));                 /* X04 */
    assert_non_null(strstr(kv_buf_str(&l->warnings), "REDIS_URL is set and not used")); /* X23 */
    assert_non_null(strstr(kv_buf_str(&l->warnings), "REDIS_TOKEN is set and not used"));
    assert_null(strstr(kv_buf_str(&l->warnings), "hunter2"));
    l = LOAD("ENV=production", "SECRET_KEY=0123456789abcdef0123456789abcdef",
             "ALLOWED_HOSTS=media.example");
    assert_int_equal(l->err, KV_OK);
}

static void test_socket_path_limit(void **state)
{
    char env[200] = "KERVAN_DATA=/";
    loaded *l;

    (void)state;
    memset(env + 13, 'd', 90); /* /ddd…/run/broker.sock: 91 + 16 bytes */
    l = load((char *[]){env, NULL});
    assert_string_equal(kv_buf_str(&l->problems), "");
    env[13 + 90] = 'd';
    l = load((char *[]){env, NULL});
    assert_non_null(strstr(kv_buf_str(&l->problems), "KERVAN_BROKER: the socket path"));
    assert_non_null(strstr(kv_buf_str(&l->problems), "108 bytes"));
    assert_null(strstr(kv_buf_str(&l->problems), "KERVAN_ADMIN"));
}

/* S1-81 X19: secrets are masked; the example names every variable with its default and loads
 * without a problem */
static void test_texts(void **state)
{
    char lines[32768], *envp[128];
    size_t n = 0;
    kv_buf out;
    loaded *l = LOAD("SECRET_KEY=hunter2", "KERVAN_DATA=/x");

    (void)state;
    kv_buf_init(&out, 0);
    kv_config_print(&l->cfg, &out);
    assert_non_null(strstr(kv_buf_str(&out), "SECRET_KEY=***"));
    assert_non_null(strstr(kv_buf_str(&out), "KERVAN_BROKER=ipc:///x/run/broker.sock"));
    assert_null(strstr(kv_buf_str(&out), "hunter2"));
    kv_buf_clear(&out);
    kv_config_example(&out);
#define IN_EXAMPLE(env, member, type, unit, def, min, max, secret, readers, text)                  \
    assert_non_null(strstr(kv_buf_str(&out), "\n" #env "=" def "\n"));
    KV_CONFIG(IN_EXAMPLE)
    assert_true(out.len < sizeof lines);
    memcpy(lines, kv_buf_str(&out), out.len + 1);
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
        if (line[0] != '#')
            envp[n++] = line;
    }
    envp[n] = NULL;
    l = load(envp);
    assert_string_equal(kv_buf_str(&l->problems), "");
    kv_buf_clear(&out);
    kv_config_manual(&out);
    assert_non_null(strstr(kv_buf_str(&out), "| `WEBP_EFFORT` | 0 to 6 | `4` | worker |"));
    kv_buf_release(&out);
}

static int teardown(void **state)
{
    loaded *l = LOAD("A=b");

    (void)state;
    kv_config_release(&l->cfg);
    kv_config_release(&l->cfg); /* twice is harmless */
    kv_buf_release(&l->problems);
    kv_buf_release(&l->warnings);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_promised_defaults),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_all_problems_at_once),
        cmocka_unit_test(test_database_url), cmocka_unit_test(test_never_works),
        cmocka_unit_test(test_production),   cmocka_unit_test(test_socket_path_limit),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
