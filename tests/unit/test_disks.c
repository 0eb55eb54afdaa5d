/* Whether the disks have room, and the thread that looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/disks.h"
#include "proto/base/log.h"
#include "tests/unit/scratch.h"

static void test_what_is_low(void **state)
{
    kv_config cfg = {.disk_reserve_mb = 64};
    const int64_t reserve = 64 << 20;
    (void)state;
    assert_false(kv_space_low((kv_space){reserve, 128}, &cfg, 0));
    assert_true(kv_space_low((kv_space){reserve, 128}, &cfg, 1));
    assert_true(kv_space_low((kv_space){reserve - 1, 128}, &cfg, 0));
    assert_true(kv_space_low((kv_space){reserve, 127}, &cfg, 0));
    assert_false(kv_space_low((kv_space){reserve, -1}, &cfg, 0)); /* Btrfs */
    assert_false(kv_space_low((kv_space){-1, -1}, &cfg, 0));
    cfg.disk_reserve_mb = 0;
    assert_false(kv_space_low((kv_space){0, 0}, &cfg, 1));
}

static void test_words(void **state)
{
    kv_room room = {.apart = true};
    (void)state;
    assert_null(kv_room_say(&room));
    room.media_low = true;
    assert_string_equal(kv_room_say(&room)->slug, "media_disk_low");
    room.disk_low = true;
    assert_string_equal(kv_room_say(&room)->slug, "disk_full");
    room.media_error = EROFS;
    assert_string_equal(kv_room_say(&room)->slug, "media_not_writable");
}

static char said[4096];

static void listen(const char *lines, size_t len)
{
    size_t room = sizeof said - strlen(said) - 1;
    strncat(said, lines, len < room ? len : room);
}

static kv_room wait_until_seen(kv_disks *disks)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    kv_room room;
    while ((room = kv_disks_room(disks)).disk.bytes < 0)
        nanosleep(&moment, NULL);
    return room;
}

static void test_the_thread_tells(void **state)
{
    scratch s;
    kv_disks *disks;
    (void)state;
    scratch_make(&s);
    s.cfg.disk_reserve_mb = (int64_t)1 << 40; /* nobody has that */
    assert_int_equal(mkdir(scratch_path(&s, "media"), 0700), 0);
    kv_log_divert(listen);
    assert_int_equal(kv_disks_start(&s.cfg, &disks), KV_OK);
    kv_room room = wait_until_seen(disks);
    kv_disks_stop(&disks);
    kv_log_divert(NULL);
    assert_true(room.disk_low);
    assert_false(room.apart || room.media_low); /* it is the same disk */
    assert_int_equal(room.media_error, 0);      /* .tmp is made by others */
    assert_non_null(strstr(said, "\"disk_low\""));
    assert_null(strstr(said, "media_disk_low"));
    assert_int_equal(kv_disks_start(&(kv_config){.data = s.cfg.data}, &disks), KV_OK);
    assert_false(wait_until_seen(disks).disk_low); /* none wanted: never low */
    kv_disks_stop(&disks);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_low),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_the_thread_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
