/* Where records go. A sink never fails the I/O that it reports about: what it
 * can't deliver it drops, and says so once. Used by the reporter's thread alone. */
#ifndef VMFERRY_SINK_H
#define VMFERRY_SINK_H

#include <stdbool.h>
#include <stddef.h>

struct sink {
    /* Before nbdkit forks and starts the command of --run, which would wait for ever
     * for an nbdkit that gives up later: -1 after nbdkit_error, when it can't ever work. May be
     * NULL. `json` is the first record. */
    int (*check)(struct sink *sink, const char *json, size_t length);
    /* After nbdkit has forked: threads, and the first record. -1 after nbdkit_error. */
    int (*start)(struct sink *sink, const char *json, size_t length);
    /* One record: JSON without a newline. `last`: no other follows, it may take
     * SINK_LAST_MS to deliver it. */
    void (*put)(struct sink *sink, const char *json, size_t length, bool last);
    /* Stop and free. Also without start. */
    void (*close)(struct sink *sink);
    struct sink *next; /* the reporter's list */
};

#define SINK_LAST_MS 2000

/* Each checks its parameter: NULL after nbdkit_error. Strings are copied. */
struct sink *sink_file_new(const char *path);
struct sink *sink_fd_new(const char *number);
struct sink *sink_url_new(const char *url);

#endif
