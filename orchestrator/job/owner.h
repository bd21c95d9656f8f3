/* Who runs a job: a process, told from every other one of any host. */
#ifndef VMFERRY_JOB_OWNER_H
#define VMFERRY_JOB_OWNER_H

#include "store/store.h"

enum owner_life {
    OWNER_NONE,    /* nobody has it */
    OWNER_LIVES,   /* a process of this host that is there, running or stopped */
    OWNER_GONE,    /* one of this host that has ended: it will never write again */
    OWNER_UNKNOWN, /* of another host, or of before this one's boot */
};

/* We: host, boot id, process id and start time. */
void owner_fill(struct store_job *job);
enum owner_life owner_look(const struct store_job *job);
/* "process 123 on host7". */
#define OWNER_TEXT (STORE_NAME + 64)
const char *owner_text(const struct store_job *job, char text[OWNER_TEXT]);

#endif
