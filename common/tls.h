/* What has to be right before GnuTLS is let near a connection. libnbd 1.14 verifies
 * a server only when it finds a ca-cert.pem, and says nothing when it does not, so a
 * client of ours checks first. Nothing here links GnuTLS. Thread-safe, except
 * tls_use_fast_ciphers().
 *
 * Facts: libnbd-security(3), nbdkit-tls(1), and how both behave in Debian 12. */
#ifndef VMFERRY_TLS_H
#define VMFERRY_TLS_H

#include "error.h"

/* DIR serves a TLS client: a ca-cert.pem that can be read and holds a certificate;
 * client-cert.pem and client-key.pem both there or both absent; the key not readable
 * by everybody. The error says which file and what to do. */
int tls_check_client_dir(const char *dir, struct error **err);

/* The same for a server: ca-cert.pem, server-cert.pem, server-key.pem, all needed. */
int tls_check_server_dir(const char *dir, struct error **err);

/* Succeeds for URIs without TLS. An nbds URI must be TCP (never a unix socket: libnbd
 * does not verify the server there) and name either a tls-certificates directory, which is
 * checked as above, or a tls-psk-file, which must be readable. */
int tls_check_uri(const char *uri, struct error **err);

/* The file with our cipher preferences, for GNUTLS_SYSTEM_PRIORITY_FILE in the
 * environment of a program that is started; ../share/vmferry/gnutls-priority seen
 * from the running program, both in a build tree and installed. NULL: leave GnuTLS
 * alone, because that variable or /etc/gnutls/config already says what the site
 * wants, or the file is missing. The caller frees it. */
char *tls_priority_file(void);

/* The same for the calling program. GnuTLS reads the variable in a constructor, before
 * main(), so this starts the program anew with the variable set, and returns only when there
 * is nothing to do. Call it before any thread, file or connection exists, and only when
 * TLS will be used: it costs a few milliseconds. */
void tls_use_fast_ciphers(char *argv[]);

#endif
