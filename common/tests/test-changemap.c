/* Change maps: every form, every way of being wrong, and the look-up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <json-c/json.h>

#include "changemap.h"

/* Load bytes through fd:N. */
static int load_bytes(const void *bytes, size_t size, struct changemap *map, struct error **err)
{
    char source[32];
    int fd = memfd_create("map", MFD_CLOEXEC);
    int r;

    assert_true(fd > 2);
    assert_int_equal(write(fd, bytes, size), size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    snprintf(source, sizeof source, "fd:%d", fd);
    r = changemap_load(source, map, err);
    assert_true((r < 0) == (*err != NULL));
    return r;
}

/* The ranges that `text` gives, as "offset+length offset+length". */
static void check(const char *text, const char *expected)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
    CLEANUP_ERROR struct error *err = NULL;
    char got[512] = "";

    if (load_bytes(text, strlen(text), &map, &err) < 0)
        fail_msg("%s: %s", text, error_message(err));
    for (size_t i = 0; i < map.count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%" PRIu64 "+%" PRIu64,
                 i ? " " : "", map.ranges[i].offset, map.ranges[i].length);
    assert_string_equal(got, expected);
}

static void refuse_bytes(const char *text, size_t size, const char *reason)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
    CLEANUP_ERROR struct error *err = NULL;

    if (load_bytes(text, size, &map, &err) == 0)
        fail_msg("accepted: %.*s", (int)size, text);
    if (!strstr(error_message(err), reason))
        fail_msg("%.*s: got: %s, expected: %s", (int)size, text, error_message(err), reason);
    assert_null(map.ranges);
    assert_int_equal(map.count, 0);
}

static void refuse(const char *text, const char *reason)
{
    refuse_bytes(text, strlen(text), reason);
}

static void test_text(void **state)
{
    (void)state;
    check("0 512\n", "0+512");
    check("\n  # one\n0 1M # two\n\t2M\t8s\t0\r\n", "0+1048576 2097152+4096");
    check("# nothing changed\n", "");
    check("\xEF\xBB\xBF 5 1\n", "5+1");
    check("1k 1b\n1G 1\n", "1024+1 1073741824+1");
    check("7E 1023P\n", "8070450532247928832+1151795604700004352");
    check("0 9223372036854775807\n", "0+9223372036854775807");
    check("0 0\n9223372036854775807 0\n1 1\n", "1+1");
    /* Types: a zero or a hole is a change, only what is clean is none. */
    check("0 1 0\n2 1 3\n4 1 hole,zero\n6 1 1 hole\n8 1 data\n", "0+1 2+1 4+1 6+1 8+1");
    check("0 65536 0 clean\n65536 10 1 dirty\n65546 10 0 data\n", "65536+20");
}

static void test_text_refused(void **state)
{
    (void)state;
    refuse("", "empty");
    refuse(" \n\n", "line 3: the file is empty");
    refuse("0 512", "line 1: the last line has no newline");
    refuse("0 512\n512 5", "line 2: the last line has no newline");
    refuse("# cut sho", "line 1: the last line has no newline");
    refuse("0 1\n-1 5\n", "line 2: offset `-1' is negative");
    refuse("0 1\n\n1 -5\n", "line 3: length `-5' is negative");
    refuse("0\n", "line 1: no length");
    refuse("0x10 5\n", "line 1: offset `0x10' has an unknown suffix");
    refuse("0 5KB\n", "line 1: length `5KB' has an unknown suffix");
    refuse("0 1.5G\n", "unknown suffix");
    refuse("zero 5\n", "line 1: offset `zero' is not a number");
    refuse("0 8E\n", "line 1: length `8E' is too large");
    refuse("0 99999999999999999999999\n", "is too large");
    refuse("1 9223372036854775807\n", "line 1: offset 1 and length 9223372036854775807 end past");
    refuse_bytes("0 5\n1\0 5\n", 9, "line 2: this is neither text nor JSON");
    refuse("<xml/>\n", "line 1: offset `<xml/>' is not a number");
}

static void test_json(void **state)
{
    (void)state;
    check("[]", "");
    check(" [ ] \n", "");
    check("[{\"start\":0,\"length\":512}]", "0+512");
    check("[{\"length\":512,\"offset\":1024}, {\"start\":\"0\",\"length\":\"10\"}]",
          "0+10 1024+512");
    check(
        "[{\"Start\":1,\"Length\":2,\"x\":{\"start\":9,\"length\":[9,{\"a\":null}]},\"y\":-1.5e3}]",
        "1+2");
    check("[{\"start\":0,\"length\":0}]", "");
    check("[{\"comment\":\"a \\\"quoted\\\" \\u00e9 \xC3\xA9\",\"start\":3,\"length\":4}]", "3+4");
    check("[{\"start\":9223372036854775806,\"length\":1}]", "9223372036854775806+1");
}

static void test_vsphere(void **state)
{
    (void)state;
    check("{\"changedArea\":[{\"start\":65536,\"length\":65536},{\"start\":0,\"length\":1}]}",
          "0+1 65536+65536");
    check("{\"_vimtype\":\"DiskChangeInfo\",\"startOffset\":0,\"length\":100,\"changedArea\":["
          "{\"_vimtype\":\"DiskChangeExtent\",\"dynamicProperty\":[],\"start\":7,\"length\":2}]}",
          "7+2");
    check("{\"returnval\":{\"startOffset\":\"0\",\"length\":\"100\","
          "\"changedArea\":{\"start\":\"7\",\"length\":\"2\"}}}",
          "7+2");
    check("{\"startOffset\":0,\"length\":100}", "");
    check("{\"startOffset\":0,\"length\":100,\"changedArea\":null}", "");
    check("{\"time\":{\"start\":\"noon\"},\"start\":\"x\",\"changedArea\":[]}", "");
    check("[{\"startOffset\":0,\"length\":50,\"changedArea\":[{\"start\":1,\"length\":1}]},"
          "{\"startOffset\":50,\"length\":50,\"changedArea\":[{\"start\":60,\"length\":1}]}]",
          "1+1 60+1");
    refuse("[{\"startOffset\":0,\"length\":50},{\"startOffset\":60,\"length\":40}]",
           "an answer of the query is missing");
    refuse("{\"startOffset\":5,\"length\":50}", "an answer of the query is missing");
}

/* What other tools say of an entry: only `not dirty' is no change. */
static void test_flags(void **state)
{
    (void)state;
    check("[{\"offset\":0,\"length\":10,\"type\":0,\"description\":\"clean\"},\n"
          "{\"offset\":10,\"length\":10,\"type\":1,\"description\":\"dirty\"},\n"
          "{\"offset\":20,\"length\":10,\"type\":0,\"description\":\"clean\"}]\n",
          "10+10");
    check("[{\"offset\":0,\"length\":10,\"type\":0,\"description\":\"data\"},\n"
          "{\"offset\":20,\"length\":10,\"type\":3,\"description\":\"hole,zero\"}]\n",
          "0+10 20+10");
    check("[{\"start\":0,\"length\":4096,\"depth\":0,\"present\":true,\"zero\":false,\"data\":true,"
          "\"offset\":327680},{\"start\":8192,\"length\":4096,\"depth\":0,\"present\":true,"
          "\"zero\":true,\"data\":false,\"offset\":8192}]",
          "0+4096 8192+4096");
    check("[{\"start\":0,\"length\":1,\"dirty\":true},{\"start\":2,\"length\":1,\"dirty\":false},"
          "{\"start\":4,\"length\":1,\"dirty\":0},{\"start\":6,\"length\":1,\"dirty\":1}]",
          "0+1 6+1");
    /* Contradictions count as changes. */
    check("[{\"start\":0,\"length\":1,\"type\":1,\"description\":\"clean\"}]", "0+1");
    check("[{\"start\":0,\"length\":1,\"type\":0}]", "0+1");
}

static void test_json_refused(void **state)
{
    (void)state;
    refuse("{}", "line 1: no ranges found");
    refuse("{\"extents\":[{\"start\":0,\"length\":1}]}", "no ranges found");
    refuse("[{\"start\":0}]", "line 1: an entry has no length");
    refuse("[\n{\"length\":1}]", "line 2: an entry has no start or offset");
    refuse("[1,2]", "expected an object with start and length, found `1'");
    refuse("[[0,512]]", "expected an object");
    refuse("[{\"start\":0,\"length\":1},\n{\"start\":-5,\"length\":1}]",
           "line 2: start `-5' is negative");
    refuse("[{\"start\":0,\"length\":\"-1\"}]", "length `-1' is negative");
    refuse("[{\"start\":1.5,\"length\":1}]", "start `1.5' is not a whole number");
    refuse("[{\"start\":1e3,\"length\":1}]", "start `1e3' is not a whole number");
    refuse("[{\"start\":\"\",\"length\":1}]", "is not a whole number");
    refuse("[{\"start\":true,\"length\":1}]", "`start' is not a number");
    refuse("[{\"start\":{},\"length\":1}]", "`start' is not a number");
    refuse("[{\"start\":9223372036854775808,\"length\":1}]", "is too large");
    refuse("[{\"start\":18446744073709551617,\"length\":1}]", "is too large");
    refuse("[{\"start\":9223372036854775807,\"length\":1}]", "end past the largest disk");
    refuse("[{\"start\":123456789012345678901234567890123,\"length\":1}]", "too long");
    refuse("[{\"start\":0,\"start\":1,\"length\":1}]", "`start' stands twice");
    refuse("[{\"start\":0,\"length\":1}] x", "found `x'");
    refuse("[{\"start\":0,\"length\":1}][]", "found `['");
    refuse("[{\"start\":0,\"length\":1},]", "expected another element");
    refuse("[{\"start\":0,\"length\":1,}]", "expected another element");
    refuse("[{\"start\":0 \"length\":1}]", "expected `,' or `}'");
    refuse("[{\"start\" 0}]", "expected `:'");
    refuse("[{\"a\":tru,\"start\":0,\"length\":1}]", "`tru' is no JSON value");
    refuse("[{\"a\":01,\"start\":0,\"length\":1}]", "`01' is no JSON value");
    refuse("[{\"a\":\"\\x\",\"start\":0,\"length\":1}]", "an escape");
    refuse("[{\"a\":\"\\u12g4\",\"start\":0,\"length\":1}]", "a hexadecimal digit");
    refuse("[{\"a\":\"\n\",\"start\":0,\"length\":1}]", "the end of a string");
    refuse("{\"changedArea\":7}", "a list of ranges");
    refuse("{\"changedArea\":nope}", "is no JSON value");
}

static void test_depth(void **state)
{
    char deep[400];

    (void)state;
    memset(deep, '[', sizeof deep);
    memcpy(deep, "[{\"a\":", 6);
    refuse_bytes(deep, sizeof deep, "nested more than");
}

/* A JSON document cut short anywhere is refused; text cut short anywhere but
 * between two lines is. */
static void test_truncated(void **state)
{
    static const char *const documents[] = {
        "[{ \"offset\": 0, \"length\": 1048576, \"type\": 3, \"description\": \"hole,zero\"}]",
        "{\"startOffset\":0,\"length\":100,\"changedArea\":[{\"start\":7,\"length\":2}],\"x\":"
        "null}",
        "[{\"startOffset\":0,\"length\":100,\"changedArea\":null},{\"start\":7,\"length\":2}]",
        "{\"a\":{\"startOffset\":0,\"length\":100,\"x\":[1,-2.5e+3,null,{\"y\":\"\\u1234\"}],"
        "\"changedArea\":[{\"start\":\"7\",\"length\":2},\n{\"start\":17,\"length\":2}]}}",
    };
    static const char text[] = "# map\n0 1048576 # first\n2M 64K hole,zero\n";

    (void)state;
    for (size_t d = 0; d < sizeof documents / sizeof documents[0]; d++) {
        size_t size = strlen(documents[d]);

        for (size_t cut = 1; cut < size; cut++)
            refuse_bytes(documents[d], cut, "truncated");
        refuse_bytes(documents[d], 0, "truncated");
    }
    for (size_t cut = 0; cut < strlen(text); cut++) {
        if (cut == 0 || text[cut - 1] != '\n')
            refuse_bytes(text, cut, "truncated");
    }
}

/* A small random generator of our own, so that a seed means the same everywhere. */
static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static void seed(const char *name)
{
    const char *given = getenv("SEED");

    random_state = given ? strtoull(given, NULL, 0) : ((uint64_t)getpid() << 20 | 1);
    print_message("# %s: SEED=%" PRIu64 "\n", name, random_state);
}

static void assert_normal(const struct changemap *map)
{
    for (size_t i = 0; i < map->count; i++) {
        assert_true(map->ranges[i].length > 0);
        assert_true(range_end(map->ranges[i]) <= INT64_MAX);
        assert_true(i == 0 || map->ranges[i].offset > range_end(map->ranges[i - 1]));
    }
}

/* Is it JSON, by another parser? */
static bool is_json(const char *text, size_t size)
{
    struct json_tokener *tokener = json_tokener_new_ex(100);
    struct json_object *object;
    bool good;

    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    object = json_tokener_parse_ex(tokener, text, (int)size);
    good = json_tokener_get_error(tokener) == json_tokener_success;
    json_object_put(object);
    json_tokener_free(tokener);
    return good;
}

/* Damaged documents: no crash, what is no JSON is refused, a map is in order. */
static void test_damaged(void **state)
{
    static const char good[] =
        "{\"startOffset\":0,\"length\":100,\"x\":[true,\"\\n\"],\"changedArea\":[{\"start\":\"7\","
        "\"length\":2,\"dirty\":false},{\"start\":17,\"type\":0,\"description\":\"clean\","
        "\"length\":2}]}";
    static const char bytes[] = "{}[]\":,0123456789-+.eE\\ntfu \n#\x80\xff";

    (void)state;
    seed("damaged");
    for (int round = 0; round < 20000; round++) {
        CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
        CLEANUP_ERROR struct error *err = NULL;
        char text[sizeof good];
        size_t size = sizeof good - 1;

        memcpy(text, good, sizeof good);
        for (uint64_t changes = 1 + random_below(4); changes > 0; changes--)
            text[random_below(size)] = bytes[random_below(sizeof bytes - 1)];
        if (random_below(4) == 0)
            size -= random_below(size);
        if (load_bytes(text, size, &map, &err) < 0)
            continue;
        assert_normal(&map);
        if (!is_json(text, size))
            fail_msg("accepted: %.*s", (int)size, text);
    }
}

#define MODEL_SIZE 4096

/* Random ranges in random order against an array of flags. */
static void test_model(void **state)
{
    (void)state;
    seed("model");
    for (int round = 0; round < 300; round++) {
        CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
        CLEANUP_ERROR struct error *err = NULL;
        char changed[MODEL_SIZE + 1] = { 0 };
        char *text = NULL;
        size_t size = 0;
        FILE *fp = open_memstream(&text, &size);
        uint64_t bytes = 0;
        bool json = random_below(2);
        uint64_t count = random_below(60);

        fprintf(fp, json ? "[" : "#\n");
        for (uint64_t i = 0; i < count; i++) {
            uint64_t offset = random_below(MODEL_SIZE);
            uint64_t length = random_below(1 + random_below(MODEL_SIZE - offset + 1));

            memset(changed + offset, 1, length);
            fprintf(fp,
                    json ? "%s{\"start\":%" PRIu64 ",\"length\":%" PRIu64 "}"
                         : "%s%" PRIu64 " %" PRIu64 "\n",
                    json && i ? "," : "", offset, length);
        }
        fprintf(fp, json ? "]" : "");
        fclose(fp);
        assert_int_equal(load_bytes(text, size, &map, &err), 0);
        free(text);

        assert_normal(&map);
        for (uint64_t i = 0; i < MODEL_SIZE; i++) {
            size_t found = changemap_find(&map, i);
            bool inside = found < map.count && map.ranges[found].offset <= i;

            assert_int_equal(inside, changed[i]);
            assert_true(found == 0 || range_end(map.ranges[found - 1]) <= i);
            bytes += changed[i];
        }
        assert_int_equal(changemap_bytes(&map), bytes);
        assert_int_equal(map.end, map.count ? range_end(map.ranges[map.count - 1]) : 0);
    }
}

static void test_size(void **state)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
    CLEANUP_ERROR struct error *err = NULL;
    static const char text[] = "0 512\n4096 512\n1024 512\n";
    static const char page[] = "{\"startOffset\":0,\"length\":4096,\"changedArea\":[]}";

    (void)state;
    assert_int_equal(load_bytes(text, strlen(text), &map, &err), 0);
    assert_int_equal(changemap_check_size(&map, 4608, &err), 0);
    assert_int_equal(changemap_check_size(&map, 4607, &err), -1);
    assert_non_null(strstr(error_message(err), "line 2: the range ends at 4608"));
    error_clear(&err);
    changemap_free(&map);

    assert_int_equal(load_bytes(page, strlen(page), &map, &err), 0);
    assert_int_equal(changemap_check_size(&map, 4096, &err), 0);
    assert_int_equal(changemap_check_size(&map, 4097, &err), -1);
    assert_non_null(strstr(error_message(err), "first 4096 bytes of a disk of 4097"));
}

static void refuse_source(const char *source, const char *reason)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
    CLEANUP_ERROR struct error *err = NULL;

    assert_int_equal(changemap_load(source, &map, &err), -1);
    assert_non_null(strstr(error_message(err), reason));
    assert_non_null(strstr(error_message(err), source));
}

static void test_sources(void **state)
{
    (void)state;
    refuse_source("/nonexistent/map", "No such file");
    refuse_source("/", "Is a directory");
    refuse_source("fd:", "expected fd:N");
    refuse_source("fd:0", "expected fd:N");
    refuse_source("fd:x", "expected fd:N");
    refuse_source("fd:99999999999", "expected fd:N");
    refuse_source("fd:1000", "Bad file descriptor");
}

/* Ranges without end through a pipe, from another process: memory is ours alone. */
static pid_t generate(int fd, uint64_t count, bool json)
{
    pid_t pid = fork();
    FILE *fp;

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    fp = fdopen(fd, "w");
    fprintf(fp, json ? "[\n" : "");
    for (uint64_t i = 0; i < count; i++) {
        /* 7919 has no factor in common with count: every place once, out of order. */
        uint64_t place = json ? i : i * 7919 % count;

        if (json)
            fprintf(fp,
                    "{ \"offset\": %" PRIu64 ", \"length\": 65536, \"type\": 1, "
                    "\"description\": \"dirty\"}%s\n",
                    place * 131072, i + 1 < count ? "," : "");
        else
            fprintf(fp, "%" PRIu64 " 65536\n", place * 131072);
    }
    fprintf(fp, json ? "]\n" : "");
    fclose(fp);
    _exit(0);
}

/* The most memory that this process has had at once, in bytes. */
static uint64_t peak_memory(void)
{
    CLEANUP_FCLOSE FILE *fp = fopen("/proc/self/status", "r");
    char line[128];
    uint64_t kilobytes = 0;

    while (fp && fgets(line, sizeof line, fp))
        if (sscanf(line, "VmHWM: %" SCNu64, &kilobytes) == 1)
            break;
    return kilobytes * 1024;
}

/* So that the peak is that of what follows. */
static void reset_peak_memory(void)
{
    CLEANUP_FCLOSE FILE *fp = fopen("/proc/self/clear_refs", "w");

    if (fp)
        fputs("5", fp);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - start->tv_sec + (now.tv_nsec - start->tv_nsec) / 1e9;
}

static void load_many(uint64_t count, bool json)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
    CLEANUP_ERROR struct error *err = NULL;
    struct timespec start;
    char source[32];
    int fds[2];
    pid_t pid;
    uint64_t before, used;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
    pid = generate(fds[1], count, json);
    close(fds[1]);
    snprintf(source, sizeof source, "fd:%d", fds[0]);

    reset_peak_memory();
    before = peak_memory();
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (changemap_load(source, &map, &err) < 0)
        fail_msg("%s", error_message(err));
    used = peak_memory() - before;
    print_message("# %" PRIu64 " ranges, %s: %.1f s, %.1f MiB at most\n", count,
                  json ? "JSON" : "text, shuffled", seconds_since(&start), used / 1048576.0);
    waitpid(pid, NULL, 0);

    assert_int_equal(map.count, count);
    assert_int_equal(changemap_bytes(&map), count * 65536);
    assert_int_equal(changemap_find(&map, (count - 1) * 131072), count - 1);
    if (!getenv("SANITIZE") && !getenv("VALGRIND"))
        assert_true(used <= 16 * count + (4 << 20));
}

static void test_many(void **state)
{
    uint64_t count = getenv("SANITIZE") || getenv("VALGRIND") ? 100000 : 10000000;

    (void)state;
    load_many(count, false);
    load_many(count / 5, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_text_refused),
        cmocka_unit_test(test_json),    cmocka_unit_test(test_vsphere),
        cmocka_unit_test(test_flags),   cmocka_unit_test(test_json_refused),
        cmocka_unit_test(test_depth),   cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_model),
        cmocka_unit_test(test_size),    cmocka_unit_test(test_sources),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
