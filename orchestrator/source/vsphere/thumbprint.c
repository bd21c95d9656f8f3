/* A server's verified thumbprint; see thumbprint.h. */
#include "source/vsphere/thumbprint.h"

#include <ctype.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>

#include "source/vsphere/soap.h"

#define CHAIN_MAX 8

/* Hex digits are the same, whatever is between them. */
static bool same_digits(const char *a, const char *b)
{
    for (;;) {
        while (*a && !isxdigit((unsigned char)*a))
            a++;
        while (*b && !isxdigit((unsigned char)*b))
            b++;
        if (!*a || !*b)
            return !*a && !*b;
        if (tolower((unsigned char)*a++) != tolower((unsigned char)*b++))
            return false;
    }
}

struct chain {
    gnutls_x509_trust_list_t trusted;
    gnutls_x509_crt_t certificates[CHAIN_MAX];
    unsigned count;
};

static void chain_free(struct chain *chain)
{
    for (unsigned i = 0; i < chain->count; i++)
        gnutls_x509_crt_deinit(chain->certificates[i]);
    if (chain->trusted)
        gnutls_x509_trust_list_deinit(chain->trusted, 1);
}

static int load(struct chain *chain, const char *pem, const char *ca_file, struct error **err)
{
    const gnutls_datum_t datum = { (unsigned char *)pem, (unsigned)strlen(pem) };
    int r;

    chain->count = CHAIN_MAX;
    r = gnutls_x509_crt_list_import(chain->certificates, &chain->count, &datum, GNUTLS_X509_FMT_PEM,
                                    0);
    if (r < 0) {
        chain->count = 0;
        return error_set(err, "%s", gnutls_strerror(r));
    }
    chain->count = (unsigned)r;
    if ((r = gnutls_x509_trust_list_init(&chain->trusted, 0)) < 0)
        return error_set(err, "%s", gnutls_strerror(r));
    r = ca_file[0] ? gnutls_x509_trust_list_add_trust_file(chain->trusted, ca_file, NULL,
                                                           GNUTLS_X509_FMT_PEM, 0, 0)
                   : gnutls_x509_trust_list_add_system_trust(chain->trusted, 0, 0);
    return r < 0 ? error_set(err, "reading the trusted CAs: %s", gnutls_strerror(r)) : 0;
}

static int check_signed(const char *server, const char *pem, const char *ca_file,
                        struct error **err)
{
    CLEANUP(chain_free) struct chain chain = { 0 };
    CLEANUP_FREE char *host = strdup(server);
    gnutls_typed_vdata_st wanted[2] = { { .type = GNUTLS_DT_DNS_HOSTNAME },
                                        { .type = GNUTLS_DT_KEY_PURPOSE_OID,
                                          .data = (unsigned char *)GNUTLS_KP_TLS_WWW_SERVER } };
    unsigned status = 0;
    char *name = host;
    int r;

    if (!host)
        return error_set_errno(err, ENOMEM, "%s", server);
    if (name[0] == '[') {
        name++;
        name[strcspn(name, "]")] = '\0';
    } else {
        name[strcspn(name, ":")] = '\0';
    }
    wanted[0].data = (unsigned char *)name;
    if (load(&chain, pem, ca_file, err) < 0)
        return -1;
    r = gnutls_x509_trust_list_verify_crt2(chain.trusted, chain.certificates, chain.count, wanted,
                                           2, 0, &status, NULL);
    if (r < 0 || status != 0)
        return error_set(err, "%s",
                         r < 0 ? gnutls_strerror(r)
                               : "not signed by a trusted CA for this name; pin it with "
                                 "--fingerprint");
    return 0;
}

int thumbprint_verified(const char *server, const char *ca_file, const char *fingerprint,
                        char sha1[60], struct error **err)
{
    CLEANUP_FREE struct certificate *certificate = calloc(1, sizeof *certificate);

    if (!certificate)
        return error_set_errno(err, ENOMEM, "%s", server);
    if (soap_certificate(server, 0, certificate, err) < 0)
        return -1;
    if (fingerprint[0] && !same_digits(fingerprint, certificate->sha256))
        return error_set(err, "%s shows another certificate than the pinned one: %s", server,
                         certificate->sha256);
    if (!fingerprint[0] && check_signed(server, certificate->pem, ca_file, err) < 0)
        return error_prefix(err, "the certificate of %s", server);
    strcpy(sha1, certificate->sha1);
    return 0;
}
