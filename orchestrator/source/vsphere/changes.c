/* Changed areas; see changes.h. */
#include "source/vsphere/changes.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "source/vsphere/read.h"

/* A server that rounds a disk's size down may refuse to speak of what is left. */
#define TAIL_MAX (UINT64_C(1) << 20)
/* Real answers cover megabytes at least. One that covers less than a grain of change
 * tracking is legal, but a disk of them would never end. */
#define SMALL_SLICE (UINT64_C(64) << 10)
#define SMALL_MAX   4096
/* The server may have to read a large tracking file first. */
#define QUERY_WAIT_S 540

/* Those that mean "I can't tell" and nothing worse. */
#define FAULTS                                                                                     \
    "InvalidArgument FileFault NotFound MethodNotFound NotImplemented NotSupported SystemError "   \
    "InvalidRequest InvalidState GenericVmConfigFault InvalidDatastore RestrictedVersion "         \
    "SoapFault RuntimeFault FileNotFound FileLocked NoDiskFound CannotAccessFile "                 \
    "ManagedObjectNotFound"

bool changes_same_life(const char *since, const char *now, char why[CHANGES_WHY])
{
    size_t life = change_id_life(since);
    unsigned long long before, after;
    char *end_before, *end_after;

    if (!now[0]) {
        snprintf(why, CHANGES_WHY, "change tracking is off for this disk");
        return false;
    }
    if (life != change_id_life(now) || strncmp(since, now, life) != 0) {
        snprintf(why, CHANGES_WHY,
                 "change tracking was reset: the replica stands at %s, the disk is at %s", since,
                 now);
        return false;
    }
    if (since[life] != '/' || now[life] != '/')
        return true;
    before = strtoull(since + life + 1, &end_before, 10);
    after = strtoull(now + life + 1, &end_after, 10);
    if (!*end_before && !*end_after && before > after) {
        snprintf(why, CHANGES_WHY,
                 "the disk went back in time: the replica stands at %s, the disk is at %s", since,
                 now);
        return false;
    }
    return true;
}

static int read_range(const xmlNode *node, const char *start_name, uint64_t *start,
                      uint64_t *length, struct error **err)
{
    int64_t first, size;

    if (xml_int64(node, start_name, &first) < 0 || xml_int64(node, "length", &size) < 0)
        return error_set(err, "the answer about changed areas lacks %s or length", start_name);
    if (first < 0 || size < 0 || size > INT64_MAX - first)
        return error_set(err,
                         "the answer about changed areas holds an impossible range: start %" PRId64
                         ", length %" PRId64,
                         first, size);
    *start = (uint64_t)first;
    *length = (uint64_t)size;
    return 0;
}

static int put_area(struct changes_cursor *cursor, uint64_t start, uint64_t length,
                    struct error **err)
{
    if (fprintf(cursor->out, "%" PRIu64 " %" PRIu64 "\n", start, length) < 0)
        return error_set_errno(err, errno, "writing a change map");
    cursor->end = start + length;
    cursor->result.areas++;
    cursor->result.bytes += length;
    return 0;
}

static int take_area(const xmlNode *area, uint64_t slice, uint64_t slice_end,
                     struct changes_cursor *cursor, struct error **err)
{
    uint64_t start, length;

    if (read_range(area, "start", &start, &length, err) < 0)
        return -1;
    if (start < slice || start + length > slice_end)
        return error_set(err,
                         "the server names a changed area %" PRIu64 "+%" PRIu64
                         " outside of what its answer speaks of, %" PRIu64 " to %" PRIu64,
                         start, length, slice, slice_end);
    if (start < cursor->end)
        return error_set(err,
                         "the server names a changed area %" PRIu64 "+%" PRIu64
                         " that begins before the one before it ends, at %" PRIu64,
                         start, length, cursor->end);
    return length ? put_area(cursor, start, length, err) : 0;
}

/* A slice may not reach past the disk: the server would be speaking of another one. */
static int check_slice(uint64_t start, uint64_t length, struct changes_cursor *cursor,
                       struct error **err)
{
    if (start != cursor->offset)
        return error_set(err,
                         "the server answers about changed areas from %" PRIu64
                         " on, and was asked from %" PRIu64 " on",
                         start, cursor->offset);
    if (length == 0)
        return error_set(
            err, "the server's answers about changed areas do not go on after %" PRIu64, start);
    if (length > cursor->capacity - start)
        return error_set(err,
                         "the server answers about changed areas up to %" PRIu64
                         ", and the disk ends at %" PRIu64,
                         start + length, cursor->capacity);
    if (length < SMALL_SLICE && start + length < cursor->capacity && ++cursor->small > SMALL_MAX)
        return error_set(err,
                         "the server's answers about changed areas hardly go on: %" PRIu64
                         " bytes at %" PRIu64,
                         length, start);
    return 0;
}

int changes_page(const xmlNode *returnval, struct changes_cursor *cursor, struct error **err)
{
    uint64_t start, length;

    if (!returnval)
        return error_set(err, "the server answered nothing about changed areas");
    if (read_range(returnval, "startOffset", &start, &length, err) < 0 ||
        check_slice(start, length, cursor, err) < 0)
        return -1;
    for (const xmlNode *area = xml_child(returnval, "changedArea"); area; area = xml_next(area)) {
        if (take_area(area, start, start + length, cursor, err) < 0)
            return -1;
    }
    cursor->offset = start + length;
    cursor->result.pages++;
    return 0;
}

/* In the schema's order. */
static int write_arguments(const struct changes_query *query, uint64_t offset,
                           struct xml_writer *writer, struct error **err)
{
    char number[32];

    moref_write(writer, "snapshot", &query->snapshot);
    snprintf(number, sizeof number, "%d", query->key);
    xml_element(writer, "deviceKey", number);
    snprintf(number, sizeof number, "%" PRIu64, offset);
    xml_element(writer, "startOffset", number);
    xml_element(writer, "changeId", query->since);
    return xml_writer_check(writer, "the question for changed areas", err);
}

static bool is_hint(const struct changes_query *query)
{
    return strcmp(query->since, "*") == 0;
}

/* 0: the rest counts as changed, and that was all. Else as changes_fetch(). */
static int judge_fault(const struct changes_query *query, const struct soap_answer *answer,
                       struct changes_cursor *cursor, char why[CHANGES_WHY], struct error **err)
{
    char property[64] = "";
    uint64_t left = cursor->capacity - cursor->offset;

    read_text(answer->detail, "invalidProperty", property, sizeof property);
    if (strcmp(answer->fault, "InvalidArgument") == 0 && strcmp(property, "startOffset") == 0 &&
        cursor->offset > 0 && left <= TAIL_MAX) {
        uint64_t offset = cursor->offset;

        cursor->offset = cursor->capacity;
        return put_area(cursor, offset, left, err);
    }
    if (strcmp(answer->fault, "ManagedObjectNotFound") == 0)
        return error_set_kind(err, ERROR_PAUSED,
                              "the snapshot (%s) is gone while its changed areas were asked for",
                              query->snapshot.id);
    if (!is_hint(query) && strcmp(property, "deviceKey") == 0)
        return error_set(err, "the snapshot has no disk of this key: %s", answer->fault_text);
    snprintf(why, CHANGES_WHY, "the server can't tell %s: %s%s%s: %.300s",
             is_hint(query) ? "which areas are in use" : "what changed", answer->fault,
             property[0] ? " " : "", property, answer->fault_text);
    return 1;
}

static int fetch_page(struct session *session, const struct changes_query *query,
                      struct changes_cursor *cursor, char why[CHANGES_WHY], struct error **err)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    CLEANUP_XML_WRITER struct xml_writer arguments = { 0 };

    if (write_arguments(query, cursor->offset, &arguments, err) < 0 ||
        session_call(session, &query->vm, "QueryChangedDiskAreas", arguments.text, true,
                     QUERY_WAIT_S, FAULTS, &answer, err) < 0)
        return -1;
    if (answer.fault[0])
        return judge_fault(query, &answer, cursor, why, err);
    return changes_page(xml_child(answer.body, "returnval"), cursor, err);
}

static int fetch_all(struct session *session, const struct changes_query *query,
                     struct changes_cursor *cursor, char why[CHANGES_WHY], struct error **err)
{
    CLEANUP_ERROR struct error *lie = NULL;
    int r = 0;

    /* Asking at the end, or past it, is a fault. */
    while (r == 0 && cursor->offset < cursor->capacity)
        r = fetch_page(session, query, cursor, why, &lie);
    if (r < 0 && is_hint(query) && lie->kind != ERROR_PAUSED && lie->errnum == 0) {
        snprintf(why, CHANGES_WHY, "the server can't tell which areas are in use: %.400s",
                 error_message(lie));
        return 1;
    }
    return r < 0 ? error_move(err, &lie) : r;
}

int changes_fetch(struct session *session, const struct changes_query *query, const char *path,
                  struct changes_result *result, char why[CHANGES_WHY], struct error **err)
{
    struct changes_cursor cursor = { .capacity = query->capacity };
    char temporary[PATH_MAX];
    int r;

    *result = (struct changes_result){ 0 };
    unlink(path); /* an older map must not be taken for this one */
    if (!is_hint(query) && !changes_same_life(query->since, query->now, why))
        return 1;
    if (is_hint(query) && !query->now[0]) {
        snprintf(why, CHANGES_WHY, "change tracking is off for this disk");
        return 1;
    }
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return error_set_errno(err, ENAMETOOLONG, "%s", path);
    cursor.out = fopen(temporary, "we");
    if (!cursor.out)
        return error_set_errno(err, errno, "writing %s", temporary);
    fprintf(cursor.out, "# offset length\n"); /* an empty file would count as truncated */
    r = fetch_all(session, query, &cursor, why, err);
    if (fclose(cursor.out) != 0 && r == 0)
        r = error_set_errno(err, errno, "writing %s", temporary);
    if (r == 0 && rename(temporary, path) < 0)
        r = error_set_errno(err, errno, "renaming %s", temporary);
    if (r != 0)
        unlink(temporary);
    if (r == 0)
        *result = cursor.result;
    return r < 0 ? error_prefix(err, "%s: disk-%d", query->vm_name, query->key) : r;
}
