/* Runs a fuzz target over every file of the folder it is given, without libFuzzer: the corpus as a
 * plain test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0;
    int rc = -1;

    if (!f || fseek(f, 0, SEEK_END))
        goto done;
    long end = ftell(f);
    if (end < 0 || fseek(f, 0, SEEK_SET))
        goto done;
    size = (size_t)end;
    data = malloc(
        size ? size
             : 1); /* as large as the input, so that a sanitizer sees the first byte behind it */
    if (!data || fread(data, 1, size, f) != size)
        goto done;
    rc = LLVMFuzzerTestOneInput(data, size) < 0 ? -1 : 0;
done:
    if (rc)
        fprintf(stderr, "failed: %s\n", path);
    free(data);
    if (f)
        fclose(f);
    return rc;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *dir = opendir(argv[1]);
    if (!dir) {
        perror(argv[1]);
        return 2;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        char path[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        if (replay(path))
            failed++;
        else
            passed++;
    }
    closedir(dir);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || passed == 0;
}
