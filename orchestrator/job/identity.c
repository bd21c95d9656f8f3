/* Disk identity; see identity.h. */
#include "job/identity.h"

#include <inttypes.h>
#include <string.h>

#include "table.h"

#define MARK_MAX 128

static void mark(char marks[MARK_MAX], const char *what)
{
    size_t used = strlen(marks);

    snprintf(marks + used, MARK_MAX - used, "%s%s", used ? ", " : "<-- ", what);
}

/* The disk whose data this place held when the newest point was made. "": nobody knows. */
static const struct store_disk *former_owner(const struct store_disk *stored, size_t count,
                                             const char *place)
{
    for (size_t i = 0; place[0] && i < count; i++) {
        if (strcmp(stored[i].place, place) == 0)
            return &stored[i];
    }
    return NULL;
}

/* What is wrong with this pair, either of which may be missing; "" when nothing is. */
static void compare(const struct store_disk *stored, const struct spec_disk *offered, bool may_grow,
                    char marks[MARK_MAX])
{
    marks[0] = '\0';
    if (!stored) {
        mark(marks, "new");
    } else if (!offered) {
        mark(marks, "gone");
    } else {
        if (strcmp(stored->backing_uuid, offered->backing_uuid) != 0)
            mark(marks, "backing uuid");
        if (may_grow ? offered->capacity < stored->capacity : offered->capacity != stored->capacity)
            mark(marks, "capacity");
        if (stored->unit != offered->unit)
            mark(marks, "unit");
    }
}

static void stored_cells(struct table *table, const struct store_disk *disk)
{
    if (!disk) {
        for (int i = 0; i < 3; i++)
            table_cell(table, "-");
        return;
    }
    table_cell(table, "%d", disk->unit);
    table_cell(table, "%" PRIu64, disk->capacity);
    table_cell(table, "%s", disk->backing_uuid);
}

static void offered_cells(struct table *table, const struct spec_disk *disk)
{
    if (!disk) {
        for (int i = 0; i < 3; i++)
            table_cell(table, "-");
        return;
    }
    table_cell(table, "%d", disk->unit);
    table_cell(table, "%" PRIu64, disk->capacity);
    table_cell(table, "%s", disk->backing_uuid);
}

static void add_row(struct table *table, int key, const struct store_disk *stored,
                    const struct spec_disk *offered, const char *marks)
{
    table_cell(table, "disk-%d", key);
    stored_cells(table, stored);
    offered_cells(table, offered);
    table_cell(table, "%s", marks[0] ? marks : "ok");
}

static const struct store_disk *stored_by_key(const struct store_disk *stored, size_t count,
                                              int key)
{
    for (size_t i = 0; i < count; i++) {
        if (stored[i].key == key)
            return &stored[i];
    }
    return NULL;
}

/* True when every disk is the one that was replicated. */
static bool fill_map(struct table *table, const struct store_disk *stored, size_t count,
                     const struct vm_spec *offered, const struct identity_leave *leave)
{
    bool same = true;
    char marks[MARK_MAX];

    for (size_t i = 0; i < count; i++) {
        const struct spec_disk *now = spec_disk_by_key(offered, stored[i].key);
        const struct store_disk *other = now ? former_owner(stored, count, now->place) : NULL;

        compare(&stored[i], now, leave->may_grow, marks);
        if (other && other->key != stored[i].key && !leave->places_moved) {
            char what[64];

            snprintf(what, sizeof what, "reads from where disk-%d was", other->key);
            mark(marks, what);
        }
        same = same && !marks[0];
        add_row(table, stored[i].key, &stored[i], now, marks);
    }
    for (size_t i = 0; i < offered->disk_count; i++) {
        const struct spec_disk *now = &offered->disks[i];

        if (stored_by_key(stored, count, now->key))
            continue;
        compare(NULL, now, false, marks);
        add_row(table, now->key, NULL, now, marks);
        same = false;
    }
    return same;
}

static char *print_map(const struct table *table)
{
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        return NULL;
    table_print(table, memory);
    fclose(memory);
    return text;
}

int identity_check(const struct store_vm *vm, const struct store_disk *stored, size_t count,
                   const struct vm_spec *offered, const struct identity_leave *leave,
                   struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE("DISK", ">UNIT", ">CAPACITY", "BACKING UUID",
                                             ">UNIT NOW", ">CAPACITY NOW", "BACKING UUID NOW", "");
    CLEANUP_FREE char *map = NULL;

    if (strcmp(vm->uuid, offered->uuid) != 0)
        return error_set(err, "the source offers VM %s, the replica is of %s", offered->uuid,
                         vm->uuid);
    if (fill_map(&table, stored, count, offered, leave))
        return 0;
    map = print_map(&table);
    return error_set(err,
                     "the disks offered for '%s' are not those of its replica; nothing was "
                     "written\n\n%s\nUndo the change at the source, or correct its description; or "
                     "replicate the VM as it is now into another state directory (--state).",
                     vm->name, map ? map : "");
}
