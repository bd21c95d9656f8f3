/* The report of a recoverability drill: `vmferry failover test --all`. What comes in: what became
 * of each VM. What goes out: one document with verdicts, the age of each point, how long each
 * boot took, checks and screens. */
#ifndef VMFERRY_REPORT_DRILL_H
#define VMFERRY_REPORT_DRILL_H

#include <json.h>
#include <stdio.h>

#include "store/store.h"

enum drill_verdict { DRILL_NOT_TESTED, DRILL_PASSED, DRILL_FAILED };

struct drill_row {
    struct store_vm vm;
    enum drill_verdict verdict;
    unsigned point;        /* 0: none */
    int64_t point_ms;      /* its moment */
    int64_t tested_ms;     /* 0: not */
    int64_t failover;      /* 0: none was made */
    json_object *evidence; /* of it, or NULL */
    char why[STORE_TEXT];  /* it did not pass, or was not tested; "" */
};

struct drill {
    const char *state_dir;
    struct drill_row *rows;
    size_t count;
    int64_t begun_ms, ended_ms;
};

const char *drill_verdict_text(enum drill_verdict verdict);
/* How many have this verdict. */
size_t drill_count(const struct drill *drill, enum drill_verdict verdict);
/* Of a row, in milliseconds; -1: not known. */
int64_t drill_rpo_ms(const struct drill_row *row);
int64_t drill_rto_ms(const struct drill_row *row);

/* format: text, json, html. */
int drill_write(const struct drill *drill, const char *format, FILE *out, struct error **err);

void drill_free(struct drill *drill);
#define CLEANUP_DRILL CLEANUP(drill_free)

#endif
