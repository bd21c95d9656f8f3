/* What a VM is at its source, as it was last seen; see parts.h. */
#include "report/parts.h"
#include "source/spec.h"

static void write_hardware(struct report_writer *writer, const struct vm_spec *spec)
{
    const struct spec_inventory *inventory = &spec->inventory;
    const struct store_cell cells[] = {
        cell_text(spec->uefi ? "uefi" : "bios"),
        cell_number(spec->secure_boot),
        cell_number(spec->tpm),
        cell_positive(spec->cpus),
        cell_positive(spec->cores),
        cell_positive((int64_t)spec->memory),
        cell_text(spec->os),
        cell_text(inventory->guest),
        cell_text(inventory->tools),
        cell_text(inventory->tracking),
        cell_text(inventory->hardware),
        cell_text(inventory->id),
    };

    report_begin_table(writer, &report_table_hardware);
    report_row(writer, cells);
    report_end_table(writer);
}

static void write_nics(struct report_writer *writer, const struct vm_spec *spec)
{
    report_begin_table(writer, &report_table_nics);
    for (size_t i = 0; i < spec->nic_count; i++) {
        const struct spec_nic *nic = &spec->nics[i];
        const struct store_cell cells[] = { cell_text(nic->mac), cell_text(nic->network),
                                            cell_text(nic->model) };

        report_row(writer, cells);
    }
    report_end_table(writer);
}

static void write_disks(struct report_writer *writer, const struct vm_spec *spec)
{
    report_begin_table(writer, &report_table_source_disks);
    for (size_t i = 0; i < spec->disk_count; i++) {
        const struct spec_disk *disk = &spec->disks[i];
        const struct spec_disk_inventory *inventory = &disk->inventory;
        const struct store_cell cells[] = {
            cell_number(disk->key),
            cell_number(disk->unit),
            cell_number((int64_t)disk->capacity),
            cell_text(disk->backing_uuid),
            cell_text(inventory->label),
            cell_text(inventory->controller),
            cell_text(inventory->address),
            cell_text(inventory->backing),
            cell_text(inventory->mode),
        };

        report_row(writer, cells);
    }
    report_end_table(writer);
}

int report_hardware(struct report_writer *writer, const struct report_request *request,
                    struct error **err)
{
    CLEANUP_FREE char *json = NULL;
    CLEANUP_SPEC struct vm_spec spec = { 0 };

    if (store_vm_spec(request->store, request->vm->id, &json, err) < 0 ||
        spec_parse_stored(json, "the stored description", &spec, err) < 0)
        return -1;
    write_hardware(writer, &spec);
    write_nics(writer, &spec);
    write_disks(writer, &spec);
    return 0;
}
