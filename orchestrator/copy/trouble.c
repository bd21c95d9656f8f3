/* Ends that do not answer; see trouble.h. */
#include "copy/trouble.h"

#include <stdio.h>
#include <string.h>

#include "cleanup.h"

/* What is over sooner is not worth a word. */
#define QUIET_NS (INT64_C(2) * 1000000000)

void trouble_init(struct trouble *trouble, unsigned tries_max, const char *source)
{
    memset(trouble, 0, sizeof *trouble);
    trouble->tries_max = tries_max;
    trouble->source = source;
    pthread_mutex_init(&trouble->lock, NULL);
}

void trouble_destroy(struct trouble *trouble)
{
    pthread_mutex_destroy(&trouble->lock);
}

/* The lock is held. */
static struct trouble_of *begin(struct trouble *trouble, enum trouble_part part, int64_t heard_ns)
{
    struct trouble_of *p = &trouble->parts[part];

    if (!atomic_load(&p->any)) {
        p->since_ns = heard_ns;
        p->tries = 0;
        p->why[0] = '\0';
        atomic_store(&p->any, true);
    }
    return p;
}

void trouble_failed(struct trouble *trouble, enum trouble_part part, unsigned tries,
                    const char *why, int64_t heard_ns)
{
    struct trouble_of *p;

    LOCK_SCOPE(&trouble->lock);
    p = begin(trouble, part, heard_ns);
    if (tries <= p->tries)
        return;
    p->tries = tries;
    snprintf(p->why, sizeof p->why, "%s", why);
}

void trouble_silent(struct trouble *trouble, enum trouble_part part, int64_t heard_ns)
{
    LOCK_SCOPE(&trouble->lock);
    begin(trouble, part, heard_ns);
}

static void describe(const struct trouble *trouble, enum trouble_part part, bool last,
                     char text[TROUBLE_TEXT])
{
    const struct trouble_of *p = &trouble->parts[part];
    const char *name = part == TROUBLE_DESTINATION ? "destination" : trouble->source;

    char plan[64] = ": waiting, then trying again";

    if (p->tries > 0)
        snprintf(plan, sizeof plan, ": trying again (%u of %u)", p->tries, trouble->tries_max);
    snprintf(text, TROUBLE_TEXT, "the %s does not answer%s%s%s%s", name, p->why[0] ? " (" : "",
             p->why, p->why[0] ? ")" : "", last ? "" : plan);
}

bool trouble_text(struct trouble *trouble, int64_t now_ns, bool last, char text[TROUBLE_TEXT])
{
    LOCK_SCOPE(&trouble->lock);
    for (int part = 0; part < TROUBLE_PARTS; part++) {
        const struct trouble_of *p = &trouble->parts[part];

        if (!atomic_load(&p->any) || now_ns - p->since_ns < QUIET_NS)
            continue;
        describe(trouble, (enum trouble_part)part, last, text);
        return true;
    }
    return false;
}

int64_t trouble_since(struct trouble *trouble, int64_t now_ns)
{
    int64_t since = now_ns;

    LOCK_SCOPE(&trouble->lock);
    for (int part = 0; part < TROUBLE_PARTS; part++) {
        const struct trouble_of *p = &trouble->parts[part];

        if (atomic_load(&p->any) && p->since_ns < since)
            since = p->since_ns;
    }
    return since;
}
