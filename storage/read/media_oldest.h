/* SQL that storage/read and storage/write share. */
#ifndef KV_STORAGE_READ_MEDIA_OLDEST_H
#define KV_STORAGE_READ_MEDIA_OLDEST_H

/* The id of the oldest media row of `blob` in `folder`, or null, by the shorter way: one file may
 * have a row in each of very many folders, and one folder very many files. The arguments are SQL;
 * `refs` is the blob's, `more` a further condition (" AND …") or "". */
#define KV_OLDEST_MEDIA(blob, folder, refs, more)                                                  \
    "iif(ifnull((SELECT media FROM folder WHERE name = " folder "), 0) < " refs ", "               \
    "(SELECT id FROM media INDEXED BY media_folder WHERE folder = " folder                         \
    " AND blob = " blob more " ORDER BY id LIMIT 1), "                                             \
    "(SELECT id FROM media INDEXED BY media_blob WHERE blob = " blob " AND folder = " folder more  \
    " ORDER BY id LIMIT 1))"

#endif
