/* The log's way into the store. What comes in: the log's lines about jobs. What goes out: a
 * row of job_log each, written by a thread with a store handle of its own, so that nobody
 * waits for it. It is bounded: what is said faster than the store takes it is left out, and a
 * line says how much. A store that can't be written costs log lines and nothing else. */
#ifndef VMFERRY_LOG_KEEP_H
#define VMFERRY_LOG_KEEP_H

#include <stdbool.h>

#include "store/store.h"

/* From now on, into this database. The thread and its handle are made by the first line. */
void log_keep_start(const struct store *store);

/* Write what is queued, for KEEP_STOP_S at most, and end. Nothing to do when it never began.
 * false: the store did not answer in time; the thread still waits for it, and may look at the
 * store that log_keep_start() got. */
#define KEEP_STOP_S 5
bool log_keep_stop(void);

#endif
