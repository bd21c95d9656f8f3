/* What failovers proved, in tables: verdicts, the systems that ran, their file systems, checks,
 * conversions. What comes in: the evidence as failover_jobs has it; what is not there is left
 * empty. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/parts.h"

static const char *text_of(json_object *object, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(object, name, &value) &&
                   json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

static json_object *object_of(json_object *object, const char *name, json_type type)
{
    json_object *value;

    return json_object_object_get_ex(object, name, &value) && json_object_is_type(value, type)
               ? value
               : NULL;
}

static struct store_cell cell_flag(json_object *object, const char *name)
{
    json_object *value = object_of(object, name, json_type_boolean);

    return (struct store_cell){ .is_null = !value, .number = json_object_get_boolean(value) };
}

struct store_cell report_seconds(json_object *object, const char *name)
{
    json_object *value;
    double seconds;

    if (!json_object_object_get_ex(object, name, &value) || !value)
        return (struct store_cell){ .is_null = true };
    seconds = json_object_get_double(value);
    return cell_number(isfinite(seconds) && fabs(seconds) < 1e12 ? (int64_t)(seconds * 1000) : 0);
}

static struct store_cell cell_integer(json_object *object, const char *name)
{
    json_object *value = object_of(object, name, json_type_int);

    return (struct store_cell){ .is_null = !value, .number = json_object_get_int64(value) };
}

static void write_boot(struct report_writer *writer, const struct report_failover *failover)
{
    json_object *seen = failover->evidence;
    json_object *guest = object_of(seen, "guest", json_type_object);
    json_object *os = object_of(guest, "os", json_type_object);
    const char *verdict = text_of(seen, "verdict");

    if (!object_of(seen, "booted", json_type_boolean))
        return; /* it did not come that far */
    report_row(writer,
               (const struct store_cell[]){
                   cell_number(failover->id),
                   cell_text(verdict),
                   cell_flag(seen, "booted"),
                   cell_text(text_of(seen, "by")),
                   report_seconds(seen, "seconds"),
                   report_seconds(seen, "rto_seconds"),
                   report_seconds(seen, "rpo_seconds"),
                   cell_text(text_of(seen, "why")),
                   cell_text(text_of(seen, "line")),
                   cell_flag(seen, "agent"),
                   cell_text(text_of(os, "pretty-name")),
                   cell_text(text_of(os, "kernel-release")),
                   cell_text(text_of(object_of(guest, "hostname", json_type_object), "host-name")),
                   cell_text(text_of(seen, "virt_type")),
                   cell_text(text_of(seen, "console")),
               });
}

static void write_checks(struct report_writer *writer, const struct report_failover *failover)
{
    json_object *checks = object_of(failover->evidence, "checks", json_type_array);

    for (size_t i = 0; checks && i < json_object_array_length(checks); i++) {
        json_object *check = json_object_array_get_idx(checks, i);

        report_row(writer, (const struct store_cell[]){
                               cell_number(failover->id),
                               cell_text(text_of(check, "check")),
                               cell_flag(check, "passed"),
                               report_seconds(check, "seconds"),
                               cell_integer(check, "tries"),
                               cell_text(text_of(check, "way")),
                               cell_text(text_of(check, "detail")),
                               cell_integer(check, "exit"),
                               cell_text(text_of(check, "output")),
                           });
    }
}

static void write_filesystems(struct report_writer *writer, const struct report_failover *failover)
{
    json_object *guest = object_of(failover->evidence, "guest", json_type_object);
    json_object *list = object_of(guest, "filesystems", json_type_array);

    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        json_object *filesystem = json_object_array_get_idx(list, i);

        report_row(writer, (const struct store_cell[]){
                               cell_number(failover->id),
                               cell_text(text_of(filesystem, "mountpoint")),
                               cell_text(text_of(filesystem, "type")),
                               cell_text(text_of(filesystem, "name")),
                               cell_integer(filesystem, "used-bytes"),
                               cell_integer(filesystem, "total-bytes"),
                           });
    }
}

static void write_conversion(struct report_writer *writer, const struct report_failover *failover)
{
    json_object *conversion = object_of(failover->evidence, "conversion", json_type_object);

    if (!conversion)
        return;
    report_row(writer, (const struct store_cell[]){
                           cell_number(failover->id),
                           cell_flag(conversion, "needed"),
                           cell_text(text_of(conversion, "engine")),
                           report_seconds(conversion, "seconds"),
                           cell_text(text_of(conversion, "why")),
                           cell_text(text_of(conversion, "log")),
                       });
}

void report_evidence(struct report_writer *writer, const struct report_failover *failovers,
                     size_t count)
{
    static const struct {
        const struct report_table *table;
        void (*write)(struct report_writer *writer, const struct report_failover *failover);
    } tables[] = { { &report_table_boots, write_boot },
                   { &report_table_filesystems, write_filesystems },
                   { &report_table_checks, write_checks },
                   { &report_table_conversions, write_conversion } };

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        report_begin_table(writer, tables[i].table);
        for (size_t j = 0; j < count; j++)
            tables[i].write(writer, &failovers[j]);
        report_end_table(writer);
    }
}
