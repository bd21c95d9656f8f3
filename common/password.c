/* Passwords; see password.h. */
#include "password.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int password_take(char *text, size_t length, char *password, size_t size, const char *where,
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

int password_read(const char *path, char *password, size_t size, struct error **err)
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
    r = password_take(text, (size_t)n, password, size, path, err);
    explicit_bzero(text, sizeof text);
    return r;
}
