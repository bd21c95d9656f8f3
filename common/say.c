/* Lines for listeners; see say.h. */
#include "say.h"

#include <stdarg.h>
#include <stdio.h>

void say_line(void (*listener)(const char *line), const char *fmt, ...)
{
    char line[SAY_MOST];
    va_list args;

    if (!listener)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    listener(line);
}

void say_to(void (*listener)(void *opaque, const char *line), void *opaque, const char *fmt, ...)
{
    char line[SAY_MOST];
    va_list args;

    if (!listener)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    listener(opaque, line);
}
