/* mariadb://USER@HOST[:PORT][,HOST[:PORT]…]/NAME[?socket=PATH], taken apart. A password
 * has no place in it. */
#ifndef VMFERRY_STORE_URI_H
#define VMFERRY_STORE_URI_H

#include <stdbool.h>

#include "error.h"

#define URI_HOSTS 16
#define URI_TEXT  256

struct uri_host {
    char name[URI_TEXT]; /* "localhost" is the host's own socket, as everywhere with MariaDB */
    unsigned port;       /* 0: the default one */
};

struct uri {
    char user[URI_TEXT];
    char database[URI_TEXT];
    char socket[URI_TEXT]; /* "" when it is by TCP, or the default one of localhost */
    struct uri_host hosts[URI_HOSTS];
    int host_count;
};

int uri_parse(const char *text, struct uri *uri, struct error **err);
/* Of this host: nobody in between can listen. */
bool uri_host_is_local(const struct uri *uri, const struct uri_host *host);

#endif
