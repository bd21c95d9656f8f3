/* A user's password; see options.h. It is never in argv, in the store or in a message. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>

#include "source/vsphere/options.h"

#define VARIABLE "VMFERRY_PASSWORD"

/* The first line. */
static int take_line(char *text, size_t length, char *password, size_t size, const char *where,
                     struct error **err)
{
    text[length] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (!text[0])
        return error_set(err, "%s: holds no password", where);
    if (strlen(text) >= size)
        return error_set(err, "%s: the password is longer than %zu bytes", where, size - 1);
    strcpy(password, text);
    return 0;
}

static int read_file(const char *path, char *password, size_t size, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char text[1024];
    struct stat st;
    ssize_t n;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "password file %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0))
        return error_set(err, "password file %s: not a file of yours", path);
    if (st.st_mode & 077)
        return error_set(err, "password file %s: others may read it; chmod 600 mends that", path);
    n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return error_set_errno(err, errno, "password file %s", path);
    r = take_line(text, (size_t)n, password, size, path, err);
    explicit_bzero(text, sizeof text);
    return r;
}

static int ask(const struct vsphere_options *options, const char *server, char *password,
               size_t size, struct error **err)
{
    CLEANUP_CLOSE int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct termios old, silent;
    char text[1024];
    ssize_t n;
    int r;

    if (tty < 0 || tcgetattr(tty, &old) < 0)
        return error_set(err,
                         "no password for %s at %s: give the source a --password-file, set "
                         "%s, or run this in a terminal",
                         options->user, server, VARIABLE);
    dprintf(tty, "Password for %s at %s: ", options->user, server);
    silent = old;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(tty, TCSAFLUSH, &silent);
    do
        n = read(tty, text, sizeof text - 1);
    while (n < 0 && errno == EINTR);
    tcsetattr(tty, TCSAFLUSH, &old);
    dprintf(tty, "\n");
    r = take_line(text, n > 0 ? (size_t)n : 0, password, size, "the terminal", err);
    explicit_bzero(text, sizeof text);
    return r;
}

int vsphere_credentials(const struct vsphere_options *options, const char *server,
                        struct credentials *credentials, struct error **err)
{
    const char *variable = getenv(VARIABLE);
    size_t size = sizeof credentials->password;

    snprintf(credentials->user, sizeof credentials->user, "%s", options->user);
    if (options->password_file[0])
        return read_file(options->password_file, credentials->password, size, err);
    if (!variable || !variable[0])
        return ask(options, server, credentials->password, size, err);
    if (strlen(variable) >= size)
        return error_set(err, "%s is longer than %zu bytes", VARIABLE, size - 1);
    strcpy(credentials->password, variable);
    return 0;
}
