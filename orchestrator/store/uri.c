/* The database's URI; see uri.h. */
#include "store/uri.h"

#include <arpa/inet.h>
#include <string.h>

#define SCHEME  "mariadb://"
#define EXAMPLE "mariadb://USER@HOST[:PORT]/NAME"

/* Copy `length` bytes and undo %XX. */
static int copy(const char *from, size_t length, char to[static URI_TEXT], struct error **err)
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        unsigned byte = (unsigned char)from[i];
        char digits[3] = "";

        if (byte == '%') {
            if (length - i < 3 ||
                strspn(strncpy(digits, from + i + 1, 2), "0123456789abcdefABCDEF") != 2)
                return error_set(err, "a %% in it is followed by no two digits");
            byte = (unsigned)strtoul(digits, NULL, 16);
            i += 2;
        }
        if (byte < ' ' || n == URI_TEXT - 1)
            return error_set(err, "a part of it is too long, or has a control character");
        to[n++] = (char)byte;
    }
    to[n] = '\0';
    return 0;
}

static int parse_port(const char *digits, size_t length, unsigned *port, struct error **err)
{
    *port = 0;
    for (size_t i = 0; i < length && *port <= 65535; i++)
        *port =
            digits[i] >= '0' && digits[i] <= '9' ? *port * 10 + (unsigned)(digits[i] - '0') : 65536;
    if (*port >= 1 && *port <= 65535)
        return 0;
    return error_set(err, "'%.*s' is no port", (int)length, digits);
}

/* NAME, NAME:PORT, [ADDRESS] or [ADDRESS]:PORT. */
static int parse_host(const char *text, size_t length, struct uri_host *host, struct error **err)
{
    bool bracket = length && *text == '[';
    const char *end = bracket ? memchr(text, ']', length) : memchr(text, ':', length);
    size_t name;

    if (bracket && !end)
        return error_set(err, "a [ has no ]");
    name = end ? (size_t)(end - text) : length;
    if (copy(text + bracket, name - bracket, host->name, err) < 0)
        return -1;
    if (!host->name[0])
        return error_set(err, "it names no host");
    text += name + bracket;
    length -= name + bracket;
    if (length == 0)
        return 0;
    if (*text != ':')
        return error_set(err, "after a host comes :PORT");
    return parse_port(text + 1, length - 1, &host->port, err);
}

static int parse_hosts(const char *text, size_t length, struct uri *uri, struct error **err)
{
    for (const char *end = text + length; text <= end; text++) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        size_t n = (size_t)((comma ? comma : end) - text);

        if (uri->host_count == URI_HOSTS)
            return error_set(err, "it names more than %d hosts", URI_HOSTS);
        if (parse_host(text, n, &uri->hosts[uri->host_count++], err) < 0)
            return -1;
        text += n;
    }
    return 0;
}

static int parse_query(const char *query, struct uri *uri, struct error **err)
{
    if (strncmp(query, "socket=/", 8) != 0 || strchr(query, '&'))
        return error_set(err, "after the ? comes socket=/PATH, nothing else");
    if (uri->host_count != 1 || strcmp(uri->hosts[0].name, "localhost") != 0 || uri->hosts[0].port)
        return error_set(err, "a socket is at localhost, which has no port then");
    return copy(query + 7, strlen(query + 7), uri->socket, err);
}

static int parse(const char *text, struct uri *uri, struct error **err)
{
    const char *authority = text + strlen(SCHEME);
    const char *slash = strchr(authority, '/');
    const char *at = slash ? memrchr(authority, '@', (size_t)(slash - authority)) : NULL;
    const char *query;

    if (!slash)
        return error_set(err, "it names no database");
    if (!at || at == authority)
        return error_set(err, "it names no user");
    if (memchr(authority, ':', (size_t)(at - authority)))
        return error_set(err, "a password does not belong there: put it into a file that only you "
                              "can read, and name that with database_password_file");
    query = strchrnul(slash, '?');
    if (copy(authority, (size_t)(at - authority), uri->user, err) < 0 ||
        parse_hosts(at + 1, (size_t)(slash - at - 1), uri, err) < 0 ||
        copy(slash + 1, (size_t)(query - slash - 1), uri->database, err) < 0)
        return -1;
    if (!uri->database[0] || strchr(uri->database, '/'))
        return error_set(err, "it names no database");
    return *query ? parse_query(query + 1, uri, err) : 0;
}

/* Does not show it: somebody may have put a password there. */
int uri_parse(const char *text, struct uri *uri, struct error **err)
{
    *uri = (struct uri){ .host_count = 0 };
    if (parse(text, uri, err) == 0)
        return 0;
    (*err)->kind = ERROR_USAGE;
    return error_prefix(err, "the database's URI (%s)", EXAMPLE);
}

bool uri_host_is_local(const struct uri *uri, const struct uri_host *host)
{
    struct in6_addr six;
    struct in_addr four;

    if (uri->socket[0] || strcmp(host->name, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host->name, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host->name, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}
