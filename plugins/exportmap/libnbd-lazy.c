/* Loading libnbd; see libnbd-lazy.h. */
#include "libnbd-lazy.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#define SONAME "libnbd.so.0"

struct libnbd libnbd;

static char problem[512]; /* "": it is loaded */

static void load(void)
{
    void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        snprintf(problem, sizeof problem, "%s", dlerror());
        return;
    }
#define LIBNBD_LOOK_UP(name)                                                                       \
    *(void **)&libnbd.name = dlsym(library, "nbd_" #name);                                         \
    if (!libnbd.name)                                                                              \
        snprintf(problem, sizeof problem, "%s has no nbd_%s", SONAME, #name);
    LIBNBD_FUNCTIONS(LIBNBD_LOOK_UP)
#undef LIBNBD_LOOK_UP
}

int libnbd_load(struct error **err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, load);
    if (problem[0])
        return error_set(err, "loading libnbd, which qcow2 disks need: %s", problem);
    return 0;
}
