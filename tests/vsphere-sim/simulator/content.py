"""Disk images: copies of a moment, and what differs between two of them. A moment that
is no longer served is kept as digests only, one for each grain that is not zero."""

import errno
import fcntl
import hashlib
import os

GRAIN = 65536
CHUNK = 1 << 20
FICLONE = 0x40049409
ZERO = bytes(GRAIN)


def data_ranges(fd, size):
    """(start, end) of what is allocated, ascending."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:
                return
            raise
        if start >= size:
            return
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, at


def freeze(source, target):
    """Copy an image as it is now: a clone where the file system can, else its data. The
    lock is the stun of the VM, for a writer that takes it too."""
    with open(source, "rb") as src, open(target, "wb") as dst:
        fcntl.flock(src, fcntl.LOCK_EX)
        size = os.fstat(src.fileno()).st_size
        try:
            fcntl.ioctl(dst, FICLONE, src.fileno())
            return size
        except OSError:
            dst.truncate(size)
        for start, end in data_ranges(src.fileno(), size):
            copy(src.fileno(), dst.fileno(), start, end)
        return size


def copy(source, target, start, end):
    while start < end:
        try:
            done = os.copy_file_range(source, target, end - start, start, start)
        except OSError:  # two kinds of file system
            os.lseek(target, start, os.SEEK_SET)
            done = os.sendfile(target, source, start, end - start)
        if done == 0:
            return
        start += done


def digests(path):
    """grain number → digest, without the grains that are zeroes. A last grain that the
    disk ends in is as good as one with zeroes after it."""
    result = {}
    with open(path, "rb", buffering=0) as f:
        size = os.fstat(f.fileno()).st_size
        after = 0
        for start, end in data_ranges(f.fileno(), size):
            at = max(start // GRAIN * GRAIN, after)
            while at < end:
                data = os.pread(f.fileno(), CHUNK, at)
                if not data:
                    break
                for offset in range(0, len(data), GRAIN):
                    grain = data[offset : offset + GRAIN]
                    if grain != ZERO[: len(grain)]:
                        result[(at + offset) // GRAIN] = digest(grain)
                at += CHUNK
            after = at
    return result


def digest(grain):
    return hashlib.blake2b(grain.ljust(GRAIN, b"\0"), digest_size=16).digest()


def changed(old, new):
    """Numbers of the grains that differ, ascending."""
    return sorted(
        {n for n, value in new.items() if old.get(n) != value} | {n for n in old if n not in new}
    )


def allocated(path):
    """Numbers of the grains in which anything is allocated, ascending."""
    result = set()
    with open(path, "rb") as f:
        for start, end in data_ranges(f.fileno(), os.fstat(f.fileno()).st_size):
            result.update(range(start // GRAIN, (end + GRAIN - 1) // GRAIN))
    return sorted(result)


def areas(grains, capacity):
    """Neighbours joined: [start, length], inside the disk."""
    result = []
    for n in grains:
        start, length = n * GRAIN, min(GRAIN, capacity - n * GRAIN)
        if length <= 0:
            break
        if result and result[-1][0] + result[-1][1] == start:
            result[-1][1] += length
        else:
            result.append([start, length])
    return result


def page(every, start, capacity, cap, slice_):
    """One answer: the areas from `start` on, at most `cap` of them and at most `slice_`
    bytes of the disk (0: no such limit), and the length that it speaks for."""
    end = min(capacity, start + slice_) if slice_ else capacity
    inside = []
    for area_start, length in every:
        first, last = max(area_start, start), min(area_start + length, end)
        if first >= last:
            continue
        if len(inside) == cap:
            # Stops at the end of the last area: the next call goes on from there.
            end = inside[-1][0] + inside[-1][1]
            break
        inside.append([first, last - first])
    return inside, end - start
