/* Many runs of this program side by side, each in a process of its own: one that fails or dies
 * takes no other along. What comes in: what to run next. What goes out: each run's lines as they
 * come, and its end. All of them end with us. */
#ifndef VMFERRY_CREW_H
#define VMFERRY_CREW_H

#include <stdatomic.h>
#include <stddef.h>

#include "error.h"

#define CREW_MAX 64

enum crew_next {
    CREW_RUN,  /* *index is what to run */
    CREW_WAIT, /* there is something, but not now */
    CREW_DONE, /* nothing more */
};

struct crew {
    unsigned parallel;      /* at most; 1 to CREW_MAX */
    atomic_int *cancel;     /* non-zero: nothing new is run, and those that run are told so */
    const char *const *env; /* for all of them, "NAME=value"; NULL */

    /* slot: 0 to parallel - 1, that of nobody else until it has ended. */
    enum crew_next (*next)(void *opaque, size_t *index);
    /* Its arguments, from the command's name on; NULL at the end. */
    void (*arguments)(void *opaque, size_t index, const char *argv[CREW_MAX]);
    /* A line of its stderr, without the newline. */
    void (*line)(void *opaque, size_t index, unsigned slot, char *line);
    /* out: its stdout. status: as exit(); 128 and more: the signal that ended it. */
    void (*ended)(void *opaque, size_t index, unsigned slot, int status, const char *out);
    /* A few times a second; an error ends all. May be NULL. */
    int (*tick)(void *opaque, struct error **err);
    void *opaque;
};

int crew_run(const struct crew *crew, struct error **err);

#endif
