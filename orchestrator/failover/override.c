/* Reading overrides; see override.h. */
#include "failover/override.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

#define LINES_MOST 10000

void override_free(struct override *override)
{
    for (size_t i = 0; i < override->count; i++) {
        free(override->lines[i].where);
        free(override->lines[i].left);
        free(override->lines[i].right);
    }
    free(override->lines);
    *override = (struct override){ 0 };
}

/* A copy without white space around it. */
static char *trimmed(const char *from, const char *end)
{
    while (from < end && isspace((unsigned char)*from))
        from++;
    while (end > from && isspace((unsigned char)end[-1]))
        end--;
    return strndup(from, (size_t)(end - from));
}

/* The '=' or '+=' that stands outside of quotes and predicates; NULL without one. */
static const char *find_sign(const char *text)
{
    char quote = '\0';
    int depth = 0;

    for (const char *p = text; *p; p++) {
        if (quote) {
            quote = *p == quote ? '\0' : quote;
        } else if (depth && (*p == '\'' || *p == '"')) {
            quote = *p;
        } else if (*p == '[') {
            depth++;
        } else if (*p == ']') {
            depth--;
        } else if (depth == 0 && *p == '=') {
            return p > text && p[-1] == '+' ? p - 1 : p;
        }
    }
    return NULL;
}

static int add(struct override *override, const struct override_line *line, struct error **err)
{
    struct override_line *grown;

    if (override->count >= LINES_MOST)
        return error_set(err, "%s: there are more than %d lines", line->where, LINES_MOST);
    grown = reallocarray(override->lines, override->count + 1, sizeof *grown);
    if (!grown || !line->where || !line->left || (!line->right && line->verb != OVERRIDE_DELETE)) {
        override->lines = grown ? grown : override->lines;
        return error_set_errno(err, ENOMEM, "reading overrides");
    }
    override->lines = grown;
    grown[override->count++] = *line;
    return 0;
}

static void free_line(struct override_line *line)
{
    free(line->where);
    free(line->left);
    free(line->right);
}

static int parse_line(const char *where, const char *text, struct override_line *line,
                      struct error **err)
{
    const char *end = text + strlen(text);
    const char *sign = find_sign(text);

    if (strncmp(text, "delete", 6) == 0 && isspace((unsigned char)text[6])) {
        line->verb = OVERRIDE_DELETE;
        line->left = trimmed(text + 6, end);
        if (line->left && line->left[0] != '/')
            return error_set_kind(err, ERROR_USAGE, "%s: `delete` takes a path that starts with /",
                                  where);
        return 0;
    }
    if (!sign)
        return error_set_kind(err, ERROR_USAGE,
                              "%s: there is no '=' in it; it is KEY = VALUE, /PATH = TEXT, "
                              "/PATH += <ELEMENT>, or delete /PATH",
                              where);
    line->verb = text[0] != '/' ? OVERRIDE_KEY : *sign == '+' ? OVERRIDE_ADD : OVERRIDE_SET;
    line->left = trimmed(text, sign);
    line->right = trimmed(sign + (*sign == '+' ? 2 : 1), end);
    if (line->left && !line->left[0])
        return error_set_kind(err, ERROR_USAGE, "%s: there is nothing before the '='", where);
    if (*sign == '+' && line->verb == OVERRIDE_KEY)
        return error_set_kind(err, ERROR_USAGE, "%s: += is for a path that starts with /", where);
    return 0;
}

int override_add(struct override *override, const char *where, const char *text, struct error **err)
{
    struct override_line line = { 0 };
    CLEANUP_FREE char *clean = trimmed(text, text + strlen(text));

    if (clean && (!clean[0] || clean[0] == '#' || clean[0] == ';'))
        return 0;
    line.where = strdup(where);
    if (clean && parse_line(where, clean, &line, err) == 0 && add(override, &line, err) == 0)
        return 0;
    free_line(&line);
    return *err ? -1 : error_set_errno(err, ENOMEM, "reading overrides");
}

/* Takes the backslash and the newline off; whether the next line belongs to this one. */
static bool goes_on(char *line)
{
    size_t length = strlen(line);

    while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
        line[--length] = '\0';
    if (!length || line[length - 1] != '\\')
        return false;
    line[length - 1] = ' ';
    return true;
}

static int append(char **whole, const char *part, struct error **err)
{
    size_t length = *whole ? strlen(*whole) : 0;
    char *grown = realloc(*whole, length + strlen(part) + 1);

    if (!grown)
        return error_set_errno(err, ENOMEM, "reading overrides");
    strcpy(grown + length, part);
    *whole = grown;
    return 0;
}

int override_load(const char *path, struct override *override, struct error **err)
{
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    CLEANUP_FREE char *part = NULL;
    CLEANUP_FREE char *line = NULL;
    char where[512];
    size_t size = 0;
    struct stat st;

    if (!file || fstat(fileno(file), &st) < 0)
        return error_set_errno(err, errno, "reading %s", path);
    if (S_ISDIR(st.st_mode))
        return error_set_errno(err, EISDIR, "reading %s", path);
    for (unsigned number = 1, first = 1; getline(&part, &size, file) >= 0; number++) {
        bool more = goes_on(part);

        first = line ? first : number;
        if (append(&line, part, err) < 0)
            return -1;
        if (more)
            continue;
        snprintf(where, sizeof where, "%s: line %u", path, first);
        if (override_add(override, where, line, err) < 0)
            return -1;
        free(steal_ptr(line));
    }
    if (ferror(file))
        return error_set_errno(err, errno, "reading %s", path);
    return line ? error_set(err, "%s: its last line ends with a backslash", path) : 0;
}
