/* S0-97: files are found the way people type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/read/name_match.h"

static bool finds(const char *part, const char *name)
{
    kv_name_match m;
    assert_int_equal(kv_name_match_init(&m, kv_slice_str(part)), KV_OK);
    bool yes = kv_name_matches(&m, kv_slice_str(name));
    kv_name_match_release(&m);
    return yes;
}

static void test_turkish(void **state)
{
    static const char *const parts[] = {"şehir", "Şehir", "ŞEHİR", "sehir", "SEHIR", "s\u0327ehir"};
    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_true(finds(parts[i], "bir şehir.png"));
        assert_true(finds(parts[i], "S\u0327EHI\u0307R.PNG")); /* as macOS writes it */
    }
    assert_true(finds("iığ", "IİĞ.jpg"));
    assert_true(finds("IIG", "ıiğ.jpg"));
    assert_false(finds("şehir", "sehi.png"));
    assert_true(finds("çöü", "COU.txt"));
}

static void test_others(void **state)
{
    (void)state;
    assert_true(finds("", "a.jpg"));
    assert_true(finds("A.J", "xa.jpg"));
    assert_false(finds("a.jpgg", "a.jpg"));
    assert_true(finds("%", "a4%.jpg"));
    assert_true(finds("日本", "日本.png"));
    assert_false(finds("日本", "nihon.png"));
    assert_true(finds("strasse", "Straße.jpg"));
    assert_true(finds("\u0301", "a.jpg")); /* an accent alone is nothing to look for */
    assert_false(finds("a", "\xff\xfe"));
}

static void test_bad_utf8(void **state)
{
    kv_name_match m;
    (void)state;
    assert_int_equal(kv_name_match_init(&m, kv_slice_str("\xc3(")), KV_E_BAD_PARAMETER);
    kv_name_match_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turkish),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_bad_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
