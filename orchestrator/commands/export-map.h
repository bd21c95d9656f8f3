/* The parts of `vmferry export` that work on the state directory's own map; see export-map.c. */
#ifndef VMFERRY_COMMAND_EXPORT_MAP_H
#define VMFERRY_COMMAND_EXPORT_MAP_H

#include <stdbool.h>

#include "error.h"

struct common_options;

/* list, show, check, repair: `word` is one of them; args are what follows it. False: it is none. */
bool export_map_knows(const char *word);
int export_map_run(const char *word, int argc, char *argv[], const struct common_options *common,
                   struct error **err);

#endif
