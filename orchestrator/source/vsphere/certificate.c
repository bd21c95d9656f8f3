/* Fetching and knowing certificates; see certificate.h. */
#include "source/vsphere/certificate.h"

#include <ctype.h>
#include <gnutls/x509.h>
#include <string.h>

#include "source/vsphere/http.h"

#define SHA256_BYTES 32
#define TIMEOUT_S    60

int fingerprint_read(const char *text, char fingerprint[FINGERPRINT_SIZE], struct error **err)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;

    if (strncasecmp(text, "SHA256:", 7) == 0)
        text += 7;
    for (const char *c = text; *c; c++) {
        const char *digit = strchr(digits, toupper((unsigned char)*c));

        if (*c == ':' || isspace((unsigned char)*c))
            continue;
        if (!digit || n == 2 * SHA256_BYTES) {
            n = 0;
            break;
        }
        fingerprint[n / 2 * 3 + n % 2] = *digit;
        n++;
    }
    if (n != 2 * SHA256_BYTES)
        return error_set_kind(err, ERROR_USAGE,
                              "\"%s\" is no SHA-256 fingerprint, which is 64 hexadecimal digits",
                              text);
    for (size_t i = 2; i < 3 * SHA256_BYTES; i += 3)
        fingerprint[i] = ':';
    fingerprint[3 * SHA256_BYTES - 1] = '\0';
    return 0;
}

static void print_digest(gnutls_x509_crt_t crt, gnutls_digest_algorithm_t algorithm, char *buf,
                         size_t size)
{
    unsigned char digest[64];
    size_t length = sizeof digest;

    buf[0] = '\0';
    if (gnutls_x509_crt_get_fingerprint(crt, algorithm, digest, &length) < 0)
        return;
    for (size_t i = 0; i < length && 3 * i + 3 <= size; i++)
        snprintf(buf + 3 * i, size - 3 * i, "%02X%s", digest[i], i + 1 < length ? ":" : "");
}

/* "CN=vcenter.example (vcenter.example, 192.0.2.7)". Names are for people: what is in
 * them is the server's choice, so only plain characters are shown. */
static void print_names(gnutls_x509_crt_t crt, char *buf, size_t size)
{
    char name[256];
    size_t length = sizeof name;
    size_t n = 0;
    const char *gap = " (";

    if (gnutls_x509_crt_get_dn(crt, name, &length) == 0)
        n = (size_t)snprintf(buf, size, "%s", name);
    for (unsigned i = 0; i < 16 && n + 8 < size; i++) {
        int type;

        length = sizeof name - 1;
        type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &length, NULL);
        if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        if (type != GNUTLS_SAN_DNSNAME)
            continue;
        name[length] = '\0';
        n += (size_t)snprintf(buf + n, size - n, "%s%s", gap, name);
        gap = ", ";
    }
    if (n < size - 1 && gap[0] == ',')
        snprintf(buf + n, size - n, ")");
    for (char *c = buf; *c; c++) {
        if (*c < 0x20 || *c >= 0x7f)
            *c = '?';
    }
}

int certificate_describe(struct certificate *certificate, struct error **err)
{
    gnutls_datum_t pem = { (unsigned char *)certificate->pem, (unsigned)strlen(certificate->pem) };
    gnutls_x509_crt_t crt;
    int r = gnutls_x509_crt_init(&crt);

    if (r < 0)
        return error_set(err, "reading a certificate: %s", gnutls_strerror(r));
    r = gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM);
    if (r == 0) {
        certificate->subject[0] = '\0';
        print_digest(crt, GNUTLS_DIG_SHA256, certificate->sha256, sizeof certificate->sha256);
        print_digest(crt, GNUTLS_DIG_SHA1, certificate->sha1, sizeof certificate->sha1);
        print_names(crt, certificate->subject, sizeof certificate->subject);
    }
    gnutls_x509_crt_deinit(crt);
    if (r < 0 || !certificate->sha256[0])
        return error_set(err, "reading a certificate: %s", gnutls_strerror(r));
    return 0;
}

/* The server's own certificate is the first of the chain that it sent. */
static int take_pem(CURL *curl, struct certificate *certificate, struct error **err)
{
    struct curl_certinfo *info = NULL;

    curl_easy_getinfo(curl, CURLINFO_CERTINFO, &info);
    for (struct curl_slist *s = info && info->num_of_certs > 0 ? info->certinfo[0] : NULL; s;
         s = s->next) {
        if (strncmp(s->data, "Cert:", 5) != 0)
            continue;
        if (strlen(s->data + 5) >= sizeof certificate->pem - 1)
            return error_set(err, "its certificate is longer than %zu bytes",
                             sizeof certificate->pem);
        snprintf(certificate->pem, sizeof certificate->pem, "%s\n", s->data + 5);
        return certificate_describe(certificate, err);
    }
    return error_set(err, "it shows no certificate");
}

static int is_cancelled(void *opaque, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const atomic_int *cancel = opaque;

    (void)a, (void)b, (void)c, (void)d;
    return cancel && atomic_load(cancel) != 0;
}

/* A handshake that trusts anybody, and then hangs up: nothing is sent over it. */
static int fetch(const char *server, unsigned timeout_s, const atomic_int *cancel,
                 struct certificate *certificate, struct error **err)
{
    char origin[HTTP_URL], reason[CURL_ERROR_SIZE] = "";
    CURL *curl;
    CURLcode code;
    int r;

    *certificate = (struct certificate){ 0 };
    if (http_origin(server, origin, err) < 0)
        return -1;
    curl = curl_easy_init();
    if (!curl)
        return error_set_errno(err, ENOMEM, "%s", origin);
    http_basics(curl);
    curl_easy_setopt(curl, CURLOPT_URL, origin);
    curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (timeout_s ? timeout_s : TIMEOUT_S) * 1000L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_cancelled);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)cancel);
    code = curl_easy_perform(curl);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        r = error_set_kind(err, ERROR_PAUSED, "stopped on request");
    else if (code != CURLE_OK)
        r = error_set_kind(err, ERROR_PAUSED, "%s: %s", origin,
                           reason[0] ? reason : curl_easy_strerror(code));
    else if (take_pem(curl, certificate, err) < 0)
        r = error_prefix(err, "%s", origin);
    else
        r = 0;
    curl_easy_cleanup(curl);
    return r;
}

int soap_certificate(const char *server, unsigned timeout_s, struct certificate *certificate,
                     struct error **err)
{
    return fetch(server, timeout_s, NULL, certificate, err);
}

int certificate_pin(const char *server, const char *fingerprint, unsigned timeout_s,
                    const atomic_int *cancel, struct certificate *certificate, struct error **err)
{
    char wanted[FINGERPRINT_SIZE];

    if (fingerprint_read(fingerprint, wanted, err) < 0 ||
        fetch(server, timeout_s, cancel, certificate, err) < 0)
        return -1;
    if (strcmp(wanted, certificate->sha256) == 0)
        return 0;
    return error_set(err,
                     "%s shows another certificate than the pinned one. Pinned: %s; it "
                     "shows: %s, made out to %s. Either its certificate was replaced, or somebody "
                     "is in between: compare it at the server's own console before pinning it",
                     server, wanted, certificate->sha256, certificate->subject);
}
