/* Pictures of a guest's screen on its way up: after 2, 4, 8 … seconds, those that differ from
 * the one before, so that a boot that takes a day leaves no more than a few. What goes out: PNG
 * files STATE/failovers/ID/screen-SECONDS.png, and screen.png of the end. */
#ifndef VMFERRY_FAILOVER_PICTURES_H
#define VMFERRY_FAILOVER_PICTURES_H

#include <json.h>
#include <limits.h>

#include "failover/libvirt.h"

struct pictures {
    virDomainPtr domain;
    const char *state_dir;
    int64_t failover;
    double next_s;       /* when the next one is due */
    char last[PATH_MAX]; /* the newest; "": none yet */
    json_object *list;   /* of { file, seconds } */
};

void pictures_begin(struct pictures *pictures, virDomainPtr domain, const char *state_dir,
                    int64_t failover);
void pictures_free(struct pictures *pictures);
#define CLEANUP_PICTURES CLEANUP(pictures_free)

/* Take one if it is due. One that can't be taken is no failure. */
void pictures_look(struct pictures *pictures, double seconds);
/* The last one, as screen.png. */
int pictures_end(struct pictures *pictures, double seconds, struct error **err);

#endif
