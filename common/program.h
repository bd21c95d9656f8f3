/* Where our own programs are: beside the running one (a build directory, or all in
 * one bin/), in ../libexec/vmferry seen from it, or in PATH. Thread-safe. */
#ifndef VMFERRY_PROGRAM_H
#define VMFERRY_PROGRAM_H

#include <limits.h>

/* Returns `path`: an absolute path, or `name` itself, to be looked up in PATH. */
const char *program_find(const char *name, char path[PATH_MAX]);

#endif
