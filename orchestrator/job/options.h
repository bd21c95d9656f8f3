/* How a replication is to be run, as JSON in its job's row, so that any worker can: only what
 * somebody said; the rest comes from the configuration of the worker.
 *
 *     {"full": true, "verify": false, "places_moved": true, "enable_cbt": true,
 *      "quiesce": "auto|yes|no", "transport": "https", "parallel": 2, "connections": 4, "patience":
 * 60, "cbt_lost": "resync|full|fail", "patience": 90, "window": "mon-fri 08:00-18:00 50M",
 *      "pool": "fast", "base": "qcow2", "devices":
 * ["disk-2000=/dev/…"]} */
#ifndef VMFERRY_JOB_OPTIONS_H
#define VMFERRY_JOB_OPTIONS_H

#include "job/replicate.h"

/* The keys of `given` over those of `stored`; either may be "" or NULL. */
int job_options_merge(const char *stored, const char *given, char *merged, size_t size,
                      struct error **err);

/* Options whose texts belong to the JSON. */
struct job_options {
    struct replicate_options options;
    struct json_object *json;
    const char **devices;
};

/* Set what the JSON names; the rest stays. */
int job_options_apply(const char *json, struct job_options *own, struct error **err);
void job_options_free(struct job_options *own);

#endif
