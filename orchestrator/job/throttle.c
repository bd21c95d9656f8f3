/* Time windows; see throttle.h. */
#include "job/throttle.h"

#include <string.h>
#include <strings.h>

#include "size.h"

#define DAY_MINUTES 1440
#define ALL_DAYS    0x7FU
#define MINUTE_S    60
#define AHEAD_S     (8 * 86400)

static const char *const day_names[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };

/* The day that the text begins with, which it moves on behind; -1. */
static int take_day(const char **text)
{
    for (int day = 0; day < 7; day++) {
        if (strncasecmp(*text, day_names[day], 3) == 0) {
            *text += 3;
            return day;
        }
    }
    return -1;
}

/* "mon-fri", "sat,sun", "fri-mon,wed". */
static int parse_days(const char *text, unsigned *days)
{
    *days = 0;
    for (;; text++) {
        int first = take_day(&text), last = first;

        if (first >= 0 && *text == '-') {
            text++;
            last = take_day(&text);
        }
        if (first < 0 || last < 0)
            return -1;
        *days |= 1U << last;
        for (int day = first; day != last; day = (day + 1) % 7)
            *days |= 1U << day;
        if (*text != ',')
            return *text ? -1 : 0;
    }
}

/* "08:00", which the text moves on behind; 24:00 is the day's end. -1. */
static int take_time(const char **text)
{
    int hour, minute, length = 0;

    if (sscanf(*text, "%2d:%2d%n", &hour, &minute, &length) != 2 || length != 5 ||
        (*text)[0] == '-' || (*text)[0] == '+' || hour > 24 || minute < 0 || minute > 59 ||
        (hour == 24 && minute))
        return -1;
    *text += length;
    return hour * 60 + minute;
}

static int parse_times(const char *text, int *from, int *to)
{
    *from = take_time(&text);
    if (*from < 0 || *from == DAY_MINUTES || *text++ != '-')
        return -1;
    *to = take_time(&text);
    return *to < 0 || *text || *from == *to ? -1 : 0;
}

static int parse_rate(const char *text, uint64_t *rate)
{
    if (strcasecmp(text, "unlimited") != 0)
        return size_parse(text, rate) ? -1 : 0;
    *rate = THROTTLE_UNLIMITED;
    return 0;
}

/* "*", days, times, or days and times; then the rate. */
static int parse_rule(char *text, struct throttle_rule *rule, struct error **err)
{
    char *words[4], *save = NULL, whole[THROTTLE_TEXT];
    int count = 0, next = 0;

    snprintf(whole, sizeof whole, "%s", text);
    for (char *word = strtok_r(text, " \t\n", &save); word && count < 4;
         word = strtok_r(NULL, " \t\n", &save))
        words[count++] = word;
    *rule = (struct throttle_rule){ .days = ALL_DAYS, .to = DAY_MINUTES };
    if (count < 2 || count > 3)
        return error_set_kind(err, ERROR_USAGE,
                              "'%s': say when, and how much: mon-fri 08:00-18:00 50M", whole);
    if (strcmp(words[0], "*") == 0 || parse_days(words[0], &rule->days) == 0)
        next++;
    else
        rule->days = ALL_DAYS;
    if (next < count - 1 && parse_times(words[next], &rule->from, &rule->to) == 0)
        next++;
    if (next != count - 1)
        return error_set_kind(err, ERROR_USAGE,
                              "'%s': '%s' is neither days (mon-fri, sat,sun, *) nor a time "
                              "(08:00-18:00)",
                              whole, words[next]);
    if (parse_rate(words[next], &rule->rate) < 0)
        return error_set_kind(err, ERROR_USAGE,
                              "'%s': '%s' is no rate: 50M, unlimited, or 0 for a pause", whole,
                              words[next]);
    return 0;
}

int throttle_parse(const char *text, struct throttle *throttle, struct error **err)
{
    char copy[THROTTLE_TEXT], *save = NULL;

    throttle->count = 0;
    if (strlen(text) >= sizeof copy)
        return error_set_kind(err, ERROR_USAGE, "more than %zu characters", sizeof copy - 1);
    strcpy(copy, text);
    for (char *rule = strtok_r(copy, ";", &save); rule; rule = strtok_r(NULL, ";", &save)) {
        rule += strspn(rule, " \t\n");
        if (!*rule)
            continue;
        if (throttle->count == THROTTLE_RULES)
            return error_set_kind(err, ERROR_USAGE, "more than %d rules", THROTTLE_RULES);
        if (parse_rule(rule, &throttle->rules[throttle->count], err) < 0)
            return -1;
        throttle->count++;
    }
    return 0;
}

static bool begins_on(const struct throttle_rule *rule, int day)
{
    return rule->days & (1U << ((day + 7) % 7));
}

static bool fits(const struct throttle_rule *rule, const struct tm *local)
{
    int minute = local->tm_hour * 60 + local->tm_min;

    if (rule->from < rule->to)
        return begins_on(rule, local->tm_wday) && minute >= rule->from && minute < rule->to;
    return (begins_on(rule, local->tm_wday) && minute >= rule->from) ||
           (begins_on(rule, local->tm_wday - 1) && minute < rule->to);
}

uint64_t throttle_rate(const struct throttle *throttle, time_t now)
{
    struct tm local;

    if (!throttle->count || !localtime_r(&now, &local))
        return THROTTLE_UNLIMITED;
    for (size_t i = 0; i < throttle->count; i++) {
        if (fits(&throttle->rules[i], &local))
            return throttle->rules[i].rate;
    }
    return THROTTLE_UNLIMITED;
}

/* Minute by minute: that is right on every day of the year, and fast enough. */
time_t throttle_until(const struct throttle *throttle, time_t now)
{
    uint64_t rate = throttle_rate(throttle, now);
    time_t minute = now - now % MINUTE_S;

    for (time_t then = minute + MINUTE_S; throttle->count && then < minute + AHEAD_S;
         then += MINUTE_S) {
        if (throttle_rate(throttle, then) != rate)
            return then;
    }
    return 0;
}

uint64_t throttle_share(uint64_t all, unsigned jobs, uint64_t own)
{
    uint64_t share = jobs > 1 ? all / jobs : all;

    if (!all)
        return own;
    if (!share)
        share = 1;
    return own && own < share ? own : share;
}
