/* Writing documents; see output.h. */
#include "commands/output.h"

#include "commands/options.h"

struct output {
    output_writer *write;
    void *opaque;
};

static int copy(FILE *from, FILE *out, struct error **err)
{
    char buffer[65536];
    size_t n;

    rewind(from);
    while ((n = fread(buffer, 1, sizeof buffer, from)) > 0) {
        if (fwrite(buffer, 1, n, out) != n)
            return error_set_errno(err, errno, "writing the result");
    }
    return ferror(from) ? error_set(err, "reading the result back failed") : 0;
}

/* It is made where it can be begun again. */
static int write_through(const struct output *output, FILE *out, struct error **err)
{
    CLEANUP_FCLOSE FILE *file = tmpfile();

    if (!file)
        return error_set_errno(err, errno, "a temporary file");
    return output->write(output->opaque, file, err) < 0 ? -1 : copy(file, out, err);
}

static int write_in_place(const struct output *output, const char *path, struct error **err)
{
    FILE *file = fopen(path, "we");
    int r;

    if (!file)
        return error_set_errno(err, errno, "%s", path);
    r = write_through(output, file, err);
    if (fclose(file) != 0 && r == 0)
        r = error_set_errno(err, errno, "%s", path);
    return r;
}

static int write_synced(const struct output *output, const char *path, struct error **err)
{
    CLEANUP_FCLOSE FILE *file = fopen(path, "w+xe");

    if (!file)
        return error_set_errno(err, errno, "%s", path);
    if (output->write(output->opaque, file, err) < 0)
        return error_prefix(err, "%s", path);
    return fsync(fileno(file)) == 0 ? 0 : error_set_errno(err, errno, "%s", path);
}

/* Nobody sees half of it. */
static int write_to_file(const struct output *output, const char *path, struct error **err)
{
    CLEANUP_FREE char *temporary = NULL;

    if (is_written_in_place(path))
        return write_in_place(output, path, err);
    if (asprintf(&temporary, "%s.%d.tmp", path, (int)getpid()) < 0)
        return error_set_errno(err, ENOMEM, "%s", path);
    if (write_synced(output, temporary, err) == 0) {
        if (rename(temporary, path) == 0)
            return 0;
        error_set_errno(err, errno, "%s", path);
    }
    unlink(temporary);
    return -1;
}

int output_write(const char *path, output_writer *write, void *opaque, struct error **err)
{
    const struct output output = { .write = write, .opaque = opaque };

    return path ? write_to_file(&output, path, err) : write_through(&output, stdout, err);
}
