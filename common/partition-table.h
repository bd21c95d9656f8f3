/* The name of a partition table, as blkid(8) has it in PTUUID and PARTUUID: what comes in is the
 * descriptor of a disk, what goes out "gpt:GUID" or "dos:xxxxxxxx". Reads a few sectors,
 * never writes. Thread-safe.
 *
 * Sources: the UEFI specification, 5.3 (GPT); the disk signature at byte 440 of a DOS table. */
#ifndef VMFERRY_PARTITION_TABLE_H
#define VMFERRY_PARTITION_TABLE_H

#include <stdbool.h>

#define PARTITION_TABLE_TEXT 56

/* False: there is no table with a name. */
bool partition_table_name(int fd, char name[PARTITION_TABLE_TEXT]);
/* Of its partition `number`, from 1: "gpt:GUID" of the partition itself, "dos:xxxxxxxx-NN". */
bool partition_name(int fd, unsigned number, char name[PARTITION_TABLE_TEXT]);

#endif
