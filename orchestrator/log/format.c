/* One line of the log as text; see log.h. */
#include <inttypes.h>
#include <string.h>

#include "escape.h"
#include "json-writer.h"
#include "log/log.h"

static void print_member(FILE *out, const char *name, const char *text)
{
    fprintf(out, ",\"%s\":", name);
    if (!text || !*text) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    escape_json(out, text);
    fputc('"', out);
}

static const char *kind_name(const struct error *err)
{
    switch (err->kind) {
    case ERROR_USAGE:
        return "usage";
    case ERROR_PAUSED:
        return "paused";
    default:
        return "failed";
    }
}

void log_print_json(FILE *out, const struct log_line *line)
{
    char time[TIME_RFC3339];

    fprintf(out, "{\"time\":\"%s\"", time_rfc3339(time, line->time_ms));
    print_member(out, "level", log_level_name(line->level));
    print_member(out, "part", line->part);
    if (line->job)
        fprintf(out, ",\"job\":%" PRId64, line->job);
    else
        fputs(",\"job\":null", out);
    print_member(out, "vm", line->vm);
    print_member(out, "disk", line->disk);
    if (line->command)
        print_member(out, "command", line->command);
    print_member(out, "message", line->text);
    if (line->error) {
        print_member(out, "error_kind", kind_name(line->error));
        fprintf(out, ",\"errno\":%d", line->error->errnum);
    }
    fputs("}\n", out);
}

static void print_about(FILE *out, const char *about)
{
    if (!about || !*about)
        return;
    escape_terminal(out, about);
    fputs(": ", out);
}

static void print_command(FILE *out, const char *command)
{
    fprintf(out, "vmferry%s%s: ", *command ? " " : "", command);
}

void log_print_plain(FILE *out, const struct log_line *line, bool with_vm)
{
    if (with_vm)
        print_about(out, line->vm);
    if (line->command)
        print_command(out, line->command);
    print_about(out, line->disk);
    if (!line->command && (line->level <= LEVEL_WARNING || line->level == LEVEL_DEBUG))
        print_about(out, log_level_name(line->level));
    if (!line->command && line->level == LEVEL_DEBUG)
        print_about(out, line->part);
    escape_terminal(out, line->text);
    fputc('\n', out);
}

/* The journal takes each line for itself, and a level in front of it. */
void log_print_journal(FILE *out, const struct log_line *line)
{
    const char *text = line->text;

    do {
        size_t length = strcspn(text, "\n");
        CLEANUP_FREE char *one = strndup(text, length);

        fprintf(out, "<%d>", (int)line->level);
        if (line->job)
            fprintf(out, "job %" PRId64 ": ", line->job);
        print_about(out, line->vm);
        print_about(out, line->disk);
        if (line->command)
            print_command(out, line->command);
        else
            print_about(out, line->part);
        escape_terminal(out, one ? one : "");
        fputc('\n', out);
        text += length + (text[length] != '\0');
    } while (*text);
}
