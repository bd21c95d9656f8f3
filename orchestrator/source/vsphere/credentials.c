/* A user's password; see options.h. It is never in argv, in the store or in a message. */
#include <fcntl.h>
#include <string.h>
#include <termios.h>

#include "password.h"
#include "source/vsphere/options.h"

#define VARIABLE "VMFERRY_PASSWORD"

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
    r = password_take(text, n > 0 ? (size_t)n : 0, password, size, "the terminal", err);
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
        return password_read(options->password_file, credentials->password, size, err);
    if (!variable || !variable[0])
        return ask(options, server, credentials->password, size, err);
    if (strlen(variable) >= size)
        return error_set(err, "%s is longer than %zu bytes", VARIABLE, size - 1);
    strcpy(credentials->password, variable);
    return 0;
}
