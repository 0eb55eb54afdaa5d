/* multipart/form-data: cut at every byte, the same parts; heads, names and boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "gateway/multipart.h"

static kv_err on_begin(void *arg, const kv_part *p)
{
    kv_buf_addf(arg, "[%.*s|%.*s|%.*s|%d]", KV_SLICE_FMT(p->name), KV_SLICE_FMT(p->filename),
                KV_SLICE_FMT(p->type), p->has_filename);
    return KV_OK;
}

static kv_err on_data(void *arg, kv_slice s)
{
    assert_true(s.len > 0);
    kv_buf_add(arg, s.ptr, s.len);
    return KV_OK;
}

static kv_err on_end(void *arg)
{
    kv_buf_adds(arg, "[end]");
    return KV_OK;
}

static const kv_multipart_events events = {on_begin, on_data, on_end};

/* Pushed as text[0..a), text[a..b), rest; each in a block of its own so that a sanitizer sees reads
 * beyond it. */
static kv_err run(const char *text, size_t len, size_t a, size_t b, kv_buf *out)
{
    kv_multipart m;
    kv_multipart_init(&m, "XX", &events, out);
    size_t cuts[] = {0, a, b, len};
    kv_err err = KV_OK;
    for (int i = 0; i < 3 && err == KV_OK; i++) {
        size_t n = cuts[i + 1] - cuts[i];
        char *copy = malloc(n + 1);
        memcpy(copy, text + cuts[i], n);
        err = kv_multipart_push(&m, kv_slice_of(copy, n));
        free(copy);
    }
    if (err == KV_OK)
        err = kv_multipart_finish(&m);
    kv_multipart_release(&m);
    return err;
}

static void test_every_cut(void **state)
{
    (void)state;
    static const char text[] =
        "preamble\r\n--XX\r\nContent-Disposition: form-data; "
        "name=\"folder\"\r\n\r\nbanners\r\n--XX \t\r\n"
        "content-type: image/png\r\nContent-Disposition: form-data; name=file; "
        "filename=\"a.png\"\r\n\r\n"
        "\r\n-\r\n--X\r\n\r\n--XY--XX\r\r\n--\r\n--XX\r\n"
        "Content-Disposition: form-data; name=\"e\"\r\n\r\n\r\n--XX--\r\nepilogue --XX";
    static const char want[] = "[folder|||0]banners[end][file|a.png|image/"
                               "png|1]\r\n-\r\n--X\r\n\r\n--XY--XX\r\r\n--[end][e|||0][end]";
    size_t len = sizeof(text) - 1;
    kv_buf out;
    kv_buf_init(&out, 0);
    for (size_t a = 0; a <= len; a++)
        for (size_t b = a; b <= len; b++) {
            kv_buf_clear(&out);
            assert_int_equal(run(text, len, a, b, &out), KV_OK);
            assert_string_equal(kv_buf_str(&out), want);
        }
    /* cut off anywhere before the closing boundary: an error */
    for (size_t n = 0; n < len - strlen("\r\nepilogue --XX"); n++) {
        kv_buf_clear(&out);
        assert_int_equal(run(text, n, n / 2, n, &out), KV_E_BAD_MULTIPART);
    }
    kv_buf_release(&out);
}

static void test_bad(void **state)
{
    (void)state;
#define CD "Content-Disposition: form-data; name=\"f\""
    static const char *const forms[] = {
        "",
        "--XX",
        "no boundary at all",
        "--XX\r\n" CD "\r\n\r\nx",
        "--XX\n" CD "\n\nx\n--XX--",
        "--XXY\r\n" CD "\r\n\r\nx\r\n--XX--",
        "--XX\r\n\r\nx\r\n--XX--",
        "--XX\r\nContent-Disposition: attachment; name=\"f\"\r\n\r\nx\r\n--XX--",
        "--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--",
        "--XX\r\n" CD "\r\n" CD "\r\n\r\nx\r\n--XX--",
        "--XX\r\n" CD "; name=\"g\"\r\n\r\nx\r\n--XX--",
        "--XX\r\n" CD "\r\n folded\r\n\r\nx\r\n--XX--",
        "--XX\r\nContent-Disposition: form-data; name=\"f\r\n\r\nx\r\n--XX--",
        "--XX\r\n" CD " junk\r\n\r\nx\r\n--XX--",
        "--XX\r\n" CD "\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--XX--",
        "--XX\r\n" CD "\r\nX: \x01\r\n\r\nx\r\n--XX--",
        "--XX-\r\n",
        "--XX -- \r\n",
    };
    kv_buf out;
    kv_buf_init(&out, 0);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (run(forms[i], strlen(forms[i]), 0, 0, &out) != KV_E_BAD_MULTIPART)
            fail_msg("%s", forms[i]);
    kv_buf_clear(&out);
    kv_buf_adds(&out, "--XX\r\n" CD "\r\nX: ");
    for (int i = 0; i < KV_PART_HEAD_MAX; i++)
        kv_buf_addc(&out, 'x');
    kv_buf sink;
    kv_buf_init(&sink, 0);
    assert_int_equal(run(out.data, out.len, 100, 5000, &sink), KV_E_BAD_MULTIPART);
    kv_buf_clear(&out);
    for (int i = 0; i <= KV_PARTS_MAX; i++)
        kv_buf_adds(&out, "\r\n--XX\r\n" CD "\r\n\r\nx");
    kv_buf_adds(&out, "\r\n--XX--");
    assert_int_equal(run(out.data, out.len, 100, 200, &sink), KV_E_BAD_MULTIPART);
    kv_buf_release(&out);
    kv_buf_release(&sink);
}

static void name_is(const char *params, const char *want, kv_err want_err)
{
    char head[9000];
    kv_part part;
    const char *why;
    snprintf(head, sizeof(head), "Content-Disposition: form-data; name=\"file\"; %s\r\n", params);
    kv_err err = kv_part_parse(kv_slice_str(head), &part, &why);
    if (err != want_err || (err == KV_OK && !kv_slice_is(part.filename, want)))
        fail_msg("%s: %s '%.*s'", params, kv_err_info_of(err)->name, KV_SLICE_FMT(part.filename));
}

static void test_names(void **state)
{
    (void)state;
    name_is("filename=\"a b.png\"", "a b.png", KV_OK);
    name_is("filename=a.png", "a.png", KV_OK);
    name_is("FileName=\"x\" ; other=1", "x", KV_OK);
    name_is("filename=\"a\\\"b\\\\c\\d.png\"", "a\"b\\c\\d.png", KV_OK);
    name_is("filename=\"a%22b%0D%0A100%25.png\"", "a\"b\r\n100%25.png", KV_OK);
    name_is("filename=\"g\xc3\xb6rsel.png\"", "g\xc3\xb6rsel.png", KV_OK);
    name_is("filename=\"plain\"; filename*=UTF-8''g%C3%B6rsel%20x.png", "g\xc3\xb6rsel x.png",
            KV_OK);
    name_is("filename*=utf-8'tr'%e2%82%ac; filename=plain", "\xe2\x82\xac", KV_OK);
    name_is("filename=\"\"", "", KV_OK);
    name_is("filename*=iso-8859-1''x", "", KV_E_BAD_FILENAME);
    name_is("filename*=UTF-8''a%00b", "", KV_E_BAD_FILENAME);
    name_is("filename*=UTF-8''a%zz", "", KV_E_BAD_FILENAME);
    name_is("filename*=UTF-8''a%4", "", KV_E_BAD_FILENAME);
    name_is("filename*=UTF-8'a", "", KV_E_BAD_FILENAME);
    name_is("filename=\"open", "", KV_E_BAD_FILENAME);
    name_is("filename=a; filename=b", "", KV_E_BAD_FILENAME);
    char longer[4200] = "filename=\"";
    memset(longer + 10, 'x', 4096);
    strcpy(longer + 10 + 4096, "\"");
    name_is(longer, "", KV_E_BAD_FILENAME);
}

static void test_boundary(void **state)
{
    (void)state;
    char b[KV_MULTIPART_BOUNDARY_MAX + 1];
    static const struct {
        const char *type, *want;
    } cases[] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;charset=utf-8;BOUNDARY=\"a b'(c)\"", "a b'(c)"},
        {"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
         "----WebKitFormBoundary7MA4YWxkTrZu0gW"},
        {"multipart/form-data; boundary=abc;", "abc"},
        {"multipart/form-data", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"\"", NULL},
        {"multipart/form-data; boundary=\"a \"", NULL},
        {"multipart/form-data; boundary=a; boundary=b", NULL},
        {"multipart/form-data; boundary=\"a\xc3\xb6\"", NULL},
        {"multipart/form-data; "
         "boundary=1234567890123456789012345678901234567890123456789012345678901234567890", /* 70 */
         "1234567890123456789012345678901234567890123456789012345678901234567890"},
        {"multipart/form-data; "
         "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
         NULL},
        {"multipart/mixed; boundary=abc", NULL},
        {"multipart/form-datax; boundary=abc", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool ok = kv_multipart_boundary(kv_slice_str(cases[i].type), b);
        if (ok != (cases[i].want != NULL) || (ok && strcmp(b, cases[i].want) != 0))
            fail_msg("%s", cases[i].type);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_boundary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
