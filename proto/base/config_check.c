/* Checks of the configuration that a type and a range do not cover. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <strings.h>

#include "proto/base/config_rows.h"
#include "proto/base/media_name.h"
#include "proto/base/text.h"

#define SOCKET_PATH_MAX 107 /* sockaddr_un holds 108 with the NUL */
#define SECRET_MIN      32
#define NAME_MAX_LEN    KV_TEXT_DISTANCE_MAX

/* ---- endpoints ---- */

/* 0 would be any port: whoever is to connect would not know which. */
static bool port_valid(const char *text)
{
    size_t n = strlen(text);

    return n >= 1 && n <= 5 && strspn(text, "0123456789") == n && atoi(text) >= 1 &&
           atoi(text) <= 65535;
}

/* Splits "host:port" or "[host]:port"; false: neither. */
static bool split_port(const char *text, char host[NAME_MAX_LEN], const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;

    if (n == 0 || n >= NAME_MAX_LEN)
        return false;
    if (text[0] == '[') {
        if (text[n - 1] != ']' || n < 3)
            return false;
        text++, n -= 2;
    }
    memcpy(host, text, n);
    host[n] = '\0';
    *ret_port = colon + 1;
    return true;
}

/* `v6`: it stood in [ ]. */
static bool loopback(const char *host, bool v6)
{
    struct in_addr a4;
    struct in6_addr a6;

    if (v6)
        return inet_pton(AF_INET6, host, &a6) == 1 && IN6_IS_ADDR_LOOPBACK(&a6);
    return inet_pton(AF_INET, host, &a4) == 1 && ntohl(a4.s_addr) >> 24 == 127;
}

static void check_path(const char *env, const char *path, kv_buf *problems)
{
    if (strlen(path) > SOCKET_PATH_MAX)
        kv_buf_addf(
            problems,
            "%s: the socket path \"%.160s\" has %zu bytes; the system allows %d. Use a shorter "
            "KERVAN_DATA or set %s.\n",
            env, path, strlen(path), SOCKET_PATH_MAX, env);
}

static void check_endpoint(const char *env, const char *endpoint, kv_buf *problems)
{
    char host[NAME_MAX_LEN];
    const char *port;

    if (strncmp(endpoint, "ipc://", 6) == 0 && endpoint[6] && endpoint[6] != '@' &&
        endpoint[6] != '*') {
        check_path(env, endpoint + 6, problems);
    } else if (strncmp(endpoint, "tcp://", 6) == 0) {
        if (!split_port(endpoint + 6, host, &port) || !port_valid(port))
            kv_buf_addf(problems, "%s: is \"%.128s\"; tcp://127.0.0.1:PORT is needed.\n", env,
                        endpoint);
        else if (strcmp(host, "localhost") == 0)
            kv_buf_addf(problems,
                        "%s: is \"%.128s\"; a name may mean another address to each who asks. Use "
                        "127.0.0.1 or [::1].\n",
                        env, endpoint);
        else if (!loopback(host, endpoint[6] == '['))
            kv_buf_addf(
                problems,
                "%s: is \"%.128s\"; tcp:// outside the loopback has no authentication yet and "
                "is refused. Use ipc://, 127.0.0.1 or [::1].\n",
                env, endpoint);
    } else {
        kv_buf_addf(problems, "%s: is \"%.128s\"; ipc://PATH or tcp://127.0.0.1:PORT is needed.\n",
                    env, endpoint);
    }
}

static void check_listen(const char *listen, kv_buf *problems)
{
    char host[NAME_MAX_LEN];
    unsigned char address[sizeof(struct in6_addr)];
    const char *port;

    if (!split_port(listen, host, &port) || !port_valid(port) ||
        inet_pton(listen[0] == '[' ? AF_INET6 : AF_INET, host, address) != 1)
        kv_buf_addf(
            problems,
            "KERVAN_LISTEN: is \"%.128s\"; ADDRESS:PORT with a numeric address is needed, for "
            "example 0.0.0.0:8080 or [::1]:8080.\n",
            listen);
}

/* ---- lists ---- */

static void check_types(const char *list, kv_buf *problems)
{
    kv_slice item;

    if (!*list)
        kv_buf_adds(problems, "ALLOWED_MIME_TYPES: is empty; name at least one type.\n");
    while (kv_list_next(&list, &item)) {
        const kv_mime_info *m = kv_mime_find(item);
        if (m && m->not_yet)
            kv_buf_addf(problems, "ALLOWED_MIME_TYPES: %.*s is not accepted yet.\n",
                        KV_SLICE_FMT(item));
        else if (!m)
            kv_buf_addf(problems, "ALLOWED_MIME_TYPES: kervan does not know the type \"%.*s\".\n",
                        item.len < 64 ? (int)item.len : 64, item.ptr);
        else if (!kv_slice_is(item, m->mime))
            kv_buf_addf(problems, "ALLOWED_MIME_TYPES: %.*s is called %s here.\n",
                        KV_SLICE_FMT(item), m->mime);
    }
}

static void check_folders(const char *list, kv_buf *problems)
{
    kv_slice item;

    while (kv_list_next(&list, &item)) {
        if (!kv_folder_valid(item))
            kv_buf_addf(
                problems,
                "PROCESSING_FOLDERS: \"%.*s\" is no folder name: 1 to 4 names of [a-z0-9_-] "
                "joined by \"/\".\n",
                item.len < 64 ? (int)item.len : 64, item.ptr);
    }
}

static void check_widths(const char *list, kv_buf *problems)
{
    kv_slice item;
    int count = 0;

    for (; kv_list_next(&list, &item); count++) {
        char text[8] = "";
        if (item.len < sizeof text)
            memcpy(text, item.ptr, item.len);
        if (!text[0] || strspn(text, "0123456789") != item.len || atoi(text) < 16 ||
            atoi(text) > 16383 || text[0] == '0')
            kv_buf_addf(problems, "IMAGE_WIDTHS: \"%.*s\" is no width from 16 to 16383 px.\n",
                        item.len < 64 ? (int)item.len : 64, item.ptr);
    }
    if (count > 16)
        kv_buf_adds(problems, "IMAGE_WIDTHS: has more than 16 widths.\n");
}

/* "name", "1.2.3.4" or "[::1]": what is compared with a Host header without its port. */
static bool host_valid(kv_slice s)
{
    bool v6 = s.ptr[0] == '[';

    if (s.len > 253 || (v6 && (s.len < 3 || s.ptr[s.len - 1] != ']')))
        return false;
    for (size_t i = v6; i < s.len - v6; i++) {
        bool plain = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-",
                            s.ptr[i]) != NULL;
        if (!plain && !(v6 && s.ptr[i] == ':'))
            return false;
    }
    return true;
}

static void check_hosts(const char *list, kv_buf *problems)
{
    kv_slice item;

    while (kv_list_next(&list, &item)) {
        if (!host_valid(item))
            kv_buf_addf(
                problems,
                "ALLOWED_HOSTS: \"%.*s\" is no host name. Ports do not belong here, an IPv6 "
                "address stands in [ ]. Leave the variable empty to answer all.\n",
                item.len < 64 ? (int)item.len : 64, item.ptr);
    }
}

/* "https://host[:port]": what browsers send as Origin; no path, no slash at the end. */
static bool origin_valid(kv_slice s)
{
    size_t scheme = s.len > 8 && strncasecmp(s.ptr, "https://", 8) == 0  ? 8
                    : s.len > 7 && strncasecmp(s.ptr, "http://", 7) == 0 ? 7
                                                                         : 0;

    for (size_t i = scheme; scheme && i < s.len; i++) {
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || strchr("/?#@\\\"<>*", s.ptr[i]))
            return false;
    }
    return scheme != 0;
}

static void check_origins(const char *list, kv_buf *problems)
{
    kv_slice item;

    while (kv_list_next(&list, &item)) {
        if (!origin_valid(item))
            kv_buf_addf(problems,
                        "CORS_ALLOWED_ORIGINS: \"%.*s\" is no origin; https://HOST or "
                        "https://HOST:PORT is needed.\n",
                        item.len < 64 ? (int)item.len : 64, item.ptr);
    }
}

static void check_base_url(const char *url, kv_buf *problems)
{
    bool good = strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0;

    for (const char *c = url; *c; c++)
        good = good && *c > ' ' && *c <= '~' && !strchr("\"<>\\?#", *c);
    if (*url && !good)
        kv_buf_addf(problems,
                    "MEDIA_BASE_URL: is \"%.128s\"; http:// or https:// with a host is needed.\n",
                    url);
}

/* ---- what goes together ---- */

bool kv_config_sqlite(const kv_config *cfg)
{
    static const char *const names[] = {"", "sqlite", "sqlite:", "sqlite://", "sqlite:///"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(cfg->database_url, names[i]) == 0)
            return true;
    }
    return false;
}

static void check_engines(const kv_config *cfg, kv_buf *problems, kv_buf *warnings)
{
    bool known = kv_config_sqlite(cfg);

    /* the URL may hold a password: it is not shown */
    if (!known && strncmp(cfg->database_url, "sqlite:", 7) == 0)
        kv_buf_adds(problems,
                    "DATABASE_URL: the SQLite database lives in KERVAN_DATA; leave the "
                    "variable empty, or sqlite:// without a path, and set KERVAN_DATA.\n");
    else if (!known)
        kv_buf_adds(problems,
                    "DATABASE_URL: this version has SQLite only; leave the variable empty. "
                    "PostgreSQL comes with a later version.\n");
    if (cfg->use_s3)
        kv_buf_adds(problems, "USE_S3: this version keeps media on disk only; set it to false. S3 "
                              "comes with a later version.\n");
    if (*cfg->redis_url)
        kv_buf_adds(warnings, "REDIS_URL is set and not used: the broker is the queue.\n");
    if (*cfg->redis_token)
        kv_buf_adds(warnings, "REDIS_TOKEN is set and not used: the broker is the queue.\n");
}

static void check_production(const kv_config *cfg, kv_buf *problems, kv_buf *warnings)
{
    if (strlen(cfg->secret_key) < SECRET_MIN)
        kv_buf_addf(problems,
                    "SECRET_KEY: has %zu characters; production needs %d or more. Make one with "
                    "\"openssl rand -hex 32\".\n",
                    strlen(cfg->secret_key), SECRET_MIN);
    if (!*cfg->allowed_hosts)
        kv_buf_adds(problems,
                    "ALLOWED_HOSTS: is empty; production needs the host names to answer.\n");
    if (!cfg->use_s3)
        kv_buf_adds(warnings, "not stateless: media and database live on the disk of this machine "
                              "(KERVAN_DATA). Back it up.\n");
    if (strcmp(cfg->durability, "full") != 0)
        kv_buf_adds(warnings,
                    "DURABILITY=relaxed: an upload answered with 201 may be lost when the "
                    "power fails.\n");
}

void kv_config_check(const kv_config *cfg, kv_buf *problems, kv_buf *warnings)
{
    if (!*cfg->data)
        kv_buf_adds(problems, "KERVAN_DATA: is empty; a folder is needed.\n");
    check_endpoint("KERVAN_BROKER", cfg->broker, problems);
    check_endpoint("KERVAN_EVENTS", cfg->events, problems);
    if (strcmp(cfg->broker, cfg->events) == 0)
        kv_buf_adds(problems, "KERVAN_EVENTS: is the same endpoint as KERVAN_BROKER.\n");
    check_path("KERVAN_ADMIN", cfg->admin, problems);
    check_listen(cfg->listen, problems);
    check_types(cfg->allowed_mime_types, problems);
    check_folders(cfg->processing_folders, problems);
    check_widths(cfg->image_widths, problems);
    check_hosts(cfg->allowed_hosts, problems);
    check_origins(cfg->cors_allowed_origins, problems);
    check_base_url(cfg->media_base_url, problems);
    if (cfg->lane_share == 1)
        kv_buf_adds(problems,
                    "LANE_SHARE: is 1, so the lower lane would always go first; 2 or more "
                    "is needed, or 0 for strict order.\n");
    check_engines(cfg, problems, warnings);
    if (strcmp(cfg->env, "production") == 0)
        check_production(cfg, problems, warnings);
}

/* ---- unknown names ---- */

#define NEAR 2 /* letters; a suggestion farther away would only puzzle */

static const char *nearest(kv_slice name, size_t *ret_distance)
{
    const char *best = NULL;

    *ret_distance = SIZE_MAX;
    for (size_t i = 0; i < kv_config_row_count; i++) {
        size_t d = kv_text_distance(name, kv_slice_str(kv_config_rows[i].env));
        if (d < *ret_distance)
            *ret_distance = d, best = kv_config_rows[i].env;
    }
    return best;
}

void kv_config_check_name(kv_slice name, kv_buf *problems)
{
    static const char prefix[] = "KERVAN_";
    size_t n = sizeof prefix - 1, with, without;

    if (name.len < n || memcmp(name.ptr, prefix, n) != 0 || kv_slice_is(name, "KERVAN_READY_FD") ||
        kv_slice_is(name, "KERVAN_SUPERVISED"))
        return;
    for (size_t i = 0; i < kv_config_row_count; i++) {
        if (kv_slice_is(name, kv_config_rows[i].env))
            return;
    }
    kv_slice shown = name.len <= NAME_MAX_LEN ? name : kv_slice_of(name.ptr, NAME_MAX_LEN);
    /* KERVAN_LOG_LEVEL is near LOG_LEVEL */
    const char *near = nearest(shown, &with);
    const char *bare = nearest(kv_slice_of(shown.ptr + n, shown.len - n), &without);
    if (without < with)
        near = bare, with = without;
    if (with <= NEAR)
        kv_buf_addf(problems, "%.*s: is not known. Did you mean %s?\n", KV_SLICE_FMT(shown), near);
    else
        kv_buf_addf(problems, "%.*s: is not known. kervan config lists the names.\n",
                    KV_SLICE_FMT(shown));
}
