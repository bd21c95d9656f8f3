/* Room on the target: how much of it stays free, and how much there is. */
#ifndef VMFERRY_SPACE_H
#define VMFERRY_SPACE_H

#include <stdint.h>

#include "error.h"

/* What of a file system, volume group or cluster no sync may use. All zero is the
 * default: 5 %, but 1 GiB at most. */
struct space_reserve {
    enum { RESERVE_DEFAULT, RESERVE_BYTES, RESERVE_PERCENT } unit;
    uint64_t amount;
};

/* "2G", "10%", "0". ERROR_USAGE when it is none of these. */
int space_reserve_parse(const char *text, struct space_reserve *reserve, struct error **err);
/* In bytes, of something that has `total` bytes. */
uint64_t space_reserve_of(const struct space_reserve *reserve, uint64_t total);

struct pool;
/* What of the pool a sync may use. */
int space_room(const struct pool *pool, const struct space_reserve *reserve, uint64_t *room,
               struct error **err);

/* Bytes that an overlay takes in the file system before anything is in it, and that its
 * tables take for so many bytes of data. */
uint64_t space_of_overlay(uint64_t capacity, uint64_t data);

#endif
