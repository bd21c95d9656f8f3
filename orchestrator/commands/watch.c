/* Progress and signals of a command that copies; see watch.h. */
#include "watch.h"

#include <signal.h>
#include <string.h>

void watch_init(struct watch *watch, struct bar *bar, unsigned row, const char *label,
                const char *sync_type)
{
    *watch = (struct watch){ .bar = bar, .row = row };
    progress_meter_init(&watch->meter, label, sync_type);
    progress_meter_update(&watch->meter, 0, 0, progress_now_ns()); /* its clock starts */
}

static void show_trouble(struct watch *watch, const char *trouble)
{
    if (strcmp(watch->trouble, trouble ? trouble : "") == 0)
        return;
    snprintf(watch->trouble, sizeof watch->trouble, "%s", trouble ? trouble : "");
    bar_message(watch->bar, "%s", trouble ? trouble : "it is answered again");
}

void watch_progress(void *opaque, const struct copy_progress *now)
{
    struct watch *watch = opaque;

    progress_meter_update(&watch->meter, now->bytes_done, now->bytes_total, progress_now_ns());
    show_trouble(watch, now->trouble);
    bar_show(watch->bar, watch->row, &watch->meter.record,
             now->trouble ? "waiting" : now->operation);
}

void watch_finish(struct watch *watch, enum progress_state state)
{
    progress_meter_finish(&watch->meter, state, progress_now_ns());
    bar_show(watch->bar, watch->row, &watch->meter.record, NULL);
}

/* timeout(1) and others send one signal to a process and to its group: that is not a second one. */
#define ONE_SIGNAL_NS 250000000

static atomic_int cancelled;
static _Atomic int64_t cancelled_ns;

static void on_signal(int number)
{
    int64_t first = 0, now = progress_now_ns();

    if (atomic_compare_exchange_strong(&cancelled_ns, &first, now))
        atomic_store(&cancelled, number);
    else if (now - first > ONE_SIGNAL_NS)
        _exit(128 + number);
}

atomic_int *cancel_on_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction old;

        /* What nohup(1) ignores stays ignored. */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
    return &cancelled;
}

int parse_bar_style(const char *text, enum bar_style *style, struct error **err)
{
    if (strcmp(text, "auto") == 0)
        *style = BAR_AUTO;
    else if (strcmp(text, "json") == 0)
        *style = BAR_JSON;
    else if (strcmp(text, "none") == 0)
        *style = BAR_QUIET;
    else
        return error_set_kind(err, ERROR_USAGE, "--progress=%s: say auto, json or none", text);
    return 0;
}
