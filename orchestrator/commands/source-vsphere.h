/* `vmferry source add vsphere`: its options, and asking whether a certificate is the right
 * one. What comes in: the command line. What goes out: a source's row that a program can
 * connect with later, alone. */
#ifndef VMFERRY_SOURCE_VSPHERE_H
#define VMFERRY_SOURCE_VSPHERE_H

#include "source/vsphere/options.h"
#include "store/store.h"

/* Long options and where their values go. */
#define VSPHERE_OPTIONS                                                                            \
    { "server", required_argument, NULL, 'S' }, { "user", required_argument, NULL, 'u' },          \
        { "password-file", required_argument, NULL, 'w' },                                         \
        { "ca-file", required_argument, NULL, 'C' },                                               \
        { "fingerprint", required_argument, NULL, 'F' },                                           \
        { "transport", required_argument, NULL, 't' },                                             \
        { "vddk-libdir", required_argument, NULL, OPTION_VDDK_LIBDIR },                            \
        { "vddk-transports", required_argument, NULL, OPTION_VDDK_TRANSPORTS },                    \
        { "vddk-compression", required_argument, NULL, OPTION_VDDK_COMPRESSION },                  \
        { "ssh-host", required_argument, NULL, OPTION_SSH_HOST },                                  \
        { "ssh-port", required_argument, NULL, OPTION_SSH_PORT },                                  \
        { "ssh-user", required_argument, NULL, OPTION_SSH_USER },                                  \
        { "ssh-identity", required_argument, NULL, OPTION_SSH_IDENTITY },                          \
    {                                                                                              \
        "ssh-known-hosts", required_argument, NULL, OPTION_SSH_KNOWN_HOSTS                         \
    }
enum {
    OPTION_VDDK_LIBDIR = 2000,
    OPTION_VDDK_TRANSPORTS,
    OPTION_VDDK_COMPRESSION,
    OPTION_SSH_HOST,
    OPTION_SSH_PORT,
    OPTION_SSH_USER,
    OPTION_SSH_IDENTITY,
    OPTION_SSH_KNOWN_HOSTS,
};

struct vsphere_arguments {
    bool given; /* any of them */
    char server[STORE_PATH];
    struct vsphere_options options;
};

/* 1: it was one of ours. 0: it was not. -1: its value is wrong. */
int vsphere_option(int c, const char *value, struct vsphere_arguments *arguments,
                   struct error **err);

/* location and options of the row. Shows the server's certificate and asks when nothing was
 * said that it could be verified by. */
int vsphere_describe(struct vsphere_arguments *arguments, struct store_source *source,
                     struct error **err);

#endif
