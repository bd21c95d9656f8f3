/* A password from a file that nobody else can read. Never from argv, never in a message. */
#ifndef VMFERRY_PASSWORD_H
#define VMFERRY_PASSWORD_H

#include <stddef.h>

#include "error.h"

/* The first line of `text`, which has room for length + 1 bytes and is changed; `where`
 * names it in errors. */
int password_take(char *text, size_t length, char *password, size_t size, const char *where,
                  struct error **err);
/* The first line of a file of the user's or root's, mode 0600 or stricter. */
int password_read(const char *path, char *password, size_t size, struct error **err);

#endif
