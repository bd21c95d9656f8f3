/* Checks as they are written and run; see check.h. */
#include "failover/check.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <time.h>

#define POLL_MS    250
#define WORDS_MOST 64

static void free_check(struct check *check)
{
    for (char **word = check->argv; word && *word; word++)
        free(*word);
    free(check->argv);
    free(check->text);
    *check = (struct check){ 0 };
}

void checks_free(struct checks *checks)
{
    for (size_t i = 0; i < checks->count; i++)
        free_check(&checks->list[i]);
    free(checks->list);
    *checks = (struct checks){ 0 };
}

static int wrong(const char *text, const char *problem, struct error **err)
{
    return error_set_kind(err, ERROR_USAGE,
                          "'%s': %s; a check is tcp:PORT, tcp:PORT@nic0, tcp:PORT@ADDRESS/PREFIX "
                          "or command:/PATH ARGUMENTS",
                          text, problem);
}

/* Digits alone, up to `most`; where they end. NULL: it is no such number. */
static const char *take_number(const char *text, unsigned most, unsigned *number)
{
    unsigned value = 0;
    const char *c;

    for (c = text; isdigit((unsigned char)*c); c++) {
        value = value * 10 + (unsigned)(*c - '0');
        if (value > most)
            return NULL;
    }
    *number = value;
    return c > text ? c : NULL;
}

/* "A.B.C.D" or "A.B.C.D/N". */
static bool take_address(const char *text, struct check *check)
{
    const char *slash = strchrnul(text, '/');
    char address[INET_ADDRSTRLEN];
    const char *end = slash;

    check->prefix = 24;
    if (slash - text >= INET_ADDRSTRLEN)
        return false;
    snprintf(address, sizeof address, "%.*s", (int)(slash - text), text);
    if (*slash)
        end = take_number(slash + 1, 30, &check->prefix);
    return inet_pton(AF_INET, address, &check->address) == 1 && check->address.s_addr &&
           check->prefix && end && !*end;
}

static int parse_tcp(const char *text, const char *rest, struct check *check, struct error **err)
{
    const char *end = take_number(rest, 65535, &check->port);
    unsigned nic;

    check->kind = CHECK_TCP;
    check->nic = -1;
    if (!end || !check->port || (*end && *end != '@'))
        return wrong(text, "a port is a number from 1 to 65535", err);
    if (!*end)
        return 0;
    if (strncmp(end, "@nic", 4) != 0)
        return take_address(end + 1, check)
                   ? 0
                   : wrong(text, "behind the @ comes a NIC, or an IPv4 address", err);
    end = take_number(end + 4, 999, &nic);
    if (!end || *end)
        return wrong(text, "NICs are counted from nic0", err);
    check->nic = (int)nic;
    return 0;
}

/* The next word, its quotes gone, and where it ends; NULL: a quote that does not end. */
static const char *take_word(const char *text, char *word)
{
    char quote = '\0';

    for (; *text && (quote || !isspace((unsigned char)*text)); text++) {
        if (quote ? *text == quote : *text == '"' || *text == '\'')
            quote = quote ? '\0' : *text;
        else
            *word++ = *text;
    }
    *word = '\0';
    return quote ? NULL : text;
}

/* "/usr/bin/x", "C:\x.exe": the agent may look in another PATH than people do. */
static bool is_absolute(const char *path)
{
    return path[0] == '/' || (isalpha((unsigned char)path[0]) && path[1] == ':' && path[2]);
}

static int parse_command(const char *text, const char *rest, struct check *check,
                         struct error **err)
{
    CLEANUP_FREE char *word = malloc(strlen(rest) + 1);
    size_t count = 0;

    check->kind = CHECK_COMMAND;
    check->argv = calloc(WORDS_MOST + 1, sizeof *check->argv);
    if (!word || !check->argv)
        return error_set_errno(err, ENOMEM, "a check");
    while (*(rest += strspn(rest, " \t\r\n"))) {
        rest = take_word(rest, word);
        if (!rest)
            return wrong(text, "a quote has no end", err);
        if (count == WORDS_MOST)
            return wrong(text, "it has too many words", err);
        check->argv[count] = strdup(word);
        if (!check->argv[count++])
            return error_set_errno(err, ENOMEM, "a check");
    }
    return count && is_absolute(check->argv[0])
               ? 0
               : wrong(text, "a command starts with the absolute path of a program", err);
}

static int parse(const char *text, struct check *check, struct error **err)
{
    check->text = strdup(text);
    if (!check->text)
        return error_set_errno(err, ENOMEM, "a check");
    if (strncmp(text, "tcp:", 4) == 0)
        return parse_tcp(text, text + 4, check, err);
    if (strncmp(text, "command:", 8) == 0)
        return parse_command(text, text + 8, check, err);
    return wrong(text, "it is no check", err);
}

int checks_add(struct checks *checks, const char *text, struct error **err)
{
    struct check *bigger = reallocarray(checks->list, checks->count + 1, sizeof *bigger);
    struct check check = { 0 };

    if (!bigger)
        return error_set_errno(err, ENOMEM, "a check");
    checks->list = bigger;
    if (parse(text, &check, err) < 0) {
        free_check(&check);
        return -1;
    }
    checks->list[checks->count++] = check;
    return 0;
}

/* Where the check ends that `text` begins with: at a comma before another one. */
static const char *end_of(const char *text)
{
    for (const char *comma = text; (comma = strchr(comma, ',')); comma++) {
        const char *next = comma + 1 + strspn(comma + 1, " \t\r\n");

        if (strncmp(next, "tcp:", 4) == 0 || strncmp(next, "command:", 8) == 0)
            return comma;
    }
    return text + strlen(text);
}

int checks_add_list(struct checks *checks, const char *text, struct error **err)
{
    if (strcmp(text, "none") == 0)
        return 0;
    while (*(text += strspn(text, " \t\r\n"))) {
        const char *end = end_of(text), *last = end;
        CLEANUP_FREE char *one = NULL;

        while (last > text && isspace((unsigned char)last[-1]))
            last--;
        one = strndup(text, (size_t)(last - text));
        if (!one)
            return error_set_errno(err, ENOMEM, "a check");
        if (checks_add(checks, one, err) < 0)
            return -1;
        text = *end ? end + 1 : end;
    }
    return 0;
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Returns whether all are done. `last`: what does not pass now never will. */
static bool try_all(struct check_try *tries, size_t count, const struct check_place *place,
                    double start, bool last)
{
    bool all = true;

    for (size_t i = 0; i < count; i++) {
        struct check_try *try = &tries[i];

        if (try->done)
            continue;
        try->last = last;
        if (try->check->kind == CHECK_TCP)
            check_tcp(try, place);
        else
            check_command(try, place);
        try->seconds = now() - start;
        try->done = try->passed || try->hopeless || last;
        all &= try->done;
    }
    return all;
}

static json_object *to_json(const struct check_try *try)
{
    json_object *object = json_object_new_object();
    char seconds[32];

    snprintf(seconds, sizeof seconds, "%.1f", try->seconds);
    json_object_object_add(object, "check", json_object_new_string(try->check->text));
    json_object_object_add(object, "passed", json_object_new_boolean(try->passed));
    json_object_object_add(object, "seconds", json_object_new_double_s(try->seconds, seconds));
    json_object_object_add(object, "tries", json_object_new_int64(try->tries));
    json_object_object_add(object, "way", *try->way ? json_object_new_string(try->way) : NULL);
    json_object_object_add(object, "detail", json_object_new_string(try->why));
    if (try->check->kind == CHECK_COMMAND) {
        json_object_object_add(object, "exit",
                               try->exit_code < 0 ? NULL : json_object_new_int(try->exit_code));
        json_object_object_add(object, "output",
                               try->output ? json_object_new_string(try->output) : NULL);
    }
    return object;
}

static size_t conclude(struct check_try *tries, size_t count, json_object *array,
                       char why[CHECK_WHY])
{
    size_t failed = 0;

    for (size_t i = 0; i < count; i++) {
        if (!tries[i].passed && failed++ == 0)
            snprintf(why, CHECK_WHY, "%.200s: %.300s", tries[i].check->text, tries[i].why);
        json_object_array_add(array, to_json(&tries[i]));
        free(tries[i].output);
    }
    return failed;
}

size_t checks_run(const struct checks *checks, const struct check_place *place, unsigned timeout_s,
                  atomic_int *cancel, json_object **results, char why[CHECK_WHY])
{
    const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
    CLEANUP_FREE struct check_try *tries = calloc(checks->count + 1, sizeof *tries);
    double start = now();

    *results = json_object_new_array();
    why[0] = '\0';
    if (!tries) {
        snprintf(why, CHECK_WHY, "%s", strerror(ENOMEM));
        return checks->count;
    }
    for (size_t i = 0; i < checks->count; i++)
        tries[i] = (struct check_try){ .check = &checks->list[i], .exit_code = -1 };
    for (;;) {
        bool last = now() - start >= timeout_s || (cancel && atomic_load(cancel));

        if (try_all(tries, checks->count, place, start, last))
            break;
        nanosleep(&pause, NULL);
    }
    return conclude(tries, checks->count, *results, why);
}
