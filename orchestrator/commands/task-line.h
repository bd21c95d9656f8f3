/* When a task at a source is worth a line. What comes in: its progress, as often as the
 * source tells it. What goes out: whether to print that now. It never prints. */
#ifndef VMFERRY_TASK_LINE_H
#define VMFERRY_TASK_LINE_H

#include <stdbool.h>
#include <stdint.h>

struct task_line {
    char what[256];   /* the task that goes on; "": none */
    unsigned percent; /* that was printed last */
    int64_t last_ns;  /* when it began, or was printed last */
    bool printed;
};

/* A task that has gone on for a second is due, then each second in which it got on, and its end
 * when there was a line before. One that is over at once is not. */
bool task_line_is_due(struct task_line *line, const char *what, unsigned percent, int64_t now_ns);

#endif
