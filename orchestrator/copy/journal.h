/* The journal of a copy: the ranges that are durable on the destination, so that
 * an interrupted copy goes on where it was. What comes in: ranges, after a flush.
 * What goes out: on open, the ranges that an earlier run recorded. A record that a
 * crash tore is ignored, and so is all behind it; a journal of another copy is
 * refused. It never says that a range is durable which is not. Not thread-safe.
 *
 * The file: a header (magic, version, fingerprint of what is copied, checksum) and
 * records of 24 bytes (offset, length, kind, checksum over record and
 * fingerprint), all little endian. */
#ifndef VMFERRY_COPY_JOURNAL_H
#define VMFERRY_COPY_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "changemap.h"
#include "digest.h"
#include "error.h"

enum journal_kind {
    JOURNAL_DATA, /* written */
    JOURNAL_ZERO, /* written as zeroes */
    JOURNAL_SAME, /* compared, and there already */
};

struct journal_range {
    uint64_t offset;
    uint64_t length;
    enum journal_kind kind;
};

struct journal;

/* Open or create PATH for the copy that `fingerprint` stands for. What is durable
 * already goes, sorted and merged, into *durable, which the caller frees. PATH NULL: a
 * journal in a nameless temporary file, for what it can be asked later. */
struct journal *journal_open(const char *path, const struct digest *fingerprint,
                             struct changemap *durable, struct error **err);

/* Forget all ranges, durably: they are gone from the disk. */
int journal_forget(struct journal *journal, struct error **err);

/* Append these ranges and make them durable. */
int journal_add(struct journal *journal, const struct journal_range *ranges, size_t count,
                struct error **err);

/* The ranges recorded, sorted and merged; `written`: without JOURNAL_SAME. */
int journal_read(struct journal *journal, bool written, struct changemap *ranges,
                 struct error **err);

/* The file stays: it says that all is there, until its owner removes it. */
void journal_close(struct journal *journal);

#endif
