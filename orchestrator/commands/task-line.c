/* Lines about tasks at a source; see task-line.h. */
#include "commands/task-line.h"

#include <stdio.h>
#include <string.h>

#define INTERVAL_NS 1000000000LL

static void begin(struct task_line *line, const char *what, int64_t now_ns)
{
    *line = (struct task_line){ .last_ns = now_ns };
    snprintf(line->what, sizeof line->what, "%s", what);
}

bool task_line_is_due(struct task_line *line, const char *what, unsigned percent, int64_t now_ns)
{
    bool over = percent >= 100;
    bool due;

    if (strncmp(line->what, what, sizeof line->what - 1) != 0)
        begin(line, what, now_ns);
    due = over ? line->printed
               : now_ns - line->last_ns >= INTERVAL_NS &&
                     (!line->printed || percent != line->percent);
    if (due) {
        line->percent = percent;
        line->last_ns = now_ns;
        line->printed = true;
    }
    if (over) /* the next one may have the same name */
        *line = (struct task_line){ .last_ns = now_ns };
    return due;
}
