/* vmferry verify: read a restore point again and compare it with its digest, and with
 * the source if asked. */
#include "commands/verify.h"

#include <string.h>

#include "commands/command.h"
#include "commands/watch.h"
#include "replica/images-lock.h"

static const char help[] =
    "usage: vmferry verify VM [--point=N] [--source] [--repair]\n"
    "       vmferry verify [VM] --all [--age=7d] [--rate=BYTES]\n"
    "\n"
    "  --point=N     this restore point, not the newest\n"
    "  --source      compare the source's disks with it, too\n"
    "  --repair      fetch what is damaged from the source, where it still has the same data\n"
    "  --all         every point of the VM, or of all VMs, the newest first\n"
    "  --age=TIME    only points that were not verified for so long: 12h, 7d, 2w\n"
    "  --rate=BYTES  bytes a second at most, 0: no limit (with --all: 50M)\n"
    "  --progress=auto|json|none\n"
    "  --json        for programs\n"
    "  --state=DIR   state directory\n";

void verification_free(struct verification *v)
{
    for (size_t i = 0; i < v->point.count; i++) {
        if (v->replica)
            check_disk_free(&v->replica[i]);
        if (v->source)
            check_disk_free(&v->source[i]);
        if (v->repairs)
            repair_disk_free(&v->repairs[i]);
    }
    free(v->replica);
    free(v->source);
    free(v->repairs);
    spec_free(&v->spec);
    replica_point_free(&v->point);
    if (v->reading >= 0)
        close(v->reading);
}

static int parse_age(const char *text, uint64_t *seconds, struct error **err)
{
    static const struct {
        char letter;
        uint64_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (end != text && strchr("0123456789", text[0]) && end[0] == units[i].letter && !end[1] &&
            n < 1000000) {
            *seconds = n * units[i].seconds;
            return 0;
        }
    }
    return error_set_kind(err, ERROR_USAGE, "--age=%s: say a number and s, m, h, d or w: 7d", text);
}

static int parse_option(int c, char *argv[], struct verify_arguments *arguments, struct error **err)
{
    switch (c) {
    case 'n':
        if (parse_size(optarg, &arguments->point, err) < 0)
            return error_prefix(err, "--point");
        if (arguments->point < 1 || arguments->point > UINT32_MAX)
            return error_set_kind(err, ERROR_USAGE, "--point=%s: points count from 1", optarg);
        return 0;
    case 's':
        arguments->source = true;
        return 0;
    case 'R':
        arguments->repair = true;
        return 0;
    case 'a':
        arguments->all = true;
        return 0;
    case 'g':
        arguments->age_given = true;
        return parse_age(optarg, &arguments->age, err);
    case 'r':
        arguments->rate_given = true;
        return parse_size(optarg, &arguments->rate, err) < 0 ? error_prefix(err, "--rate") : 0;
    case 'p':
        return parse_bar_style(optarg, &arguments->style, err);
    default:
        return common_option(c, argv, &arguments->common, err);
    }
}

static int check_arguments(const struct verify_arguments *arguments, struct error **err)
{
    if (arguments->all && (arguments->point || arguments->source || arguments->repair))
        return error_set_kind(err, ERROR_USAGE,
                              "--all goes with neither --point, nor --source, nor --repair");
    if (arguments->age_given && !arguments->all)
        return error_set_kind(err, ERROR_USAGE, "--age is for --all");
    if (!arguments->all && !arguments->vm)
        return error_set_kind(err, ERROR_USAGE, "usage: vmferry verify VM|--all [OPTIONS]");
    return 0;
}

static int parse(int argc, char *argv[], struct verify_arguments *arguments, struct error **err)
{
    static const struct option options[] = {
        { "point", required_argument, NULL, 'n' },    { "source", no_argument, NULL, 's' },
        { "repair", no_argument, NULL, 'R' },         { "all", no_argument, NULL, 'a' },
        { "age", required_argument, NULL, 'g' },      { "rate", required_argument, NULL, 'r' },
        { "progress", required_argument, NULL, 'p' }, COMMON_OPTIONS
    };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (parse_option(c, argv, arguments, err) < 0)
            return -1;
    }
    if (arguments->common.help)
        return 0;
    arguments->vm = optind < argc ? argv[optind] : NULL;
    if (argc - optind > 1)
        return error_set_kind(err, ERROR_USAGE, "usage: vmferry verify VM|--all [OPTIONS]");
    return check_arguments(arguments, err);
}

static int ask_source(struct verification *v, struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { 0 };

    if (connection_open(v->context->store, v->vm.source_id, v->context->state_dir, &from, err) < 0)
        return -1;
    if (from.source->kind->serve)
        return error_set_kind(err, ERROR_USAGE,
                              "source '%s' offers a disk only while a job holds its snapshot: "
                              "`vmferry replicate %s --full` compares every block",
                              from.row.name, v->vm.name);
    return from.source->kind->find(from.source, v->vm.uuid, &v->spec, err);
}

static int check(struct verification *v, size_t i, bool source, struct bar *bar, unsigned row,
                 struct error **err)
{
    const struct replica_disk *disk = &v->point.disks[i];
    const struct spec_disk *offered = source ? spec_disk_by_key(&v->spec, disk->key) : NULL;
    struct watch watch;
    struct copy_options options = { .progress = watch_progress,
                                    .opaque = &watch,
                                    .rate = &v->rate,
                                    .cancel = cancel_on_signals() };
    char label[STORE_NAME + 64];
    int r;

    if (source && (!offered || offered->capacity != disk->capacity))
        return error_set(err, "disk-%d: the source does not offer this disk in this size any more",
                         disk->key);
    snprintf(label, sizeof label, "%s disk-%d %s", v->vm.name, disk->key,
             source ? "source" : "replica");
    watch_init(&watch, bar, row, label, "");
    r = source ? check_source(v->context->state_dir, disk, offered, &options, &v->source[i], err)
               : check_replica(v->context->state_dir, disk, &options, &v->replica[i], err);
    watch_finish(&watch, r < 0 ? PROGRESS_FAILED : PROGRESS_COMPLETED);
    if (r == 0 && !check_passed(source ? &v->source[i] : &v->replica[i]))
        v->passed = false;
    return r;
}

static int read_replica(struct verification *v, struct bar *bar, struct error **err)
{
    for (size_t i = 0; i < v->point.count; i++) {
        check_disk_free(&v->replica[i]);
        if (check(v, i, false, bar, (unsigned)i, err) < 0)
            return -1;
    }
    return 0;
}

/* Images that can't be read are damaged, too; who stopped the reading is no damage. */
int verification_read(struct verification *v, struct bar *bar, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;

    v->passed = true;
    if (read_replica(v, bar, err) == 0)
        return check_record(v->context->store, v->point.id, v->replica, v->point.count, NULL, err);
    v->passed = false;
    if (atomic_load(cancel_on_signals()))
        (*err)->kind = ERROR_PAUSED;
    else
        check_record(v->context->store, v->point.id, v->replica, 0, error_message(*err), &ignored);
    return -1;
}

static int read_source(struct verification *v, struct bar *bar, struct error **err)
{
    for (size_t i = 0; i < v->point.count; i++) {
        if (check(v, i, true, bar, (unsigned)(v->point.count + i), err) < 0)
            return -1;
    }
    return 0;
}

int verification_load(struct verification *v, unsigned number, struct error **err)
{
    if (images_lock(v->context->state_dir, &v->vm, IMAGES_READ, &v->reading, err) < 0 ||
        replica_point_load(v->context->store, v->context->state_dir, v->vm.id, number, &v->point,
                           err) < 0)
        return -1;
    v->replica = calloc(v->point.count + 1, sizeof *v->replica);
    return v->replica ? 0 : error_set_errno(err, ENOMEM, "verifying");
}

static int run(struct verification *v, const struct verify_arguments *arguments, struct error **err)
{
    CLEANUP_BAR struct bar *bar = bar_open(stderr, arguments->style);

    if (verification_load(v, (unsigned)arguments->point, err) < 0 ||
        (arguments->source && ask_source(v, err) < 0))
        return -1;
    v->source = arguments->source ? calloc(v->point.count + 1, sizeof *v->source) : NULL;
    if (arguments->source && !v->source)
        return error_set_errno(err, ENOMEM, "verifying");
    v->rate = arguments->rate;
    if (verification_read(v, bar, err) < 0)
        return -1;
    if (arguments->repair && !v->passed && verify_repair(v, bar, err) < 0)
        return -1;
    return v->source ? read_source(v, bar, err) : 0;
}

static int verify_one(struct context *context, const struct verify_arguments *arguments,
                      struct error **err)
{
    CLEANUP(verification_free) struct verification v = VERIFICATION_INIT;

    v.context = context;
    if (store_vm_find(context->store, arguments->vm, &v.vm, err) < 0 ||
        run(&v, arguments, err) < 0 || verify_print(&v, arguments->common.json, err) < 0)
        return -1;
    if (!v.passed)
        return error_set(err, "'%s', restore point %u: verification failed", v.vm.name,
                         v.point.number);
    return 0;
}

int command_verify(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct verify_arguments arguments = { 0 };

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (context_open(arguments.common.state, &context, err) < 0)
        return -1;
    return arguments.all ? verify_all(&context, &arguments, err)
                         : verify_one(&context, &arguments, err);
}
