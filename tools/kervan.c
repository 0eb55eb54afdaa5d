/* kervan: the one binary. The table below is the program; `kervan help` prints it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "actors/image/zygote.h"
#include "actors/ingest.h"
#include "actors/worker.h"
#include "broker/broker.h"
#include "gateway/gateway.h"
#include "proto/base/config.h"
#include "proto/base/log.h"
#include "proto/base/process.h"
#include "proto/base/words.h"
#include "storage/db.h"
#include "tools/ctl.h"
#include "tools/supervise.h"

extern char **environ;

enum {
    NEEDS_CONFIG = 1, /* the configuration is read, problems end the program */
    NEEDS_SIGNALS = 2 /* a service: signals, no core files, logs under its name */
};

enum { ANY = 1 << 20 };

typedef struct command {
    const char *name, *args, *text;
    unsigned needs;
    int words; /* that may follow, at most */
    int (*run)(const kv_config *cfg, int signal_fd, int argc, char **argv);
} command;

static int run_up(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "--readable") != 0) {
        fprintf(stderr, "kervan up: there is no option \"%s\"\n", argv[0]);
        return 2;
    }
    return kv_supervise(cfg, signal_fd, argc > 0);
}

static int run_broker(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return kv_broker_run(cfg, signal_fd);
}

static int run_gateway(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const kv_ingest_hooks hooks = {kv_ingest_start, kv_ingest_stop};
    return kv_gateway_run(cfg, signal_fd, &hooks);
}

static int run_worker(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    return kv_worker_run(cfg, signal_fd, argc, argv);
}

static int run_migrate(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    (void)signal_fd;
    (void)argc;
    (void)argv;
    kv_db *db = NULL;
    int from = 0, to = 0;
    kv_err err = kv_db_open(cfg, KV_DB_WRITE, &db);
    if (err == KV_OK)
        err = kv_db_migrate(db, &from, &to);
    kv_db_close(&db);
    if (err != KV_OK) {
        fprintf(stderr, "kervan migrate: %s\n", kv_err_info_of(err)->en);
        return 1;
    }
    printf(from == to ? "The database is at version %d already.\n"
                      : "The database went to version %d.\n",
           to);
    return 0;
}

static int print_config(void (*fill)(kv_buf *), const kv_config *cfg)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    if (fill)
        fill(&out);
    else
        kv_config_print(cfg, &out);
    fputs(kv_buf_str(&out), stdout);
    kv_buf_release(&out);
    return 0;
}

static int run_config(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    (void)signal_fd;
    if (argc > 0 && strcmp(argv[0], "--example") == 0)
        return print_config(kv_config_example, NULL);
    if (argc > 0 && strcmp(argv[0], "--manual") == 0)
        return print_config(kv_config_manual, NULL);
    if (argc > 0) {
        fprintf(stderr, "kervan config: there is no option \"%s\"\n", argv[0]);
        return 2;
    }
    return print_config(NULL, cfg);
}

static int run_ctl(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    (void)cfg;
    (void)signal_fd;
    return kv_ctl(argc, argv);
}

/* `kervan doctor …` is `kervan ctl … doctor`. */
static int run_doctor(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    enum { WORDS = 8 };
    char *words[WORDS] = {NULL};
    static char doctor[] = "doctor";
    (void)cfg;
    (void)signal_fd;
    if (argc > WORDS - 1) {
        fprintf(stderr, "kervan doctor: too many words\n");
        return 2;
    }
    for (int i = 0; i < argc; i++)
        words[i] = argv[i];
    words[argc] = doctor;
    return kv_ctl(argc + 1, words);
}

static int run_version(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    (void)cfg;
    (void)signal_fd;
    (void)argc;
    (void)argv;
    printf("kervan %s (schema %d)\n", KERVAN_VERSION, kv_db_schema_version());
    return 0;
}

static int run_help(const kv_config *cfg, int signal_fd, int argc, char **argv);

static const command commands[] = {
    {"up", "[--readable]", "start everything on this machine: broker, gateway and worker",
     NEEDS_CONFIG | NEEDS_SIGNALS, 1, run_up},
    {"broker", "", "the broker alone", NEEDS_CONFIG | NEEDS_SIGNALS, 0, run_broker},
    {"gateway", "", "an HTTP gateway alone", NEEDS_CONFIG | NEEDS_SIGNALS, 0, run_gateway},
    {"worker", "ACTOR...", "a worker with these actors: " KV_WORKERS(", "),
     NEEDS_CONFIG | NEEDS_SIGNALS, ANY, run_worker},
    {"config", "[--example|--manual]",
     "the configuration in force, an .env.example or the manual's tables", NEEDS_CONFIG, 1,
     run_config},
    {"ctl", "[-s SOCKET] [-j] [COMMAND]", "look into the running broker and steer it", 0, ANY,
     run_ctl},
    {"doctor", "[-s SOCKET] [-j]", "what is wrong with it, and what to do", 0, ANY, run_doctor},
    {"migrate", "", "bring the database to this version", NEEDS_CONFIG, 0, run_migrate},
    {"version", "", "version of program and schema", 0, 0, run_version},
    {"help", "", "this list", 0, 0, run_help},
};

static int run_help(const kv_config *cfg, int signal_fd, int argc, char **argv)
{
    (void)cfg;
    (void)signal_fd;
    (void)argc;
    (void)argv;
    puts("kervan takes files and work in over HTTP and loses neither.\n\n  kervan COMMAND\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("  %-8s %-26s %s\n", commands[i].name, commands[i].args, commands[i].text);
    puts("\nSettings are environment variables; `kervan config` shows them.");
    return 0;
}

/* Of LOG_LEVEL, which is one of the words by now. */
static kv_log_level level_of(const char *word)
{
    return (kv_log_level)kv_word_find(kv_log_level_names, KV_LOG_LEVEL_COUNT, kv_slice_str(word));
}

static int load_config(const command *c, kv_config *cfg)
{
    kv_buf problems, warnings;
    kv_buf_init(&problems, 0);
    kv_buf_init(&warnings, 0);
    kv_err err = kv_config_load(cfg, environ, &problems, &warnings);
    if (err != KV_OK)
        fprintf(stderr, "kervan %s: the configuration has problems:\n%s", c->name,
                kv_buf_str(&problems));
    else if (warnings.len > 0 && strcmp(c->name, "up") == 0)
        fputs(kv_buf_str(&warnings), stderr);
    kv_buf_release(&problems);
    kv_buf_release(&warnings);
    if (err != KV_OK)
        kv_config_release(cfg);
    return err == KV_OK ? 0 : 2;
}

/* True: nothing is to be run. `kervan migrate --help` must not migrate. */
static bool only_asked(const command *c, int argc, char **argv, int *ret_status)
{
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        printf("kervan %s%s%s: %s\n", c->name, *c->args ? " " : "", c->args, c->text);
        *ret_status = 0;
        return true;
    }
    if (argc > c->words) {
        fprintf(stderr, "kervan %s: what is \"%s\"? See `kervan help`.\n", c->name, argv[c->words]);
        *ret_status = 2;
        return true;
    }
    return false;
}

/* What a full disk swallowed is not done. */
static bool output_lost(const command *c)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return false;
    fprintf(stderr, "kervan %s: not all of the output could be written\n", c->name);
    return true;
}

static int run_command(const command *c, int argc, char **argv)
{
    int status;
    if (only_asked(c, argc, argv, &status))
        return status;
    kv_config cfg;
    memset(&cfg, 0, sizeof cfg);
    int signal_fd = -1;
    if (c->needs & NEEDS_CONFIG) {
        int rc = load_config(c, &cfg);
        if (rc != 0)
            return rc;
        kv_log_setup(c->name, level_of(cfg.log_level));
    }
    if (c->needs & NEEDS_SIGNALS) {
        signal_fd = kv_process_setup(c->name);
        if (signal_fd < 0)
            return 1;
    }
    int rc = c->run(&cfg, signal_fd, argc, argv);
    if (c->needs & NEEDS_CONFIG)
        kv_config_release(&cfg);
    if (!(c->needs & NEEDS_SIGNALS) && output_lost(c) && rc == 0)
        rc = 1;
    return rc;
}

/* Where stdin, stdout or stderr is closed, a file or socket would take its number and be written
 * to. */
static void fill_standard_descriptors(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    fill_standard_descriptors();
    if (strcmp(name, "image-zygote") == 0) /* not for people: the image actor starts it */
        return kv_image_zygote_main(argc, argv);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0)
            return run_command(&commands[i], argc > 2 ? argc - 2 : 0, argv + 2);
    fprintf(stderr, "kervan: there is no command \"%s\"; see `kervan help`\n", name);
    return 2;
}
