/* Adding a vsphere source; see source-vsphere.h. */
#include "commands/source-vsphere.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define CERTIFICATE_S 20

static int take(const char *option, const char *value, char *buf, size_t size, struct error **err)
{
    if (!value[0])
        return error_set_kind(err, ERROR_USAGE, "--%s is empty", option);
    if (strlen(value) >= size)
        return error_set_kind(err, ERROR_USAGE, "--%s is too long", option);
    for (const char *c = value; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return error_set_kind(err, ERROR_USAGE, "--%s holds a control character", option);
    }
    strcpy(buf, value);
    return 1;
}

/* A job may run anywhere. The file has to be there. */
static int take_file(const char *option, const char *value, char buf[PATH_MAX], struct error **err)
{
    if (!realpath(value, buf))
        return error_set_errno(err, errno, "--%s=%s", option, value);
    return 1;
}

static int take_fingerprint(const char *value, char buf[96], struct error **err)
{
    size_t digits = 0, used = 0;

    if (strncasecmp(value, "SHA256:", 7) == 0)
        value += 7;
    for (const char *c = value; *c && digits <= 64; c++) {
        if (isxdigit((unsigned char)*c) && digits == 64) {
            digits++; /* too many: there is no room for it */
        } else if (isxdigit((unsigned char)*c)) {
            if (digits && digits % 2 == 0)
                buf[used++] = ':';
            buf[used++] = (char)toupper((unsigned char)*c);
            digits++;
        } else if (*c != ':' && *c != ' ') {
            digits = 0;
            break;
        }
    }
    buf[used] = '\0';
    if (digits == 64)
        return 1;
    return error_set_kind(err, ERROR_USAGE,
                          "--fingerprint: not a SHA-256 fingerprint, which has 64 hexadecimal "
                          "digits");
}

static int take_compression(const char *value, char *buf, size_t size, struct error **err)
{
    static const char *const known[] = { "none", "zlib", "fastlz", "skipz" };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i], value) == 0)
            return take("vddk-compression", value, buf, size, err);
    }
    return error_set_kind(err, ERROR_USAGE,
                          "--vddk-compression=%s: say none, zlib, fastlz or skipz", value);
}

static int take_port(const char *value, char *buf, size_t size, struct error **err)
{
    size_t digits = strspn(value, "0123456789");
    long port = digits && digits <= 5 && !value[digits] ? strtol(value, NULL, 10) : 0;

    if (port < 1 || port > 65535)
        return error_set_kind(err, ERROR_USAGE, "--ssh-port=%s: say a number from 1 to 65535",
                              value);
    return take("ssh-port", value, buf, size, err);
}

static int take_one(int c, const char *value, struct vsphere_arguments *arguments,
                    struct error **err)
{
    struct vsphere_options *options = &arguments->options;
    struct transport_options *transport = &options->transport;

    switch (c) {
    case 'S':
        return take("server", value, arguments->server, sizeof arguments->server, err);
    case 'u':
        return take("user", value, options->user, sizeof options->user, err);
    case 'w':
        return take_file("password-file", value, options->password_file, err);
    case 'C':
        return take_file("ca-file", value, options->ca_file, err);
    case 'F':
        return take_fingerprint(value, options->fingerprint, err);
    case 't':
        return transport_parse(value, &transport->wanted, err) < 0 ? -1 : 1;
    case OPTION_VDDK_LIBDIR:
        return take_file("vddk-libdir", value, transport->vddk_libdir, err);
    case OPTION_VDDK_TRANSPORTS:
        return take("vddk-transports", value, transport->vddk_transports,
                    sizeof transport->vddk_transports, err);
    case OPTION_VDDK_COMPRESSION:
        return take_compression(value, transport->vddk_compression,
                                sizeof transport->vddk_compression, err);
    case OPTION_SSH_HOST:
        return take("ssh-host", value, transport->ssh_host, sizeof transport->ssh_host, err);
    case OPTION_SSH_PORT:
        return take_port(value, transport->ssh_port, sizeof transport->ssh_port, err);
    case OPTION_SSH_USER:
        return take("ssh-user", value, transport->ssh_user, sizeof transport->ssh_user, err);
    case OPTION_SSH_IDENTITY:
        return take_file("ssh-identity", value, transport->ssh_identity, err);
    case OPTION_SSH_KNOWN_HOSTS:
        return take_file("ssh-known-hosts", value, transport->ssh_known_hosts, err);
    default:
        return 0;
    }
}

int vsphere_option(int c, const char *value, struct vsphere_arguments *arguments,
                   struct error **err)
{
    int r = take_one(c, value, arguments, err);

    arguments->given |= r != 0;
    return r;
}

static int ask(struct vsphere_arguments *arguments, const struct certificate *certificate,
               struct error **err)
{
    char answer[16] = "";

    fprintf(stderr,
            "%s shows this certificate, which nothing here vouches for:\n"
            "  made out to  %s\n"
            "  SHA-256      %s\n"
            "Compare it with what the server's console says. Trust exactly this one? [y/N] ",
            arguments->server, certificate->subject, certificate->sha256);
    if (!fgets(answer, sizeof answer, stdin) || tolower((unsigned char)answer[0]) != 'y')
        return error_set(err, "the certificate was not accepted; nothing was added");
    return take_fingerprint(certificate->sha256, arguments->options.fingerprint, err) < 0 ? -1 : 0;
}

/* Trust is the operator's to give. */
static int choose_trust(struct vsphere_arguments *arguments, struct error **err)
{
    CLEANUP_FREE struct certificate *certificate = NULL;

    if (arguments->options.ca_file[0] || arguments->options.fingerprint[0])
        return 0;
    certificate = calloc(1, sizeof *certificate);
    if (!certificate)
        return error_set_errno(err, ENOMEM, "%s", arguments->server);
    if (soap_certificate(arguments->server, CERTIFICATE_S, certificate, err) < 0)
        return -1;
    if (isatty(STDIN_FILENO))
        return ask(arguments, certificate, err);
    return error_set_kind(err, ERROR_USAGE,
                          "say how to know the server: --ca-file FILE, or --fingerprint HEX; it "
                          "shows a certificate made out to %s, SHA-256 %s",
                          certificate->subject, certificate->sha256);
}

int vsphere_describe(struct vsphere_arguments *arguments, struct store_source *source,
                     struct error **err)
{
    CLEANUP_FREE char *json = NULL;

    if (!arguments->server[0] || !arguments->options.user[0])
        return error_set_kind(err, ERROR_USAGE, "say --server HOST[:PORT] and --user NAME");
    if (strstr(arguments->server, "/"))
        return error_set_kind(err, ERROR_USAGE, "--server=%s: say HOST or HOST:PORT, not a URL",
                              arguments->server);
    if (choose_trust(arguments, err) < 0)
        return -1;
    json = vsphere_options_to_json(&arguments->options);
    if (!json || strlen(json) >= sizeof source->options)
        return error_set_errno(err, json ? ENAMETOOLONG : ENOMEM, "the source's options");
    strcpy(source->options, json);
    strcpy(source->location, arguments->server);
    return 0;
}
