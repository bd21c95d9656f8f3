/* A target that is full, or can only be read. What comes in: the error that came of it. What goes
 * out: ERROR_PAUSED that says where and what to do, and room for the database to take that word.
 * Makes no room of anybody else's. */
#ifndef VMFERRY_JOB_FULL_H
#define VMFERRY_JOB_FULL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"

struct pool;

/* Room in the state directory that is given back when it is full, so that the database can take
 * the last word of a job. The file has no name and goes with us. *ballast NULL: none, as before
 * and when there is no room for it. */
void ballast_hold(FILE **ballast, const char *state_dir);
void ballast_drop(FILE **ballast);

/* The error came of a full target, or of one that can only be read. */
bool full_is_cause(const struct error *err);

/* Such an error becomes ERROR_PAUSED, errnum ENOSPC or EROFS, and the ballast goes. Others stay as
 * they are. */
struct full_place {
    const struct pool *pool; /* that was written to; NULL, or not opened: the state directory */
    const char *state_dir;
    uint64_t need; /* how many bytes more it can take at most; 0: not known */
};
void full_explain(const struct full_place *place, FILE **ballast, struct error **err);

/* Who has to do something about such an error, for the job's row. */
const char *full_paused_by(const struct error *err);

#endif
