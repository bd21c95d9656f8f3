/* Serving the disks of a snapshot: what the servers need in files (a cookie, a password, a
 * certificate), and the servers. What comes in: a session and a disk. What goes out: an NBD
 * URI. All of it is gone when it is closed. */
#ifndef VMFERRY_VSPHERE_SERVE_H
#define VMFERRY_VSPHERE_SERVE_H

#include "source/spec.h"
#include "source/vsphere/device.h"
#include "source/vsphere/options.h"
#include "source/vsphere/session.h"

struct serving {
    struct session *session;
    const struct vsphere_options *options;
    const char *location; /* host[:port] */
    const char *state_dir;

    struct transport_server *servers;
    size_t count;
    char *cookie; /* as it is in the file; NULL: not written yet */
    char cookie_file[PATH_MAX], password_file[PATH_MAX], ca_file[PATH_MAX], no_cas[PATH_MAX];
    char thumbprint[60], no_thumbprint[512]; /* or why there is none */
    char said[1024];                         /* the last thing said of the transport */
};

/* One disk of a snapshot: spec and offered name it, `frozen` is what the snapshot holds. */
struct serve_disk {
    const struct vm_spec *spec;
    struct spec_disk *offered; /* its place is filled in */
    const struct vsphere_disk *frozen;
    const struct moref *vm, *snapshot;
};

/* `said`: the transport that auto chose and why, "" when there is nothing new to say. */
int serving_start(struct serving *serving, const struct serve_disk *disk, char said[1024],
                  struct error **err);
/* Whether a disk could be read, as far as can be told without a snapshot: `text` names the
 * transport, or says why there is none. */
bool serving_possible(struct serving *serving, const struct vm_spec *spec,
                      const struct vsphere_disk *disk, char text[1024]);
/* After a new login. */
int serving_renew_cookie(struct serving *serving, struct error **err);
/* Add what the server of this place complained of to *err; NULL: all servers. */
void serving_explain(const struct serving *serving, const char *place, struct error **err);
void serving_stop(struct serving *serving); /* files and servers; it can be started again */

#endif
