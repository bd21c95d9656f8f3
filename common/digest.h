/* The digest of a disk: XXH3-128 of every 64 KiB block (a leaf), and a tree over
 * the leaves whose root also covers the disk's size.
 *
 * - A leaf is XXH3-128 (canonical big-endian form) of the block's bytes; the
 *   last block of a disk may be short. A block of zeroes has the leaf "all 16
 *   bytes zero", so holes cost nothing.
 * - A node is XXH3-128 over its DIGEST_FANOUT children (missing ones are zero);
 *   a node whose children are all zero is zero. Levels are added until one node
 *   is left, the top: the leaf itself on a disk of one block, zero on one of none.
 * - The root is XXH3-128 over "vmferry-digest-1", the size (64-bit little
 *   endian) and the top node. Its text form is "xxh3-64k:" and 32 hex digits.
 *
 * A leaves file holds leaf i at byte i * 16 and is as sparse as the disk: 16 MiB
 * for 64 GiB of data. Memory is O(1) in the size of the disk.
 * Source: the xxHash specification, XXH3_128bits_digest canonical form. */
#ifndef VMFERRY_DIGEST_H
#define VMFERRY_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define DIGEST_BLOCK  UINT64_C(65536)
#define DIGEST_FANOUT 256
#define DIGEST_TEXT   48 /* bytes of the text form, NUL included */

struct digest {
    uint8_t bytes[16];
};

/* The leaf of one block of `length` bytes, 1..DIGEST_BLOCK. */
struct digest digest_leaf(const void *block, size_t length);

/* The bytes of a leaves file for a disk of `size` bytes. */
uint64_t digest_leaves_size(uint64_t size);

/* The root over a leaves file of a disk of `size` bytes. The file may be shorter
 * than the disk asks: what is missing is zero. */
int digest_root(int leaves_fd, uint64_t size, struct digest *root, struct error **err);

/* Call `differs` for each run of blocks whose leaves differ, in order. What one disk
 * has and the other, shorter one has not always differs; a run ends at most at
 * the end of the longer disk. O(1) memory; what is a hole in both is not read. */
int digest_diff(int a_fd, uint64_t a_size, int b_fd, uint64_t b_size,
                void (*differs)(void *opaque, uint64_t offset, uint64_t length), void *opaque,
                struct error **err);

void digest_to_text(const struct digest *digest, char text[DIGEST_TEXT]);
int digest_from_text(const char *text, struct digest *digest, struct error **err);
bool digest_equal(const struct digest *a, const struct digest *b);

#endif
