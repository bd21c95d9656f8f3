/* What keeps an end of a copy from answering: to be told, and to be given up at last. What
 * comes in: each failure and each success of requests and connections, from any lane. What
 * goes out: a line for people once it has lasted a moment, and whether it lasts too long. It
 * never tries anything itself. */
#ifndef VMFERRY_COPY_TROUBLE_H
#define VMFERRY_COPY_TROUBLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TROUBLE_TEXT 400

/* What may fail while all else goes well. */
enum trouble_part {
    TROUBLE_READING, /* of the source, over an open connection: only a read shows that it works */
    TROUBLE_SOURCE,
    TROUBLE_DESTINATION,
};
#define TROUBLE_PARTS 3

struct trouble_of {
    atomic_bool any;  /* read without the lock: nearly always there is none */
    int64_t since_ns; /* when it was heard of for the last time */
    unsigned tries;   /* in a row, of whatever was tried most often; 0: it is only silent */
    char why[200];
};

struct trouble {
    pthread_mutex_t lock; /* protects all of the parts but `any` */
    unsigned tries_max;
    const char *source; /* what it is called */
    struct trouble_of parts[TROUBLE_PARTS];
};

void trouble_init(struct trouble *trouble, unsigned tries_max, const char *source);
void trouble_destroy(struct trouble *trouble);

/* It failed for the tries-th time in a row; heard_ns: when it last answered, or was asked. */
void trouble_failed(struct trouble *trouble, enum trouble_part part, unsigned tries,
                    const char *why, int64_t heard_ns);
/* It has been asked and is silent since heard_ns. */
void trouble_silent(struct trouble *trouble, enum trouble_part part, int64_t heard_ns);
/* It did what it was asked for. */
static inline void trouble_over(struct trouble *trouble, enum trouble_part part)
{
    if (atomic_load_explicit(&trouble->parts[part].any, memory_order_relaxed))
        atomic_store(&trouble->parts[part].any, false);
}

/* What to tell; false: nothing. It changes with each try, not with the time. `last`: there will
 * be no other try. */
bool trouble_text(struct trouble *trouble, int64_t now_ns, bool last, char text[TROUBLE_TEXT]);
/* Since when there is trouble, of the part that has it for longest; now_ns: all is well. */
int64_t trouble_since(struct trouble *trouble, int64_t now_ns);

#endif
