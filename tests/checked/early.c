/* Loaded before nbdkit, which is built without sanitizers, so that our modules in it can be
 * checked. Without it nbdkit hangs at exit, and what leaks in a module has no names. */
#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

void __asan_init(void) __attribute__((weak));
locale_t newlocale(int mask, const char *name, locale_t base);
int dlclose(void *handle);

/* libp11-kit's constructor makes a locale before anything has started the address sanitizer.
 * glibc's newlocale() takes the lock of all locales and allocates, whereupon the sanitizer
 * starts and calls dlerror(), which unlocks that same lock: its count of readers is negative
 * from then on, and freelocale() waits for ever. Start the sanitizer first. */
locale_t newlocale(int mask, const char *name, locale_t base)
{
    locale_t (*next)(int, const char *, locale_t) = dlsym(RTLD_NEXT, "newlocale");

    if (__asan_init)
        __asan_init();
    return next(mask, name, base);
}

/* Leaks are looked for at exit: keep the modules' symbols until then. */
int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

/* nbdkit's children are themselves programs: clients, qemu-nbd. */
__attribute__((constructor)) static void load_into_nbdkit_only(void)
{
    if (strcmp(program_invocation_short_name, "nbdkit") == 0) /* and not valgrind's own shell */
        unsetenv("LD_PRELOAD");
}
