/* The plan: which bytes move, in which pieces. What comes in: the source's block
 * status (asked ahead, checked, never trusted), a change map, and what a journal
 * says is done. What goes out: pieces, ascending, that fit both ends' block sizes.
 * It never does I/O: it says which question to ask, and is told the answer.
 * Memory is bounded whatever the disk's size. Thread-safe. */
#ifndef VMFERRY_COPY_PLAN_H
#define VMFERRY_COPY_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "changemap.h"
#include "end.h"
#include "error.h"

#define PIECE_SEGMENTS 16

/* What is written of a piece; both in bytes, from the piece's start. */
struct segment {
    uint32_t offset;
    uint32_t length;
};

/* What one turn of the engine moves: read all of it, write its segments; or
 * write zeroes over all of it. */
struct piece {
    uint64_t offset;
    uint64_t length;
    bool zero;
    unsigned count; /* of segments: ascending, with gaps between them. 0 when zero */
    struct segment segments[PIECE_SEGMENTS];
};

struct plan_config {
    uint64_t size;         /* of the disk */
    uint64_t request_size; /* longest piece to read; a multiple of read_align */
    uint64_t zero_size;    /* longest piece of zeroes; a multiple of read_align */
    uint64_t read_align;   /* pieces start and end at multiples of it, or at the disk's end;
                              a power of two, as is… */
    uint64_t write_align;  /* …that of segments; not larger than read_align */
    uint64_t status_align; /* questions start and end at multiples of it */
    bool has_allocation;   /* answers hold EXTENTS_ALLOCATION */
    bool has_changes;      /* answers hold EXTENTS_CHANGES: only what bit 0 marks is moved */
    bool holes_unchanged;  /* only what is not a hole in EXTENTS_ALLOCATION is moved */
    bool skip_zeroes;      /* the destination reads as zeroes already */
    const struct changemap *changes; /* only these ranges are moved; NULL: all */
    const struct changemap *durable; /* these are not moved again; NULL: none */
};

struct plan;

struct plan *plan_new(const struct plan_config *config, struct error **err);
void plan_free(struct plan *plan);

enum plan_answer {
    PLAN_PIECE,
    PLAN_WAIT, /* for the answer to a question that somebody is asking */
    PLAN_DONE, /* for now: plan_again() may bring more */
};
enum plan_answer plan_next(struct plan *plan, struct piece *piece);

/* Whether a question is due. The caller then must ask it, give each part of the
 * answer to plan_extents() and, when it is complete, call plan_answered(). */
bool plan_question(struct plan *plan, uint64_t *offset, uint64_t *length);
void plan_extents(struct plan *plan, enum extents_kind kind, uint64_t offset,
                  const uint32_t *entries, size_t pairs);
/* An error when the answer is a lie: no progress, not what was asked, off the disk. */
int plan_answered(struct plan *plan, struct error **err);

/* Move this range after all, or once more. Returns -1 without memory. */
int plan_again(struct plan *plan, uint64_t offset, uint64_t length, bool zero);

/* How many bytes have to move, as far as is known, and whether all is known. */
uint64_t plan_total(struct plan *plan, bool *known);

#endif
