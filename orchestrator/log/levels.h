/* Which parts speak from which level on. */
#ifndef VMFERRY_LOG_LEVELS_H
#define VMFERRY_LOG_LEVELS_H

#include "log/log.h"

#define LOG_PARTS_MAX 16

struct log_levels {
    enum log_level all;
    unsigned char part[LOG_PARTS_MAX]; /* by its place in the table; 0: as all */
};

int log_levels_parse(const char *text, struct log_levels *levels, struct error **err);
enum log_level log_levels_of(const struct log_levels *levels, const char *part);

#endif
