/* What happens, said to whoever listens, while it happens: a listener is a function that the caller
 * of a long piece of work gave it. What comes in: a listener and a line as for printf. What goes
 * out: one call of the listener, with the line and no newline; none where the listener is NULL.
 * The line ends after SAY_MOST - 1 bytes. Never a password: listeners print and keep. */
#ifndef VMFERRY_SAY_H
#define VMFERRY_SAY_H

#define SAY_MOST 2048

void say_line(void (*listener)(const char *line), const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* To one that is called with a pointer of its own. */
void say_to(void (*listener)(void *opaque, const char *line), void *opaque, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, of a struct that has them as `say` and `opaque`. */
#define say_with(options, ...) say_to((options)->say, (options)->opaque, __VA_ARGS__)

#endif
