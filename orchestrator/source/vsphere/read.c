/* Managed objects in XML; see read.h. */
#include "source/vsphere/read.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void read_text(const xmlNode *node, const char *path, char *buf, size_t size)
{
    size_t length;

    xml_text(node, path, buf, size);
    for (char *c = buf; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    }
    length = strlen(buf);
    while (length > 0 && buf[length - 1] == ' ')
        buf[--length] = '\0';
}

void read_exact(const xmlNode *node, const char *path, char *buf, size_t size)
{
    if (xml_whole_text(node, path, buf, size) < 0)
        buf[0] = '\0';
    for (const char *c = buf; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            buf[0] = '\0';
            break;
        }
    }
}

uint64_t read_amount(const xmlNode *node, const char *path)
{
    int64_t value;

    return xml_int64(node, path, &value) < 0 || value < 0 ? 0 : (uint64_t)value;
}

int read_int(const xmlNode *node, const char *path, int otherwise)
{
    int64_t value;

    return xml_int64(node, path, &value) < 0 || value < INT_MIN || value > INT_MAX ? otherwise
                                                                                   : (int)value;
}

size_t change_id_life(const char *change_id)
{
    return strcspn(change_id, "/");
}

void read_mac(const xmlNode *node, const char *path, char mac[18])
{
    char text[32];

    mac[0] = '\0';
    if (!xml_text(node, path, text, sizeof text) || strlen(text) != 17)
        return;
    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' && text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return;
        text[i] = i % 3 == 2 ? ':' : (char)tolower((unsigned char)text[i]);
    }
    if (!(strtoul(text, NULL, 16) & 1))
        memcpy(mac, text, 18);
}
