/* vmferry job rate: how fast one job may go, or all of them together. What comes in: a rate. What
 * goes out: a row that the workers read about every second. */
#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "commands/human.h"
#include "commands/job.h"
#include "store/limits.h"

struct rating {
    const struct store_job *job;
    int64_t rate;
};

static const char *rate_text(int64_t rate, char text[48])
{
    if (rate < 0)
        strcpy(text, "the configuration's");
    else if (rate == 0)
        strcpy(text, "unlimited");
    else
        snprintf(text, 48, "%" PRId64 " bytes/s", rate);
    return text;
}

static int set_rate(struct store *store, void *opaque, struct error **err)
{
    const struct rating *r = opaque;
    char subject[32], before[48], after[48];

    snprintf(subject, sizeof subject, "job %" PRId64, r->job->id);
    if (store_job_set_rate(store, r->job->id, r->rate, err) < 0)
        return -1;
    return store_audit_vm(store, r->job->vm_id, "job rate", subject,
                          rate_text(r->job->rate, before), rate_text(r->rate, after), err);
}

static int parse_rate(const char *text, uint64_t *rate, struct error **err)
{
    if (parse_size(text, rate, err) < 0)
        return -1;
    return *rate > INT64_MAX ? error_set_kind(err, ERROR_USAGE, "'%s' is too much", text) : 0;
}

struct change {
    const char *after;
    char before[STORE_NAME];
};

static int set_rate_of_all(struct store *store, void *opaque, struct error **err)
{
    struct change *change = opaque;

    if (store_setting_get(store, SETTING_RATE, change->before, err) < 0 ||
        store_setting_put(store, SETTING_RATE, change->after, err) < 0)
        return -1;
    return store_audit(store, "job rate --all", NULL, change->before, change->after, err);
}

static int print_rate_of_all(struct store *store, bool json, struct error **err)
{
    char value[STORE_NAME], bytes[HUMAN_MAX];
    json_object *object;
    uint64_t rate;

    if (store_setting_get(store, SETTING_RATE, value, err) < 0)
        return -1;
    rate = strtoull(value, NULL, 10);
    if (json) {
        object = json_object_new_object();
        json_object_object_add(object, "rate", json_object_new_uint64(rate));
        return print_json(object, err);
    }
    if (rate)
        printf("all jobs together: %s a second\n", human_bytes(bytes, rate));
    else
        printf("all jobs together: unlimited\n");
    return 0;
}

/* With a rate it is set, without it is shown. */
static int rate_of_all(int argc, char *argv[], const struct common_options *arguments,
                       struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct change change = { 0 };
    char after[32];
    uint64_t rate = 0;

    if (argc - optind > 1)
        return expect_arguments(argc, 1, "vmferry job rate --all [BYTES] [--json]", err);
    if ((optind < argc && parse_rate(argv[optind], &rate, err) < 0) ||
        context_open(arguments->state, &context, err) < 0)
        return -1;
    snprintf(after, sizeof after, "%" PRIu64, rate);
    change.after = after;
    if (optind < argc && store_transaction(context.store, set_rate_of_all, &change, err) < 0)
        return -1;
    return print_rate_of_all(context.store, arguments->json, err);
}

static int rate_of_one(int argc, char *argv[], const struct common_options *arguments,
                       struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct rating rating;
    struct store_job job;
    uint64_t rate;
    int64_t id;

    if (expect_arguments(argc, 2, "vmferry job rate JOB BYTES [--json]", err) < 0 ||
        parse_job(argv[optind], &id, err) < 0 || parse_rate(argv[optind + 1], &rate, err) < 0 ||
        context_open(arguments->state, &context, err) < 0 ||
        store_job_get(context.store, id, &job, err) < 0)
        return -1;
    if (!store_job_is_open(&job))
        return error_set(err, "job %" PRId64 " is at its end: %s", id, job.status);
    rating = (struct rating){ &job, (int64_t)rate };
    if (store_transaction(context.store, set_rate, &rating, err) < 0)
        return -1;
    return print_job_state(context.store, id, arguments->json, err);
}

int job_rate_command(int argc, char *argv[], struct error **err)
{
    static const struct option options[] = { { "all", no_argument, NULL, 'a' }, COMMON_OPTIONS };
    struct common_options common = { 0 };
    bool all = false;
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'a')
            all = true;
        else if (common_option(c, argv, &common, err) < 0)
            return -1;
    }
    if (common.help)
        return print_help(job_help);
    return (all ? rate_of_all : rate_of_one)(argc, argv, &common, err);
}
