/* A user's password; see options.h. It is never in argv, in the store or in a message. */
#include <fcntl.h>
#include <string.h>
#include <termios.h>

#include "password.h"
#include "source/vsphere/options.h"

#define VARIABLE "VMFERRY_PASSWORD"

/* The last character, of one byte or more. */
static size_t without_last(const char *text, size_t length)
{
    while (length > 0 && ((unsigned char)text[--length] & 0xc0) == 0x80)
        ;
    return length;
}

/* A line that is typed, byte by byte: the terminal itself edits nothing and sends no signals, so
 * that nobody who stops us is left with a terminal that shows nothing. -1: stopped. */
static ssize_t read_line(int tty, const struct termios *keys, char *text, size_t size)
{
    size_t length = 0;

    for (;;) {
        char c;
        ssize_t n = read(tty, &c, 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0 && ((cc_t)c == keys->c_cc[VINTR] || (cc_t)c == keys->c_cc[VQUIT]))
            return -1;
        if (n <= 0 || c == '\n' || c == '\r' || (cc_t)c == keys->c_cc[VEOF])
            return (ssize_t)length;
        if ((cc_t)c == keys->c_cc[VKILL])
            length = 0;
        else if ((cc_t)c == keys->c_cc[VERASE] || c == '\b')
            length = without_last(text, length);
        else if (length < size)
            text[length++] = c;
    }
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
    silent = old;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
    silent.c_cc[VMIN] = 1;
    silent.c_cc[VTIME] = 0;
    tcsetattr(tty, TCSAFLUSH, &silent); /* first: what is typed at the sight of the prompt counts */
    dprintf(tty, "Password for %s at %s: ", options->user, server);
    n = read_line(tty, &old, text, sizeof text - 1);
    tcsetattr(tty, TCSAFLUSH, &old);
    dprintf(tty, "\n");
    if (n < 0)
        r = error_set(err, "stopped: no password was given");
    else
        r = password_take(text, (size_t)n, password, size, "the terminal", err);
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
