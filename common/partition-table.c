/* Names of partition tables; see partition-table.h. */
#include "partition-table.h"

#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GPT_HEADER_SIZE ((size_t)92)
#define GUID_SIZE       ((size_t)16)

static bool read_at(int fd, void *buf, size_t size, uint64_t offset)
{
    return pread(fd, buf, size, (off_t)offset) == (ssize_t)size;
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t value;

    memcpy(&value, p, sizeof value);
    return le64toh(value);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t value;

    memcpy(&value, p, sizeof value);
    return le32toh(value);
}

/* The first three groups are little endian, the others as they are. A GUID of zeroes names
 * nothing. */
static bool format_guid(const uint8_t *g, char name[PARTITION_TABLE_TEXT])
{
    static const uint8_t none[GUID_SIZE];

    snprintf(name, PARTITION_TABLE_TEXT,
             "gpt:%08x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", get32(g), g[5], g[4],
             g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
    return memcmp(g, none, GUID_SIZE) != 0;
}

/* The sector size is that of the machine that made it: 512 or 4096 bytes. Returns it, or 0. */
static unsigned read_gpt(int fd, uint8_t header[GPT_HEADER_SIZE])
{
    static const unsigned sectors[] = { 512, 4096 };

    for (size_t i = 0; i < sizeof sectors / sizeof sectors[0]; i++) {
        if (read_at(fd, header, GPT_HEADER_SIZE, sectors[i]) && memcmp(header, "EFI PART", 8) == 0)
            return sectors[i];
    }
    return 0;
}

static bool read_dos(int fd, uint32_t *signature)
{
    uint8_t sector[512];

    if (!read_at(fd, sector, sizeof sector, 0) || sector[510] != 0x55 || sector[511] != 0xaa)
        return false;
    *signature = get32(sector + 440);
    return *signature != 0;
}

bool partition_table_name(int fd, char name[PARTITION_TABLE_TEXT])
{
    uint8_t header[GPT_HEADER_SIZE];
    uint32_t signature;

    if (read_gpt(fd, header))
        return format_guid(header + 56, name);
    if (!read_dos(fd, &signature))
        return false;
    snprintf(name, PARTITION_TABLE_TEXT, "dos:%08x", signature);
    return true;
}

static bool gpt_partition(int fd, unsigned sector, const uint8_t *header, unsigned number,
                          char name[PARTITION_TABLE_TEXT])
{
    uint64_t first = get64(header + 72);
    uint32_t count = get32(header + 80), size = get32(header + 84);
    uint8_t entry[2 * GUID_SIZE];

    if (number < 1 || number > count || size < sizeof entry || first > INT64_MAX / 2 / sector ||
        !read_at(fd, entry, sizeof entry, first * sector + (uint64_t)(number - 1) * size))
        return false;
    return format_guid(entry + GUID_SIZE, name);
}

bool partition_name(int fd, unsigned number, char name[PARTITION_TABLE_TEXT])
{
    uint8_t header[GPT_HEADER_SIZE];
    unsigned sector = read_gpt(fd, header);
    uint32_t signature;

    if (sector)
        return gpt_partition(fd, sector, header, number, name);
    if (!read_dos(fd, &signature))
        return false;
    snprintf(name, PARTITION_TABLE_TEXT, "dos:%08x-%02x", signature, number);
    return true;
}
