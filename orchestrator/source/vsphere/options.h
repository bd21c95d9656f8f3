/* What a vsphere source needs to know beside its server: `vmferry source add vsphere`. It is
 * stored as JSON, and holds no secret: the password is in a file, the environment, or is
 * asked for. */
#ifndef VMFERRY_VSPHERE_OPTIONS_H
#define VMFERRY_VSPHERE_OPTIONS_H

#include "source/vsphere/session.h"
#include "source/vsphere/transport.h"

struct vsphere_options {
    char user[256];
    char password_file[PATH_MAX]; /* "": VMFERRY_PASSWORD, or a terminal */
    char ca_file[PATH_MAX];
    char fingerprint[96]; /* SHA-256 of the server's certificate; "": it is verified by CA */
    struct transport_options transport;
};

int vsphere_options_parse(const char *json, struct vsphere_options *options, struct error **err);
/* The caller frees it; NULL only without memory. */
char *vsphere_options_to_json(const struct vsphere_options *options);

/* User and password: of the file (which nobody else may read), else of VMFERRY_PASSWORD, else
 * asked for on the terminal without echo. */
int vsphere_credentials(const struct vsphere_options *options, const char *server,
                        struct credentials *credentials, struct error **err);

#endif
