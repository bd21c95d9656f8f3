/* Testing one VM; see failover-test.h. */
#include "commands/failover-test.h"

#include <fcntl.h>
#include <json.h>
#include <string.h>
#include <unistd.h>

#include "commands/failover-list.h"
#include "commands/watch.h"
#include "convert/convert.h"
#include "duration.h"
#include "log/log.h"
#include "process.h"
#include "size.h"

int failover_number(const char *text, const char *what, uint64_t least, uint64_t most,
                    unsigned *out, struct error **err)
{
    uint64_t value;

    if (size_parse(text, &value) || value < least || value > most)
        return error_set_kind(err, ERROR_USAGE, "%s '%s' is not a number from %llu to %llu", what,
                              text, (unsigned long long)least, (unsigned long long)most);
    *out = (unsigned)value;
    return 0;
}

int failover_duration(const char *text, const char *what, unsigned *out, struct error **err)
{
    const char *problem = duration_parse(text, out);

    if (problem)
        return error_set_kind(err, ERROR_USAGE, "%s '%s' %s", what, text, problem);
    return 0;
}

/* The option, then the environment, then vmferry.conf. */
const char *failover_virt_type(const struct failover_arguments *arguments,
                               const struct config *config)
{
    const char *environment = getenv("VMFERRY_VIRT_TYPE");

    if (arguments->virt_type)
        return arguments->virt_type;
    return environment && *environment ? environment : config->virt_type;
}

/* The option, then libvirt's environment, then vmferry.conf. */
static const char *wanted_uri(const struct failover_arguments *arguments,
                              const struct config *config)
{
    const char *environment = getenv("LIBVIRT_DEFAULT_URI");

    if (arguments->connect)
        return arguments->connect;
    return environment && *environment ? environment : config->uri;
}

static void say(const char *line)
{
    log_notice("failover", "%s", line);
}

/* A line that is written over, on a terminal: a boot may take a minute. */
static void tick(double seconds, unsigned timeout_s)
{
    fprintf(stderr, "\rbooting: %.0f s of %u s at most ", seconds, timeout_s);
}

int failover_options(const struct failover_arguments *arguments, const struct config *config,
                     struct failover_options *options, struct error **err)
{
    *options = (struct failover_options){
        .expect = arguments->expect,
        .timeout_s = (unsigned)config->boot_timeout,
        .virt_type = failover_virt_type(arguments, config),
        .uri = wanted_uri(arguments, config),
        .dhcp = arguments->dhcp,
        .override = &arguments->override,
        .conversion = arguments->conversion ? arguments->conversion : config->conversion,
        .virtio_win = arguments->virtio_win ? arguments->virtio_win : config->virtio_win,
        .virt_tools = config->virt_tools,
        .checks = &arguments->checks,
        .check_timeout_s = (unsigned)config->check_timeout,
        .roll_back = arguments->roll_back,
        .say = say,
        .tick = isatty(STDERR_FILENO) ? tick : NULL,
    };
    if (arguments->conversion &&
        check_word("conversion", arguments->conversion, CONVERT_ENGINES, err) < 0)
        return -1;
    if (arguments->point && strncmp(arguments->point, "live-", 5) == 0) {
        if (failover_number(arguments->point + 5, "--point=live-", 1, INT32_MAX, &options->kept,
                            err) < 0)
            return -1;
    } else if (arguments->point && failover_number(arguments->point, "--point", 1, INT32_MAX,
                                                   &options->point, err) < 0) {
        return -1;
    }
    if (arguments->timeout &&
        failover_number(arguments->timeout, "--timeout", 1, 86400, &options->timeout_s, err) < 0)
        return -1;
    if (arguments->check_timeout && failover_number(arguments->check_timeout, "--check-timeout", 1,
                                                    86400, &options->check_timeout_s, err) < 0)
        return -1;
    if (arguments->keep && failover_duration(arguments->keep, "--keep", &options->keep_s, err) < 0)
        return -1;
    if (arguments->keep && !options->keep_s)
        options->roll_back = true;
    if (arguments->network && net_target_parse(arguments->network, &options->network, err) < 0)
        return error_prefix(err, "--network");
    if (options->dhcp && options->network.kind != NET_ISOLATED)
        return error_set_kind(err, ERROR_USAGE, "--dhcp is for the isolated network");
    return 0;
}

#define POINT_TEXT FAILOVER_KEPT_NAME
/* As --point names it. */
static const char *point_text(char text[POINT_TEXT], const struct failover_result *result)
{
    if (result->kept)
        return failover_kept_name(result->kept, text);
    snprintf(text, POINT_TEXT, "%u", result->point);
    return text;
}

static int print_result(const struct failover_result *result, const struct store_vm *vm,
                        struct store *store, struct error **err)
{
    CLEANUP_FREE char *evidence = NULL;
    char point[POINT_TEXT];
    json_object *object;

    if (store_failover_get_evidence(store, result->failover.id, &evidence, err) < 0)
        return -1;
    object = failover_to_json(&result->failover, vm->name, evidence);
    json_object_object_add(object, "point", json_object_new_int64(result->point));
    if (result->kept)
        json_object_object_add(object, "kept", json_object_new_string(point_text(point, result)));
    return print_json(object, err);
}

/* A process of its own, that nobody waits for: `recover` does it when that is killed. */
static int roll_back_later(struct context *context, const struct store_vm *vm,
                           const struct failover_result *result, const char *keep,
                           struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int silence = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char id[48], after[48], state[PATH_MAX + 16];
    const char *const argv[] = {
        "/proc/self/exe", "failover", "rollback", vm->uuid, id, after, state, NULL
    };

    snprintf(id, sizeof id, "--id=%lld", (long long)result->failover.id);
    snprintf(after, sizeof after, "--after=%s", keep);
    snprintf(state, sizeof state, "--state=%s", context->state_dir);
    options.stderr_fd = silence;
    options.own_group = true;
    if (process_start(argv, &options, err) < 0)
        return error_prefix(err, "keeping the test for %s", keep);
    return 0;
}

static int print_checks(const struct failover_result *result, struct store *store,
                        struct error **err)
{
    CLEANUP_FREE char *evidence = NULL;
    json_object *object;

    if (store_failover_get_evidence(store, result->failover.id, &evidence, err) < 0)
        return -1;
    object = json_tokener_parse(evidence);
    failover_print_checks(object, "check:       ");
    json_object_put(object);
    return 0;
}

static void print_passed(const struct failover_result *result, const struct store_vm *vm,
                         const char *keep, bool rolled_back)
{
    char point[POINT_TEXT];

    printf("point %s of %s booted in %.1f s: %s\n", point_text(point, result), vm->name,
           result->evidence.seconds,
           *result->evidence.line ? result->evidence.line : "the guest agent answers");
    printf("console log: %s\n", result->console);
    if (result->screen[0])
        printf("screen:      %s\n", result->screen);
    if (rolled_back) {
        printf("it is rolled back: domain, network and overlays are gone\n");
        return;
    }
    printf("roll back:   vmferry failover rollback %s --id=%lld", vm->name,
           (long long)result->failover.id);
    if (keep)
        printf(" (it does so by itself after %s)", keep);
    printf("\n");
}

static int not_passed(const struct failover_result *result, const struct store_vm *vm,
                      bool rolled_back, struct error **err)
{
    const struct evidence *evidence = &result->evidence;
    char after[32] = "", point[POINT_TEXT];

    if (!evidence->booted)
        snprintf(after, sizeof after, " after %.1f s", evidence->seconds);
    error_set(err, "point %s of %s did not %s: %s%s; its console: %s%s%s",
              point_text(point, result), vm->name, evidence->booted ? "pass" : "boot", result->why,
              after, result->console, result->screen[0] ? ", its screen: " : "", result->screen);
    if (rolled_back)
        return error_append(err, "it is rolled back");
    return error_append(err,
                        "domain %s is left for you until: vmferry failover rollback %s --id=%lld",
                        result->failover.domain_name, vm->name, (long long)result->failover.id);
}

static int print_xml(struct context *context, const struct store_vm *vm,
                     const struct failover_options *options, struct error **err)
{
    CLEANUP_FREE char *xml = NULL;

    if (failover_print_xml(context->store, context->state_dir, vm, options, &xml, err) < 0)
        return -1;
    fputs(xml, stdout);
    return 0;
}

/* What is not given as an option: the VM's own, then what vmferry.conf says. */
static int take_usual(const struct context *context, const struct store_vm_tests *usual,
                      const struct failover_arguments *arguments, struct checks *checks,
                      struct failover_options *options, struct error **err)
{
    const char *own = usual->checks;

    if (!arguments->expect && *usual->expect)
        options->expect = usual->expect;
    if (options->expect && !*options->expect)
        options->expect = NULL;
    if (arguments->checks_given)
        return 0;
    options->checks = checks;
    if (checks_add_list(checks, *own ? own : context->config.checks, err) < 0)
        return error_prefix(err, "checks of %s", *own ? "the VM" : "vmferry.conf");
    return 0;
}

int failover_test_verb(struct context *context, const struct store_vm *vm,
                       const struct failover_arguments *arguments, struct error **err)
{
    CLEANUP_CHECKS struct checks checks = { 0 };
    struct store_vm_tests usual;
    struct failover_options options;
    struct failover_result result;

    if (failover_options(arguments, &context->config, &options, err) < 0 ||
        store_vm_tests(context->store, vm->id, &usual, err) < 0 ||
        take_usual(context, &usual, arguments, &checks, &options, err) < 0)
        return -1;
    if (arguments->print_xml)
        return print_xml(context, vm, &options, err);
    options.cancel = cancel_on_signals();
    if (failover_test(context->store, context->state_dir, vm, &options, &result, err) < 0)
        return -1;
    if (options.tick)
        fprintf(stderr, "\r\033[K");
    if (options.keep_s && roll_back_later(context, vm, &result, arguments->keep, err) < 0)
        return -1;
    if (arguments->common.json) {
        if (print_result(&result, vm, context->store, err) < 0)
            return -1;
    } else if (print_checks(&result, context->store, err) < 0) {
        return -1;
    } else if (result.passed) {
        print_passed(&result, vm, arguments->keep, options.roll_back);
    }
    return result.passed ? 0 : not_passed(&result, vm, options.roll_back, err);
}
