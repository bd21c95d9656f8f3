/* Which restore points stay; see retention.h. */
#include "job/retention.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#define MOST 100000

static const char *const names[KEEP_RULES] = {
    [KEEP_LAST] = "last",     [KEEP_HOURLY] = "hourly",   [KEEP_DAILY] = "daily",
    [KEEP_WEEKLY] = "weekly", [KEEP_MONTHLY] = "monthly", [KEEP_YEARLY] = "yearly",
};

const char *retention_rule_name(enum retention_rule rule)
{
    return names[rule];
}

static int wrong(const char *text, const char *at, struct error **err, const char *what)
{
    return error_set_kind(err, ERROR_USAGE,
                          "retention '%s', position %zu: %s; it is a list like 'last:7 daily:14 "
                          "weekly:4 monthly:6', or 'all'",
                          text, (size_t)(at - text) + 1, what);
}

static int rule_of(const char *word, size_t length)
{
    for (int i = 0; i < KEEP_RULES; i++) {
        if (strlen(names[i]) == length && strncmp(names[i], word, length) == 0)
            return i;
    }
    return -1;
}

/* One "rule:N" at *at, which is moved behind it. */
static int parse_rule(const char *text, const char **at, struct retention *retention,
                      struct error **err)
{
    const char *word = *at, *number;
    size_t length = strcspn(word, ": \t");
    int rule = rule_of(word, length);
    unsigned long n = 0;

    if (rule < 0)
        return wrong(text, word, err,
                     "no rule is called so, there are last, hourly, daily, weekly, monthly, "
                     "yearly");
    if (word[length] != ':')
        return wrong(text, word + length, err, "expected ':' and a number");
    number = word + length + 1;
    for (*at = number; isdigit((unsigned char)**at); (*at)++) {
        n = n * 10 + (unsigned long)(**at - '0');
        if (n > MOST)
            return wrong(text, number, err, "the number is above 100000");
    }
    if (*at == number || (**at && !isspace((unsigned char)**at)))
        return wrong(text, *at, err, "expected a number");
    if (n == 0)
        return wrong(text, number, err, "0 keeps nothing, leave the rule away");
    if (retention->keep[rule])
        return wrong(text, word, err, "this rule is there already");
    retention->keep[rule] = (unsigned)n;
    return 0;
}

int retention_parse(const char *text, struct retention *retention, struct error **err)
{
    struct retention parsed = { 0 };
    const char *at = text;
    size_t rules = 0;

    for (;; rules++) {
        at += strspn(at, " \t");
        if (!*at)
            break;
        if (rules == 0 && strncmp(at, "all", 3) == 0 && at[3 + strspn(at + 3, " \t")] == '\0') {
            parsed.all = true;
            break;
        }
        if (parse_rule(text, &at, &parsed, err) < 0)
            return -1;
    }
    parsed.all |= rules == 0;
    *retention = parsed;
    return 0;
}

/* The days since 1970 of a calendar date, so that dates can be counted: a day has one number
 * however many hours it has. Source: the proleptic Gregorian calendar. */
static int64_t day_number(const struct tm *tm)
{
    int64_t year = tm->tm_year + INT64_C(1900), before = year - 1;
    int64_t since_year_1 = before * 365 + before / 4 - before / 100 + before / 400;

    return since_year_1 - INT64_C(719162) + tm->tm_yday;
}

/* Equal for two moments of the same hour, day, week … Hours are told apart by the clock
 * that never jumps: the hour that is shown twice in autumn counts as two. */
static int64_t period(enum retention_rule rule, int64_t ms)
{
    time_t seconds = (time_t)(ms >= 0 ? ms / 1000 : -((999 - ms) / 1000));
    struct tm tm;

    localtime_r(&seconds, &tm);
    switch (rule) {
    case KEEP_HOURLY:
        return (int64_t)(seconds - tm.tm_min * 60 - tm.tm_sec);
    case KEEP_DAILY:
        return day_number(&tm);
    case KEEP_WEEKLY:
        return (day_number(&tm) - (tm.tm_wday + 6) % 7); /* its Monday */
    case KEEP_MONTHLY:
        return tm.tm_year * INT64_C(12) + tm.tm_mon;
    case KEEP_YEARLY:
        return tm.tm_year;
    case KEEP_LAST:
    case KEEP_RULES:
        break;
    }
    return 0;
}

/* Going down from the newest: the first point of each new period stays. */
static void apply(enum retention_rule rule, unsigned keep, struct retention_point *points,
                  size_t count)
{
    int64_t last = 0;
    bool any = false;

    for (size_t i = count; i-- > 0 && keep > 0;) {
        int64_t now = period(rule, points[i].ms);

        if (points[i].pinned || (rule != KEEP_LAST && any && now == last))
            continue;
        any = true;
        last = now;
        keep--;
        points[i].stays = true;
        points[i].rules |= 1U << rule;
    }
}

void retention_choose(const struct retention *retention, struct retention_point *points,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        points[i].stays = retention->all || points[i].pinned || i + 1 == count;
        points[i].rules = 0;
    }
    for (int rule = 0; rule < KEEP_RULES; rule++)
        apply((enum retention_rule)rule, retention->keep[rule], points, count);
}
