/* The names of disks that change when they come to virtio: /dev/sda1 is /dev/vda1 then. */
#ifndef VMFERRY_CONVERT_DISKNAME_H
#define VMFERRY_CONVERT_DISKNAME_H

#include <stdbool.h>
#include <stddef.h>

/* Where in the text the first such name begins; NULL: nowhere. */
const char *diskname_find(const char *text);

/* Change all of them but in comments. The length stays. Returns how many. */
size_t diskname_change(char *text);

#endif
