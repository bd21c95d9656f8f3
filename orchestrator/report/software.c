/* Which software there is on this host; see parts.h. */
#include <libnbd.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/utsname.h>

#include "process.h"
#include "report/parts.h"
#include "version.h"

#define ASK_TIMEOUT_MS 5000

static void write_version(struct report_writer *writer, const char *name, const char *version)
{
    const struct store_cell cells[] = { cell_text(name), cell_text(version) };

    report_row(writer, cells);
}

/* The first line of `PROGRAM --version`. */
static void ask_program(struct report_writer *writer, const char *program)
{
    const char *const argv[] = { program, "--version", NULL };
    CLEANUP_ERROR struct error *missing = NULL;
    CLEANUP_FREE char *out = NULL;

    if (process_run(argv, ASK_TIMEOUT_MS, &out, &missing) == 0)
        out[strcspn(out, "\n")] = '\0';
    write_version(writer, program, out);
}

static void write_libraries(struct report_writer *writer)
{
    struct nbd_handle *nbd = nbd_create();
    unsigned long number;
    char text[64] = "";

    write_version(writer, "libnbd", nbd ? nbd_get_version(nbd) : NULL);
    nbd_close(nbd);
    if (virGetVersion(&number, NULL, NULL) == 0)
        snprintf(text, sizeof text, "%lu.%lu.%lu", number / 1000000, number / 1000 % 1000,
                 number % 1000);
    write_version(writer, "libvirt", text);
}

int report_software(struct report_writer *writer, struct store *store, struct error **err)
{
    struct store_schema schema;
    struct utsname system;

    if (store_schema(store, &schema, err) < 0)
        return -1;
    report_begin_table(writer, &report_table_software);
    write_version(writer, "vmferry", VMFERRY_VERSION);
    write_version(writer, "database schema", store_migration_name(store, schema.version));
    write_libraries(writer);
    ask_program(writer, "nbdkit");
    ask_program(writer, "qemu-img");
    if (uname(&system) == 0)
        write_version(writer, "kernel", system.release);
    report_end_table(writer);
    return 0;
}
