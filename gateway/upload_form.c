/* What a form may hold: one file part named "file", one field "folder", other small fields that are
 * ignored. */
#include <stdio.h>

#include "gateway/upload.h"
#include "proto/base/text.h"

kv_err kv_upload_set_folder(kv_upload *u, kv_slice folder)
{
    if (folder.len == 0)
        folder = kv_slice_str("genel");
    if (folder.len > KV_FOLDER_MAX || !kv_folder_valid(folder)) {
        u->folder[0] = 0; /* the log line names none */
        return KV_E_BAD_FOLDER;
    }
    memcpy(u->folder, folder.ptr, folder.len);
    u->folder[folder.len] = 0;
    return KV_OK;
}

kv_err kv_upload_set_file(kv_upload *u, kv_slice filename, kv_slice declared)
{
    KV_TRY(kv_filename_check(filename));
    memcpy(u->filename, filename.ptr, filename.len);
    u->filename[filename.len] = 0;
    /* a type that is too long or not text is no type: the scanner compares only what is there */
    if (declared.len < sizeof(u->declared) && kv_utf8_valid(declared)) {
        if (declared.len > 0)
            memcpy(u->declared, declared.ptr, declared.len);
        u->declared[declared.len] = 0;
    }
    return KV_OK;
}

/* Dropzone, flow.js, resumable.js, Plupload: how many pieces they cut the file into. */
static bool counts_pieces(kv_slice name)
{
    static const char *const names[] = {"dztotalchunkcount", "flowTotalChunks",
                                        "resumableTotalChunks", "chunks"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (kv_slice_is(name, names[i]))
            return true;
    return false;
}

static bool several(kv_slice count)
{
    return count.len > 0 && !kv_slice_is(count, "0") && !kv_slice_is(count, "1");
}

static kv_err on_part(void *arg, const kv_part *part)
{
    kv_upload *u = arg;
    u->in_file = u->in_folder = u->in_nameless = false;
    u->in_chunks = counts_pieces(part->name);
    u->field_len = 0;
    if (kv_slice_is(part->name, "file") && !part->has_filename) {
        u->nameless = u->in_nameless = true; /* FilePond's metadata, before its file */
        return KV_OK;
    }
    if (kv_slice_is(part->name, "file")) {
        if (u->have_file)
            return KV_E_TWO_FILES;
        u->have_file = u->in_file = true;
        if (part->filename.len == 0)
            return KV_E_MISSING_FILE; /* what a form sends where no file was chosen */
        return kv_upload_set_file(u, part->filename, part->type);
    }
    if (part->has_filename && part->filename.len > 0) {
        snprintf(u->detail, sizeof(u->detail), "file in a field of another name");
        return u->have_file ? KV_E_TWO_FILES : KV_E_MISSING_FILE;
    }
    if (kv_slice_is(part->name, "folder")) {
        if (u->have_folder) {
            snprintf(u->detail, sizeof(u->detail), "folder is given twice");
            return KV_E_BAD_FOLDER;
        }
        u->have_folder = u->in_folder = true;
    }
    return KV_OK;
}

static kv_err on_data(void *arg, kv_slice bytes)
{
    kv_upload *u = arg;
    if (u->in_file)
        return kv_upload_file_bytes(u, bytes);
    if (bytes.len > sizeof(u->field) - u->field_len) {
        if (u->in_nameless)
            return KV_E_BAD_FILENAME; /* it may well be the file */
        snprintf(u->detail, sizeof(u->detail), "a field is longer than 1 KiB");
        return u->in_folder ? KV_E_BAD_FOLDER : KV_E_BAD_MULTIPART;
    }
    memcpy(u->field + u->field_len, bytes.ptr, bytes.len);
    u->field_len += bytes.len;
    return KV_OK;
}

static kv_err on_part_end(void *arg)
{
    kv_upload *u = arg;
    kv_slice value = kv_slice_of(u->field, u->field_len);
    kv_err err = KV_OK;
    if (u->in_folder)
        err = kv_upload_set_folder(u, value);
    else if (u->in_chunks && several(value))
        err = KV_E_PIECE;
    u->in_file = u->in_folder = false;
    return err;
}

const kv_multipart_events kv_upload_form = {on_part, on_data, on_part_end};
