/* The nbd kind of source: what its description offers is a moment that somebody holds. One that
 * has a hook holds it itself: see hooked.c. */
#include <string.h>

#include "source/nbd/descriptions.h"
#include "source/nbd/hooked.h"
#include "source/nbd/options.h"

static int list(struct source *source, const struct source_filter *filter, struct spec_list *specs,
                struct error **err)
{
    return descriptions_list(source->settings->location, filter, specs, err);
}

static int find(struct source *source, const char *uuid, struct vm_spec *spec, struct error **err)
{
    return descriptions_find(source->settings->location, uuid, spec, NULL, err);
}

/* Files are there or not: nothing is kept open. */
static int open_nbd(const struct source_settings *settings, struct source **source,
                    struct error **err)
{
    struct nbd_options options;

    if (nbd_options_parse(settings->options, &options, err) < 0)
        return -1;
    if (options.hook[0])
        return hooked_open(settings, &options, source, err);
    *source = calloc(1, sizeof **source);
    return *source ? 0 : error_set_errno(err, ENOMEM, "opening %s", settings->location);
}

static void close_nbd(struct source *source)
{
    free(source);
}

/* ---- power: the operator's ---- */

static int refuse(struct source *source, const char *what, struct error **err)
{
    error_set(err,
              "source '%s' only describes its VMs, and can't %s: do it yourself, or give the "
              "source a --hook that does it (vmferry-source(1))",
              source->settings->name, what);
    (*err)->errnum = ENOTSUP;
    return -1;
}

static int power(struct source *source, const char *uuid, enum power *now, struct error **err)
{
    (void)uuid, (void)now;
    return refuse(source, "tell whether one runs", err);
}

static int shut_down(struct source *source, const char *uuid, struct error **err)
{
    (void)uuid;
    return refuse(source, "shut one down", err);
}

static int power_off(struct source *source, const char *uuid, struct error **err)
{
    (void)uuid;
    return refuse(source, "power one off", err);
}

static int power_on(struct source *source, const char *uuid, struct error **err)
{
    (void)uuid;
    return refuse(source, "power one on", err);
}

static int retire(struct source *source, const char *uuid, const char *name, const char *note,
                  struct error **err)
{
    (void)uuid, (void)name, (void)note;
    return refuse(source, "rename one", err);
}

const struct source_kind source_nbd = {
    .name = "nbd",
    .open = open_nbd,
    .close = close_nbd,
    .list = list,
    .find = find,
    .power = power,
    .shut_down = shut_down,
    .power_off = power_off,
    .power_on = power_on,
    .retire = retire,
};
