/* Reading consoles; see console.h. */
#include "failover/console.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define STUCK_S 10 /* of silence: a guest that is slow goes on before that */

void console_open(struct console *console, const char *path)
{
    *console = (struct console){ .path = path, .fd = -1 };
}

void console_close(struct console *console)
{
    cleanup_close(&console->fd);
    console->fd = -1;
}

/* ESC [ … letter, as firmware and boot loaders draw with; ESC and one more character. */
static bool is_control(struct console *console, unsigned char c)
{
    enum { NONE, ESCAPE, SEQUENCE };

    if (c == 0x1b) {
        console->escape = ESCAPE;
        return true;
    }
    if (console->escape == ESCAPE) {
        console->escape = c == '[' ? SEQUENCE : NONE;
        return true;
    }
    if (console->escape == SEQUENCE) {
        console->escape = c >= 0x40 && c <= 0x7e ? NONE : SEQUENCE;
        return true;
    }
    return false;
}

/* Blanks, with which screens are cleared, count once. */
static void add_to_tail(struct console *console, char c)
{
    if (c == ' ' && console->tail_length && console->tail[console->tail_length - 1] == ' ')
        return;
    if (console->tail_length + 1 >= sizeof console->tail) {
        size_t kept = sizeof console->tail / 2;

        memmove(console->tail, console->tail + console->tail_length - kept, kept);
        console->tail_length = kept;
    }
    console->tail[console->tail_length++] = c;
    console->tail[console->tail_length] = '\0';
}

static bool matches(struct console *console, const regex_t *expect)
{
    console->line[console->length] = '\0';
    return expect && console->length && regexec(expect, console->line, 0, NULL, 0) == 0;
}

/* Whether a line ends with it that matches. */
static bool take(struct console *console, const regex_t *expect, char c)
{
    if (is_control(console, (unsigned char)c))
        return false;
    if (c == '\n') {
        add_to_tail(console, c);
        if (matches(console, expect))
            return true;
        console->length = 0;
    } else if (isprint((unsigned char)c)) {
        add_to_tail(console, c);
        if (console->length + 1 < sizeof console->line)
            console->line[console->length++] = c;
    }
    return false;
}

/* libvirt's log daemon moves a console of 2 MiB aside and starts the file anew. */
static bool was_replaced(const struct console *console)
{
    struct stat opened, named;

    return fstat(console->fd, &opened) == 0 && stat(console->path, &named) == 0 &&
           opened.st_ino != named.st_ino;
}

bool console_read(struct console *console, const regex_t *expect, double seconds)
{
    char buffer[4096];
    ssize_t got;

    if (console->fd < 0)
        console->fd = open(console->path, O_RDONLY | O_CLOEXEC);
    while (console->fd >= 0 && (got = read(console->fd, buffer, sizeof buffer)) > 0) {
        console->changed_after = seconds;
        for (ssize_t i = 0; i < got; i++) {
            if (take(console, expect, buffer[i]))
                return true;
        }
    }
    if (console->fd >= 0 && was_replaced(console))
        console_close(console);
    return matches(console, expect);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);

    while (length && isspace((unsigned char)text[length - 1]))
        length--;
    return length >= end_length && strncmp(text + length - end_length, end, end_length) == 0;
}

const char *console_last_line(struct console *console)
{
    size_t end = console->tail_length, start;

    while (end && isspace((unsigned char)console->tail[end - 1]))
        end--;
    console->tail[end] = '\0';
    console->tail_length = end;
    for (start = end; start && console->tail[start - 1] != '\n';)
        start--;
    return console->tail + start + strspn(console->tail + start, " ");
}

const char *console_stuck(const struct console *console, double seconds)
{
    return seconds - console->changed_after < STUCK_S ? NULL : console_dead_end(console);
}

/* GRUB's menu, without a time after which it goes on by itself: what boots then may say nothing
 * more on this console. */
static bool is_at_menu(const char *tail)
{
    static const char menu[] = "keys to select which entry is highlighted";
    const char *at = NULL;

    for (const char *next = tail; (next = strstr(next, menu)); next++)
        at = next;
    return at && !strstr(at, "automatically") && !strstr(at, "Booting") && !strstr(at, "Loading");
}

const char *console_dead_end(const struct console *console)
{
    static const char *const prompts[] = { "grub rescue>", "grub>",       "(initramfs)", "Shell>",
                                           "dracut:/#",    "[rootfs /]#", "[rootfs ~]#" };
    static const char *const words[] = {
        "No bootable device",
        "No bootable option or device was found",
        "Kernel panic - not syncing",
        "You are in emergency mode",
        "Give root password for maintenance",
        "Press Enter for maintenance",
        "can't access tty; job control turned off",
        "initramfs emergency recovery shell launched",
        "BOOTMGR is missing",
        "An operating system wasn't found",
        "Operating System not found",
        "Missing operating system",
        "Error loading operating system",
    };

    for (size_t i = 0; i < sizeof prompts / sizeof prompts[0]; i++) {
        if (ends_with(console->tail, prompts[i]))
            return prompts[i];
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(console->tail, words[i]))
            return words[i];
    }
    return is_at_menu(console->tail) ? "the menu of its boot loader" : NULL;
}
