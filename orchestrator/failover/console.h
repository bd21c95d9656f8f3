/* A guest's serial console as it grows in its log file. What goes out: whether a line
 * matches, and whether the guest has got stuck on its way up. Only reads. */
#ifndef VMFERRY_FAILOVER_CONSOLE_H
#define VMFERRY_FAILOVER_CONSOLE_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#define CONSOLE_LINE 4096
#define CONSOLE_TAIL 512

struct console {
    const char *path;
    int fd;                  /* -1: not there yet */
    char line[CONSOLE_LINE]; /* the one that grows, cut at this length */
    size_t length;
    char tail[CONSOLE_TAIL]; /* the last that it said, over lines; screen control left out */
    size_t tail_length;
    int escape;           /* within a control sequence of a terminal: how far */
    double changed_after; /* seconds: when it said something last */
};

void console_open(struct console *console, const char *path);
void console_close(struct console *console);
#define CLEANUP_CONSOLE CLEANUP(console_close)

/* Take in what is new, at `seconds`. True as soon as a line matches (console->line is it), also
 * one that has no end yet, as a prompt has none. `expect` may be NULL. */
bool console_read(struct console *console, const regex_t *expect, double seconds);

/* What it says when it will never come up by itself, and has said for a while: the words of a
 * boot loader, an initramfs, a kernel that gave up. NULL: nothing of the kind. */
const char *console_stuck(const struct console *console, double seconds);

/* The same, however short it has said that. */
const char *console_dead_end(const struct console *console);

/* What it said last that is no blank; "": nothing. */
const char *console_last_line(struct console *console);

#endif
