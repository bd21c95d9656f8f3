/* See diskname.h. */
#include "convert/diskname.h"

#include <string.h>

/* A letter of a disk, and then a partition, or the end of the name: not /dev/sdaemon. */
static bool ends_well(const char *at)
{
    at += strspn(at, "abcdefghijklmnopqrstuvwxyz");
    at += strspn(at, "0123456789");
    return !strchr("_-.", *at) || !*at;
}

const char *diskname_find(const char *text)
{
    for (const char *at = text; (at = strstr(at, "/dev/")) != NULL; at += 5) {
        if ((strncmp(at + 5, "sd", 2) == 0 || strncmp(at + 5, "hd", 2) == 0) && at[7] >= 'a' &&
            at[7] <= 'z' && strspn(at + 7, "abcdefghijklmnopqrstuvwxyz") <= 2 && ends_well(at + 7))
            return at;
    }
    return NULL;
}

size_t diskname_change(char *text)
{
    size_t count = 0;

    while (*text) {
        size_t length = strcspn(text, "\n");
        char end = text[length];
        char *at = text;

        text[length] = '\0';
        if (text[strspn(text, " \t")] != '#') {
            while ((at = (char *)diskname_find(at)) != NULL) {
                at[5] = 'v';
                count++;
            }
        }
        text[length] = end;
        text += length + (end != '\0');
    }
    return count;
}
