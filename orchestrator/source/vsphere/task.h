/* Tasks, as they are read; the calls are in session.h. */
#ifndef VMFERRY_VSPHERE_TASK_H
#define VMFERRY_VSPHERE_TASK_H

#include "source/vsphere/session.h"

enum task_state { TASK_UNKNOWN, TASK_QUEUED, TASK_RUNNING, TASK_SUCCESS, TASK_ERROR };

struct task_info {
    enum task_state state; /* UNKNOWN: nothing was read yet, or the word is new to us */
    unsigned percent;
    char fault[64]; /* of an error: "ApplicationQuiesceFault" */
    char text[512]; /* of an error: the localized reason */
    struct moref result;
};

static inline bool task_has_ended(const struct task_info *info)
{
    return info->state == TASK_SUCCESS || info->state == TASK_ERROR;
}

/* A TaskInfo; members that are not there are empty. */
void task_info_read(const xmlNode *node, struct task_info *info);

/* What WaitForUpdatesEx answered about a task. Returns true when it says all of the
 * task's info, now in *info; false when only a part of it, or nothing. */
bool task_update_read(const xmlNode *returnval, const struct moref *task, struct task_info *info);

#endif
