/* Messages as files; see capture.h. */
#include "source/vsphere/capture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define NUMBER_MAX 999999U

int capture_open(struct capture *capture, const char *directory, struct error **err)
{
    *capture = (struct capture){ 0 };
    if (!directory)
        directory = secure_getenv("VMFERRY_VSPHERE_CAPTURE");
    if (!directory || !*directory)
        return 0;
    if (strlen(directory) >= sizeof capture->directory)
        return error_set_errno(err, ENAMETOOLONG, "capture directory %s", directory);
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "capture directory %s", directory);
    if (access(directory, W_OK | X_OK) < 0)
        return error_set_errno(err, errno, "capture directory %s", directory);
    snprintf(capture->directory, sizeof capture->directory, "%s", directory);
    return 0;
}

static int create(const struct capture *capture, const char *op, const char *kind)
{
    CLEANUP_FREE char *path = NULL;

    if (asprintf(&path, "%s/%06u-%s-%s.xml", capture->directory, capture->number, op, kind) < 0) {
        path = NULL;
        return -1;
    }
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, text, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        length -= (size_t)n;
    }
}

/* The '>' of an opening tag of this local name at `c`, which is a '<'; NULL: it is none. */
static const char *opening_end(const char *c, const char *end, const char *element)
{
    size_t length = strlen(element);
    const char *close = memchr(c, '>', (size_t)(end - c));
    const char *name = c + 1;
    const char *stop;

    if (!close || *name == '/' || close[-1] == '/')
        return NULL;
    for (stop = name; stop < close && !strchr(" \t\r\n", *stop); stop++) {
        if (*stop == ':')
            name = stop + 1;
    }
    return (size_t)(stop - name) == length && strncmp(name, element, length) == 0 ? close : NULL;
}

char *capture_redact(const char *text, size_t length, const char *element)
{
    /* Each replacement adds 3 bytes to at least 3, "<a>". */
    char *copy = malloc(length * 2 + 1);
    const char *end = text + length;
    const char *c = text;
    size_t n = 0;

    while (copy && c < end) {
        const char *open_end = *c == '<' ? opening_end(c, end, element) : NULL;

        if (!open_end) {
            copy[n++] = *c++;
            continue;
        }
        memcpy(copy + n, c, (size_t)(open_end + 1 - c));
        n += (size_t)(open_end + 1 - c);
        memcpy(copy + n, "***", 3);
        n += 3;
        c = memchr(open_end, '<', (size_t)(end - open_end));
        if (!c)
            c = end;
    }
    if (copy)
        copy[n] = '\0';
    return copy;
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* Both kinds of secrets in both directions: an error page may hold the request. */
static void write_redacted(int fd, const char *text, size_t length)
{
    char *once = capture_redact(text, length, "password");
    char *twice = once ? capture_redact(once, strlen(once), "key") : NULL;

    if (twice)
        write_all(fd, twice, strlen(twice));
    wipe(once);
    wipe(twice);
}

static void write_message(int fd, bool secret, const char *text, size_t length)
{
    if (fd < 0)
        return;
    if (secret)
        write_redacted(fd, text, length);
    else
        write_all(fd, text, length);
}

void capture_request(struct capture *capture, const char *op, bool secret, const char *text,
                     size_t length)
{
    CLEANUP_CLOSE int fd = -1;

    if (!capture->directory[0])
        return;
    /* Another run's, or another session's, files may be there already. */
    do {
        capture->number++;
        fd = create(capture, op, "request");
    } while (fd < 0 && errno == EEXIST && capture->number < NUMBER_MAX);
    write_message(fd, secret, text, length);
}

void capture_response(struct capture *capture, const char *op, bool secret, const char *text,
                      size_t length)
{
    CLEANUP_CLOSE int fd = -1;

    if (!capture->directory[0])
        return;
    fd = create(capture, op, "response");
    write_message(fd, secret, text, length);
}
