/* The progress record; see progress.h. */
#include "progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_SECOND   1000000000LL
#define SMOOTH_SECONDS  10.0
#define ALMOST_DONE     99.99 /* the most that a running job says */
#define ETA_MAX_SECONDS 1e9   /* beyond 30 years nobody knows */
#define SHORTEST_SAMPLE (NS_PER_SECOND / 1000)

int64_t progress_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static int64_t wall_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

void progress_meter_init(struct progress_meter *meter, const char *label, const char *sync_type)
{
    struct progress_record *record = &meter->record;

    *meter = (struct progress_meter){ .record = { .eta_seconds = -1, .state = PROGRESS_RUNNING } };
    snprintf(record->label, sizeof record->label, "%s", label ? label : "");
    snprintf(record->sync_type, sizeof record->sync_type, "%s", sync_type ? sync_type : "");
    record->time_ms = wall_clock_ms();
}

/* Until ten seconds have passed the mean since the start, then an exponential
 * mean: one formula, whose weight is this sample's share of the window. */
static void sample_rate(struct progress_meter *meter, uint64_t done, int64_t now_ns)
{
    double elapsed, window, seconds;

    if (meter->start_ns == 0) {
        meter->start_ns = meter->last_ns = now_ns;
        meter->start_done = meter->last_done = done;
        return;
    }
    if (now_ns - meter->last_ns < SHORTEST_SAMPLE)
        return;
    seconds = (double)(now_ns - meter->last_ns) / NS_PER_SECOND;
    elapsed = (double)(now_ns - meter->start_ns) / NS_PER_SECOND;
    window = elapsed < SMOOTH_SECONDS ? elapsed : SMOOTH_SECONDS;
    if (window < seconds)
        window = seconds;
    meter->rate += ((double)(done - meter->last_done) / seconds - meter->rate) * seconds / window;
    meter->last_ns = now_ns;
    meter->last_done = done;
}

static int64_t estimate(uint64_t left, double rate)
{
    double seconds;

    if (rate < 1)
        return -1;
    seconds = (double)left / rate;
    if (seconds > ETA_MAX_SECONDS)
        return -1;
    return seconds < 1 ? 1 : (int64_t)(seconds + 0.5);
}

void progress_meter_update(struct progress_meter *meter, uint64_t done, uint64_t total,
                           int64_t now_ns)
{
    struct progress_record *record = &meter->record;
    double percent;

    if (done < record->bytes_done)
        done = record->bytes_done;
    sample_rate(meter, done, now_ns);
    record->bytes_done = done;
    record->bytes_total = total < done ? done : total;
    record->throughput = (uint64_t)meter->rate;
    record->eta_seconds = total == 0 ? -1 : estimate(record->bytes_total - done, meter->rate);
    record->time_ms = wall_clock_ms();

    percent = total == 0 ? 0 : 100.0 * (double)done / (double)record->bytes_total;
    if (percent > ALMOST_DONE)
        percent = ALMOST_DONE;
    if (percent > record->percent)
        record->percent = percent;
}

void progress_meter_finish(struct progress_meter *meter, enum progress_state state, int64_t now_ns)
{
    struct progress_record *record = &meter->record;

    if (meter->start_ns != 0 && now_ns > meter->start_ns)
        meter->rate = (double)(record->bytes_done - meter->start_done) /
                      ((double)(now_ns - meter->start_ns) / NS_PER_SECOND);
    record->throughput = (uint64_t)meter->rate;
    record->state = state;
    record->eta_seconds = -1;
    if (state == PROGRESS_COMPLETED) {
        record->percent = 100;
        record->eta_seconds = 0;
    }
    record->time_ms = wall_clock_ms();
}

const char *progress_state_name(enum progress_state state)
{
    switch (state) {
    case PROGRESS_RUNNING:
        return "running";
    case PROGRESS_COMPLETED:
        return "completed";
    case PROGRESS_PAUSED:
        return "paused";
    case PROGRESS_FAILED:
        return "failed";
    }
    return "unknown";
}

/* Text that grows in a buffer of fixed size; `length` counts what would have fitted. */
struct text {
    char *buf;
    size_t size, length;
};

static void __attribute__((format(printf, 2, 3))) append(struct text *text, const char *fmt, ...)
{
    size_t used = text->length < text->size ? text->length : text->size;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text->buf + used, text->size - used, fmt, args);
    va_end(args);
    if (n > 0)
        text->length += (size_t)n;
}

/* The length of the UTF-8 character at s (RFC 3629: shortest form, no
 * surrogates), 0 when there is none. */
static size_t utf8_length(const unsigned char *s)
{
    static const struct {
        unsigned char lead_min, lead_max, next_min, next_max;
        size_t length;
    } forms[] = {
        { 0x00, 0x7f, 0x00, 0xff, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (s[0] < forms[i].lead_min || s[0] > forms[i].lead_max)
            continue;
        if (forms[i].length > 1 && (s[1] < forms[i].next_min || s[1] > forms[i].next_max))
            return 0;
        for (size_t j = 2; j < forms[i].length; j++) {
            if (s[j] < 0x80 || s[j] > 0xbf)
                return 0;
        }
        return forms[i].length;
    }
    return 0;
}

static void append_string(struct text *text, const char *string)
{
    const unsigned char *s = (const unsigned char *)string;

    append(text, "\"");
    while (*s) {
        size_t n = utf8_length(s);

        if (n == 0)
            append(text, "\\ufffd");
        else if (*s == '"' || *s == '\\')
            append(text, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            append(text, "\\u%04x", *s);
        else
            append(text, "%.*s", (int)n, (const char *)s);
        s += n ? n : 1;
    }
    append(text, "\"");
}

static void append_time(struct text *text, int64_t time_ms)
{
    time_t seconds = time_ms / 1000;
    char stamp[32] = "";
    struct tm tm;

    if (gmtime_r(&seconds, &tm))
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    append(text, "\"%s.%03dZ\"", stamp, (int)(time_ms % 1000));
}

/* By hand, because printf's decimal point is the locale's, and cut, because
 * rounding could say 100 too early. */
static void append_percent(struct text *text, double percent)
{
    int hundredths = (int)(percent * 100 + 1e-6);

    append(text, "%d.%02d", hundredths / 100, hundredths % 100);
}

size_t progress_record_to_json(const struct progress_record *record, char *buf, size_t size)
{
    struct text text = { .buf = buf, .size = size };

    append(&text, "{\"label\":");
    append_string(&text, record->label);
    append(&text, ",\"sync_type\":");
    append_string(&text, record->sync_type);
    append(&text, ",\"bytes_done\":%" PRIu64 ",\"bytes_total\":%" PRIu64 ",\"percent\":",
           record->bytes_done, record->bytes_total);
    append_percent(&text, record->percent);
    append(&text, ",\"throughput\":%" PRIu64 ",\"eta_seconds\":", record->throughput);
    if (record->eta_seconds < 0)
        append(&text, "null");
    else
        append(&text, "%" PRId64, record->eta_seconds);
    append(&text, ",\"state\":\"%s\",\"time\":", progress_state_name(record->state));
    append_time(&text, record->time_ms);
    append(&text, "}");
    return text.length;
}
