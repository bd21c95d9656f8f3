/* A command of the CLI: one file each, arguments in, output out. */
#ifndef VMFERRY_COMMAND_H
#define VMFERRY_COMMAND_H

#include <stdbool.h>

#include "error.h"

struct command {
    const char *name;
    const char *summary; /* one line of `vmferry --help` */
    /* argv[0] is the command's name; getopt is reset. Returns 0, or -1 with *err
     * set; its kind becomes the exit status. */
    int (*run)(int argc, char *argv[], struct error **err);
    bool finds_uris; /* connects to NBD URIs that are not among its arguments */
    bool pauses;     /* the same command goes on where it stopped; else a pause is a failure */
};

int command_db(int argc, char *argv[], struct error **err);
int command_audit(int argc, char *argv[], struct error **err);
int command_copy(int argc, char *argv[], struct error **err);
int command_digest(int argc, char *argv[], struct error **err);
int command_report(int argc, char *argv[], struct error **err);
int command_source(int argc, char *argv[], struct error **err);
int command_vm(int argc, char *argv[], struct error **err);
int command_preflight(int argc, char *argv[], struct error **err);
int command_replicate(int argc, char *argv[], struct error **err);
int command_job(int argc, char *argv[], struct error **err);
int command_point(int argc, char *argv[], struct error **err);
int command_verify(int argc, char *argv[], struct error **err);
int command_pool(int argc, char *argv[], struct error **err);
int command_export(int argc, char *argv[], struct error **err);
int command_recover(int argc, char *argv[], struct error **err);
int command_network(int argc, char *argv[], struct error **err);
int command_failover(int argc, char *argv[], struct error **err);
int command_virtio_inject(int argc, char *argv[], struct error **err);

#endif
