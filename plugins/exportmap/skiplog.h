/* One log line for each bad map file, until the file changes, however often and
 * by however many processes of one server the map is listed. What was reported is
 * kept in the state directory's file "skipped". */
#ifndef EXPORTMAP_SKIPLOG_H
#define EXPORTMAP_SKIPLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct skiplog {
    int dirfd;
    int fd;        /* of "skipped", locked; -1: nothing is remembered */
    char *before;  /* its content: what was reported by earlier listings */
    char *now;     /* what this listing found */
    size_t length; /* of now */
    FILE *out;     /* writes into now */
};

/* Called while stdin is still what nbdkit was started with. */
void skiplog_init(void);

void skiplog_begin(struct skiplog *log, int dirfd, int state_fd);
/* Log that NAME is left out, unless that was said before. */
void skiplog_add(struct skiplog *log, const char *name, const char *why);
/* Log that a client was refused. What it asked for is text of its choice unless it is `sound`. */
void skiplog_refused(const char *export, bool sound, const char *why);
void skiplog_end(struct skiplog *log);

#endif
