/* What has to move and what has moved, of one export: all clients together.
 * Thread-safe. After tally_new nothing allocates and all calls are short. */
#ifndef VMFERRY_TALLY_H
#define VMFERRY_TALLY_H

#include <stdbool.h>
#include <stdint.h>

struct tally;

struct figures {
    uint64_t done;  /* distinct bytes that have moved, of those that have to */
    uint64_t total; /* bytes that have to move, as far as `known` */
    bool known;     /* the whole disk has been looked at */
    bool grown;     /* something was written that nobody expected */
};

/* NULL: no memory. */
struct tally *tally_new(const char *name, uint64_t size);
void tally_free(struct tally *tally);
const char *tally_name(const struct tally *tally);
uint64_t tally_size(const struct tally *tally);

/* [start, end) has to move. May be said again. */
void tally_need(struct tally *tally, uint64_t start, uint64_t end);
/* [start, end) has been read, zeroed or trimmed: what of it has to move has. */
void tally_moved(struct tally *tally, uint64_t start, uint64_t end);
/* [start, end) has been written, so it had to move. */
void tally_written(struct tally *tally, uint64_t start, uint64_t end);

/* The block status of [start, end) is known now, and said by tally_need. */
void tally_looked(struct tally *tally, uint64_t start, uint64_t end);
/* A first part of [start, end) that has not been looked at; false when all has. */
bool tally_unknown(struct tally *tally, uint64_t start, uint64_t end, uint64_t *from, uint64_t *to);
/* One at a time looks: true when it is the caller, who releases it again. */
bool tally_claim_scan(struct tally *tally);
void tally_release_scan(struct tally *tally);

/* Add this tally to `sum`. */
void tally_sum(struct tally *tally, struct figures *sum);

#endif
