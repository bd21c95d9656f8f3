/* Finding our own programs; see program.h. */
#include "program.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *program_find(const char *name, char path[PATH_MAX])
{
    static const char *const places[] = { "", "../libexec/vmferry/" };
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (length < 0)
        return name;
    self[length] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return name;
    slash[1] = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (snprintf(path, PATH_MAX, "%s%s%s", self, places[i], name) < PATH_MAX &&
            access(path, X_OK) == 0)
            return path;
    }
    return name;
}
