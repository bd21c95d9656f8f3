/* The columns of all tables; see columns.h. A name that is written once is for ever: programs
 * read it (vmferry-report(1)). */
#include "report/columns.h"

#define TEXT(name, label)                                                                          \
    {                                                                                              \
        name, label, CELL_TEXT                                                                     \
    }
#define ID(name, label)                                                                            \
    {                                                                                              \
        name, label, CELL_ID                                                                       \
    }
#define NUMBER(name, label)                                                                        \
    {                                                                                              \
        name, label, CELL_NUMBER                                                                   \
    }
#define BYTES(name, label)                                                                         \
    {                                                                                              \
        name, label, CELL_BYTES                                                                    \
    }
#define TIME(name, label)                                                                          \
    {                                                                                              \
        name, label, CELL_TIME                                                                     \
    }
#define DURATION(name, label)                                                                      \
    {                                                                                              \
        name, label, CELL_DURATION                                                                 \
    }
#define SECONDS(name, label)                                                                       \
    {                                                                                              \
        name, label, CELL_SECONDS                                                                  \
    }
#define FLAG(name, label)                                                                          \
    {                                                                                              \
        name, label, CELL_FLAG                                                                     \
    }
#define DISK                                                                                       \
    {                                                                                              \
        "disk_id", "Disk", CELL_DISK                                                               \
    }

/* In the order of the queries in store/report.c. */
static const struct report_table tables[] = {
    [ROWS_VM] = { "vm",
                  "Virtual machine",
                  NULL,
                  true,
                  13,
                  { TEXT("name", "Name"), ID("uuid", "UUID"), TEXT("path", "Inventory path"),
                    TEXT("source", "Source"), TEXT("source_kind", "Kind of source"),
                    TEXT("source_location", "Source's location"), TEXT("state", "State"),
                    TEXT("keep", "Retention"), TEXT("pool", "Pool"),
                    TEXT("pool_kind", "Kind of pool"), TEXT("pool_location", "Pool's location"),
                    TIME("created", "Known since"), TIME("updated", "Last looked at") } },
    [ROWS_SUMMARY] = { "summary",
                       "Summary",
                       NULL,
                       true,
                       8,
                       { NUMBER("syncs_completed", "Disk syncs completed"),
                         NUMBER("syncs_not_completed", "Disk syncs failed or paused"),
                         BYTES("bytes", "Bytes moved"), NUMBER("points", "Restore points"),
                         NUMBER("points_verified", "Restore points verified clean"),
                         NUMBER("points_damaged", "Restore points found damaged"),
                         TIME("newest_point", "Newest restore point"),
                         NUMBER("failovers", "Failovers") } },
    [ROWS_DISKS] = { "disks",
                     "Replicated disks",
                     "No disk has been replicated.",
                     false,
                     8,
                     { DISK, NUMBER("unit", "Unit"), BYTES("capacity", "Capacity, bytes"),
                       ID("backing_uuid", "Backing UUID"), ID("change_id", "Change ID"),
                       TEXT("replica", "Replica"), ID("export_name", "Export"),
                       TEXT("export_status", "Export is") } },
    [ROWS_JOBS] = { "jobs",
                    "Jobs",
                    "No job has run.",
                    false,
                    10,
                    { NUMBER("job", "Job"), TEXT("type", "Type"), TEXT("sync_type", "Sync"),
                      TEXT("status", "Status"), BYTES("bytes", "Bytes"), TEXT("host", "Host"),
                      TIME("created", "Created"), TIME("started", "Started"),
                      TIME("completed", "Ended"), TEXT("error", "Error") } },
    [ROWS_STEPS] = { "steps",
                     "Steps of the job",
                     "No step was begun.",
                     false,
                     6,
                     { TEXT("step", "Step"), DISK, TEXT("state", "State"), TIME("started", "Begun"),
                       TIME("completed", "Ended"), TEXT("detail", "Detail") } },
    [ROWS_SYNCS] = { "syncs",
                     "Sync history",
                     "Nothing has been synced.",
                     false,
                     10,
                     { TIME("time", "Ended"), NUMBER("job", "Job"), DISK, TEXT("sync_type", "Sync"),
                       TEXT("outcome", "Outcome"), BYTES("bytes", "Bytes"),
                       NUMBER("areas", "Areas"), DURATION("duration_ms", "Took"),
                       ID("change_id_before", "Change ID before"),
                       ID("change_id_after", "Change ID after") } },
    [ROWS_POINTS] = { "points",
                      "Restore points",
                      "There is no restore point.",
                      false,
                      9,
                      { NUMBER("point", "Point"), NUMBER("job", "Job"), TIME("created", "Begun"),
                        TIME("completed", "Completed"), FLAG("pinned", "Pinned"),
                        FLAG("going", "Being removed"), TEXT("note", "Note"),
                        TIME("verified", "Verified"), TEXT("verify_error", "Damage found") } },
    [ROWS_POINT_DISKS] = { "point_disks",
                           "Disks of the restore points",
                           "There is no restore point.",
                           false,
                           9,
                           { NUMBER("point", "Point"), DISK, BYTES("capacity", "Capacity, bytes"),
                             TEXT("sync_type", "Sync"), BYTES("bytes", "Bytes"),
                             ID("change_id", "Change ID"), ID("digest", "Digest"),
                             TEXT("format", "Format"), TEXT("image", "Image") } },
    [ROWS_FAILOVERS] = { "failovers",
                         "Failovers",
                         "No failover has been made.",
                         false,
                         12,
                         { NUMBER("failover", "Failover"),
                           TEXT("kind", "Kind"),
                           TEXT("state", "State"),
                           NUMBER("point", "Point"),
                           NUMBER("job", "Job"),
                           TEXT("domain_name", "Domain"),
                           ID("domain_uuid", "Domain's UUID"),
                           TEXT("network", "Network"),
                           TIME("created", "Begun"),
                           TIME("completed", "Ended"),
                           TEXT("error", "Error"),
                           { "evidence", "Evidence", CELL_JSON } } },
    [ROWS_AUDIT] = { "audit",
                     "Audit trail",
                     "Nothing is in the audit log.",
                     false,
                     8,
                     { TIME("time", "Time"), TEXT("what", "What"), TEXT("who", "Who"),
                       TEXT("host", "Host"), TEXT("subject", "Subject"), TEXT("before", "Before"),
                       TEXT("after", "After"), TEXT("command", "Command") } },
    [ROWS_LOG] = { "log",
                   "Log of the job",
                   "The job said nothing.",
                   false,
                   5,
                   { TIME("time", "Time"), TEXT("level", "Level"), TEXT("part", "Part"), DISK,
                     TEXT("message", "Message") } },
};

const struct report_table *report_table_of(enum store_rows rows)
{
    return &tables[rows];
}

const struct report_table report_table_report = {
    "report",
    "Report",
    NULL,
    true,
    6,
    { NUMBER("layout", "Layout"), TEXT("about", "About"), NUMBER("job", "Job"),
      TIME("generated", "Made"), TEXT("host", "On host"), TEXT("database", "From database") }
};

/* What the source said last. */
const struct report_table report_table_hardware = {
    "hardware",
    "Hardware at the source",
    NULL,
    true,
    12,
    { TEXT("firmware", "Firmware"), FLAG("secure_boot", "Secure boot"), FLAG("tpm", "TPM"),
      NUMBER("cpus", "CPUs"), NUMBER("cores_per_socket", "Cores of a socket"),
      BYTES("memory", "Memory, bytes"), TEXT("os", "Family of guest"), TEXT("guest", "Guest"),
      TEXT("tools", "Guest tools"), TEXT("tracking", "Change tracking"),
      TEXT("hardware_version", "Hardware version"), TEXT("source_id", "Source's own id") }
};

const struct report_table report_table_nics = { "nics",
                                                "Network cards at the source",
                                                "It has no network card.",
                                                false,
                                                3,
                                                { ID("mac", "MAC"), TEXT("network", "Network"),
                                                  TEXT("model", "Model") } };

const struct report_table report_table_source_disks = {
    "source_disks",
    "Disks at the source",
    "It has no disk.",
    false,
    9,
    { DISK, NUMBER("unit", "Unit"), BYTES("capacity", "Capacity, bytes"),
      ID("backing_uuid", "Backing UUID"), TEXT("label", "Label"), TEXT("controller", "Controller"),
      TEXT("address", "Address"), TEXT("backing", "Backing"), TEXT("mode", "Mode") }
};

const struct report_table report_table_screens = { "screens",
                                                   "Screens of the failovers",
                                                   "No screen is kept.",
                                                   false,
                                                   4,
                                                   { NUMBER("failover", "Failover"),
                                                     TEXT("file", "File"),
                                                     TIME("time", "Time"),
                                                     { "image", "Screen", CELL_IMAGE } } };

const struct report_table report_table_software = {
    "software", "Software that made this report",
    NULL,       false,
    2,          { TEXT("name", "Name"), TEXT("version", "Version") }
};

/* What each failover's evidence says. */
const struct report_table report_table_boots = {
    "boots",
    "Verdicts of the failovers",
    "No failover has a verdict.",
    false,
    15,
    { NUMBER("failover", "Failover"), TEXT("verdict", "Verdict"), FLAG("booted", "Booted"),
      TEXT("by", "Known by"), SECONDS("seconds", "Boot took"),
      SECONDS("rto_seconds", "RTO: until it had booted"),
      SECONDS("rpo_seconds", "RPO: age of the point"), TEXT("why", "Why not"),
      TEXT("line", "It said"), FLAG("agent", "Agent answers"), TEXT("os", "System"),
      TEXT("kernel", "Kernel"), TEXT("hostname", "Host name"), TEXT("virt_type", "Ran on"),
      TEXT("console", "Console log") }
};

const struct report_table report_table_filesystems = {
    "filesystems",
    "File systems that the guests had mounted",
    "No guest agent told any.",
    false,
    6,
    { NUMBER("failover", "Failover"), TEXT("mountpoint", "Mounted at"), TEXT("type", "Type"),
      TEXT("name", "Device"), BYTES("used", "Used, bytes"), BYTES("total", "Size, bytes") }
};

const struct report_table report_table_checks = {
    "checks",
    "Checks of the booted guests",
    "None were asked for.",
    false,
    9,
    { NUMBER("failover", "Failover"), TEXT("check", "Check"), FLAG("passed", "Passed"),
      SECONDS("seconds", "After the boot"), NUMBER("tries", "Tries"), TEXT("way", "By"),
      TEXT("detail", "Seen"), NUMBER("exit", "Exit status"), TEXT("output", "Output") }
};

const struct report_table report_table_conversions = {
    "conversions",
    "Conversions of guests to virtio",
    "Nothing was looked at.",
    false,
    6,
    { NUMBER("failover", "Failover"), FLAG("needed", "Needed"), TEXT("engine", "Engine"),
      SECONDS("seconds", "Took"), TEXT("why", "Why"), TEXT("log", "Log") }
};

const struct report_table report_table_drill = {
    "drill",
    "Summary",
    NULL,
    true,
    11,
    { NUMBER("layout", "Layout"), TEXT("verdict", "Verdict"), NUMBER("vms", "VMs"),
      NUMBER("passed", "Passed"), NUMBER("failed", "Failed"), NUMBER("not_tested", "Not tested"),
      SECONDS("worst_rpo_seconds", "Oldest point (RPO)"),
      SECONDS("worst_rto_seconds", "Slowest boot (RTO)"), TIME("begun", "Begun"),
      TIME("ended", "Ended"), TEXT("host", "On host") }
};

const struct report_table report_table_results = {
    "results",
    "Virtual machines",
    "There is none.",
    false,
    11,
    { TEXT("vm", "VM"), TEXT("source", "Source"), TEXT("verdict", "Verdict"),
      NUMBER("point", "Point"), TIME("point_time", "Point is of"),
      SECONDS("rpo_seconds", "RPO: age of the point"),
      SECONDS("rto_seconds", "RTO: until it had booted"), TEXT("why", "Why"),
      TIME("tested", "Tested"), NUMBER("failover", "Failover"), ID("uuid", "UUID") }
};
