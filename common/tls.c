/* Checks before TLS; see tls.h. */
#include "tls.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define PRIORITY_VARIABLE "GNUTLS_SYSTEM_PRIORITY_FILE"
#define SITE_PRIORITIES   "/etc/gnutls/config"
#define PEM_MAX           ((size_t)1 << 20)

/* The next base64 digit's value; -1 at what is none, blanks skipped. */
static int base64_digit(const char **text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found;

    while (isspace((unsigned char)**text))
        (*text)++;
    if (**text == '\0')
        return -1;
    found = strchr(digits, **text);
    if (!found)
        return -1;
    (*text)++;
    return (int)(found - digits);
}

/* DER: a certificate is one SEQUENCE whose length is that of all the rest. The header is
 * tag 0x30 and a length of 1 to 4 bytes, here in the first 6 of TOTAL bytes. */
static bool is_whole_sequence(const uint8_t header[6], size_t total)
{
    size_t length = 0;
    size_t bytes = header[1] & 0x7f;

    if (total < 6 || header[0] != 0x30)
        return false;
    if (header[1] < 0x80)
        return total == (size_t)header[1] + 2;
    if (bytes == 0 || bytes > 4)
        return false;
    for (size_t i = 0; i < bytes; i++)
        length = length << 8 | header[2 + i];
    return total == length + 2 + bytes;
}

/* Whether TEXT holds a complete certificate between its PEM lines. */
static bool holds_certificate(const char *text)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    static const char end[] = "-----END CERTIFICATE-----";
    uint8_t header[6] = { 0 };
    size_t total = 0;
    uint32_t bits = 0;
    unsigned nbits = 0;
    int digit;

    text = strstr(text, begin);
    if (!text)
        return false;
    text += sizeof begin - 1;
    while ((digit = base64_digit(&text)) >= 0) {
        bits = bits << 6 | (uint32_t)digit;
        nbits += 6;
        if (nbits < 8)
            continue;
        nbits -= 8;
        if (total < sizeof header)
            header[total] = (uint8_t)(bits >> nbits);
        total++;
    }
    while (*text == '=' || isspace((unsigned char)*text))
        text++;
    return strncmp(text, end, sizeof end - 1) == 0 && is_whole_sequence(header, total);
}

/* Open DIR/NAME for reading; -1 with errno. *path is the caller's to free. */
static int open_in(const char *dir, const char *name, char **path)
{
    if (asprintf(path, "%s/%s", dir, name) < 0) {
        *path = NULL;
        errno = ENOMEM;
        return -1;
    }
    return open(*path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static int check_certificate(const char *dir, const char *name, struct error **err)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FREE char *text = NULL;
    CLEANUP_CLOSE int fd = open_in(dir, name, &path);
    size_t length = 0;
    ssize_t n;

    if (fd < 0)
        return error_set_errno(err, errno, "%s/%s", dir, name);
    text = malloc(PEM_MAX + 1);
    if (!text)
        return error_set_errno(err, ENOMEM, "%s", path);
    while (length < PEM_MAX && (n = read(fd, text + length, PEM_MAX - length)) != 0) {
        if (n < 0 && errno != EINTR)
            return error_set_errno(err, errno, "%s", path);
        if (n > 0)
            length += (size_t)n;
    }
    text[length] = '\0';
    if (!holds_certificate(text))
        return error_set(err, "%s: there is no complete PEM certificate in it", path);
    return 0;
}

static int check_key(const char *dir, const char *name, struct error **err)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_CLOSE int fd = open_in(dir, name, &path);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "%s/%s", dir, name);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return error_set(err, "%s: this is not a private key", path);
    if (st.st_mode & S_IRWXO)
        return error_set(err, "%s: everybody may read this private key; `chmod 0600 %s`", path,
                         path);
    return 0;
}

static bool exists_in(const char *dir, const char *name)
{
    CLEANUP_FREE char *path = NULL;

    return asprintf(&path, "%s/%s", dir, name) >= 0 && access(path, F_OK) == 0;
}

int tls_check_client_dir(const char *dir, struct error **err)
{
    if (check_certificate(dir, "ca-cert.pem", err) < 0)
        return error_prefix(err, "TLS needs the CA certificate that the server is verified with");
    if (!exists_in(dir, "client-cert.pem") && !exists_in(dir, "client-key.pem"))
        return 0;
    if (check_certificate(dir, "client-cert.pem", err) < 0 ||
        check_key(dir, "client-key.pem", err) < 0)
        return error_prefix(err, "TLS client certificate");
    return 0;
}

int tls_check_server_dir(const char *dir, struct error **err)
{
    if (check_certificate(dir, "ca-cert.pem", err) < 0 ||
        check_certificate(dir, "server-cert.pem", err) < 0 ||
        check_key(dir, "server-key.pem", err) < 0)
        return error_prefix(err, "TLS server certificates");
    return 0;
}

static int hex_value(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* The value of a URI's query parameter, percent-decoded, the caller's to free; NULL when
 * it is not there. */
static char *query_value(const char *uri, const char *name)
{
    const char *p = strchr(uri, '?');
    size_t name_length = strlen(name);

    for (; p && *p && *p != '#'; p = strpbrk(p, "&;#")) {
        char *value;
        size_t length = 0;

        p++;
        if (strncmp(p, name, name_length) != 0 || p[name_length] != '=')
            continue;
        p += name_length + 1;
        value = malloc(strlen(p) + 1);
        while (value && *p && !strchr("&;#", *p)) {
            if (*p == '%' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2])) {
                value[length++] = (char)(hex_value(p[1]) << 4 | hex_value(p[2]));
                p += 3;
            } else {
                value[length++] = *p++;
            }
        }
        if (value)
            value[length] = '\0';
        return value;
    }
    return NULL;
}

int tls_check_uri(const char *uri, struct error **err)
{
    CLEANUP_FREE char *dir = NULL;
    CLEANUP_FREE char *psk_file = NULL;

    if (strncasecmp(uri, "nbds", 4) != 0)
        return 0;
    if (strncasecmp(uri + 4, "://", 3) != 0)
        return error_set_kind(
            err, ERROR_USAGE,
            "%s: TLS works over TCP only, because a server behind another kind of "
            "socket is not verified; write nbd instead of nbds",
            uri);
    psk_file = query_value(uri, "tls-psk-file");
    if (psk_file) {
        if (access(psk_file, R_OK) < 0)
            return error_set_errno(err, errno, "%s: tls-psk-file %s", uri, psk_file);
        return 0;
    }
    dir = query_value(uri, "tls-certificates");
    if (!dir)
        return error_set_kind(err, ERROR_USAGE,
                              "%s: without a CA the server can't be verified; add "
                              "?tls-certificates=DIR, a directory with ca-cert.pem",
                              uri);
    if (tls_check_client_dir(dir, err) < 0)
        return error_prefix(err, "%s", uri);
    return 0;
}

char *tls_priority_file(void)
{
    static const char below[] = "/../share/vmferry/gnutls-priority";
    char self[4096];
    char *path;
    char *slash;
    ssize_t n;

    if (getenv(PRIORITY_VARIABLE) || access(SITE_PRIORITIES, F_OK) == 0)
        return NULL;
    n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return NULL;
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    if (asprintf(&path, "%s%s", self, below) < 0)
        return NULL;
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

void tls_use_fast_ciphers(char *argv[])
{
    CLEANUP_FREE char *path = tls_priority_file();

    if (path && setenv(PRIORITY_VARIABLE, path, 1) == 0)
        execv("/proc/self/exe", argv); /* when this fails, TLS is only slower */
}
