/* The source's side of a live failover: the power of its VM. What comes in: a VM of the store.
 * What goes out: what its source says now; nothing is remembered, each call asks. */
#ifndef VMFERRY_JOB_LIVE_SOURCE_H
#define VMFERRY_JOB_LIVE_SOURCE_H

#include "source/source.h"
#include "store/store.h"

struct live_source {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    atomic_int *cancel;            /* ends the waiting of a shutdown; NULL */
    void (*say)(const char *line); /* or NULL */
};

/* errnum ENOTSUP: this source can't tell, and the message says what the operator does instead. */
int live_source_power(const struct live_source *from, enum power *power, struct error **err);

/* As live_source_power, for a source that is probably gone: false when it does not say. */
bool live_source_answers(const struct live_source *from, unsigned seconds, enum power *power);

/* Ask its guest to shut down, and return when the source says that it is off. One that is not by
 * then is powered off if it may, else that is an error; errnum ENOTSUP: its guest was not even
 * asked. */
int live_source_shut_down(const struct live_source *from, unsigned timeout_s, bool may_power_off,
                          struct error **err);

/* Back to how it was. A guest that was asked to shut down gets `settle_s` seconds to do so, as
 * one that runs now would go off after we looked. Returns when the source says that it is on. */
int live_source_power_on(const struct live_source *from, unsigned settle_s, struct error **err);

/* It has moved for good. errnum ENOTSUP: the operator has to say so there. */
int live_source_retire(const struct live_source *from, const char *name, const char *note,
                       struct error **err);

#endif
