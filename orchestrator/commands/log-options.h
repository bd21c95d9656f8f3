/* The options of the log, which stand anywhere on the command line, and VMFERRY_LOG. */
#ifndef VMFERRY_LOG_OPTIONS_H
#define VMFERRY_LOG_OPTIONS_H

#include "log/log.h"

extern const char log_options_help[];

/* Follow them. *words are the other ones of argv, *count of them and a NULL; the array is the
 * caller's to free. What stands behind "--" is left alone. */
int log_options_take(int argc, char *argv[], int *count, char ***words, struct error **err);

#endif
