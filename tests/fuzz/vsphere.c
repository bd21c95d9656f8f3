/* libFuzzer over everything that reads what a vSphere server sends. What comes in: a
 * response's body. Aborts when a parser believes what it should not. No network.
 *
 * `make fuzz` builds and runs it; tests/fuzz/vsphere.seeds are where it starts. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "source/vsphere/capture.h"
#include "source/vsphere/certificate.h"
#include "source/vsphere/changes.h"
#include "source/vsphere/envelope.h"
#include "source/vsphere/http.h"
#include "source/vsphere/privileges.h"
#include "source/vsphere/property.h"
#include "source/vsphere/snapshot.h"
#include "source/vsphere/task.h"
#include "source/vsphere/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CAPACITY (UINT64_C(8) << 30)

static void demand(bool truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "fuzz: this is not so: %s\n", what);
    abort();
}

/* The operation whose response this claims to be. */
static const char *guess_op(const char *text, size_t size)
{
    static const char *const ops[] = { "RetrievePropertiesEx", "ContinueRetrievePropertiesEx",
                                       "WaitForUpdatesEx", "QueryChangedDiskAreas",
                                       "RetrieveServiceContent" };

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (memmem(text, size, ops[i], strlen(ops[i])))
            return ops[i];
    }
    return "Op";
}

/* What we make of a VM must be what the store can read back. */
static void check_vm(struct vsphere_vm *vm)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SPEC struct vm_spec again = { 0 };
    CLEANUP_FREE char *json = NULL;

    if (vm_finish(vm, &err) < 0)
        return;
    json = spec_to_json(&vm->spec);
    demand(json != NULL, "a spec becomes JSON");
    if (spec_parse_stored(json, "fuzz", &again, &err) < 0) {
        /* One without a name or a uuid is shown, and not stored. */
        demand(!vm->spec.name[0] || !vm->spec.uuid[0], error_message(err));
        return;
    }
    demand(again.disk_count == vm->spec.disk_count, "no disk is lost on the way");
}

static void read_value(const char *name, const xmlNode *val)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_ERROR struct error *err_roles = NULL;
    CLEANUP_SNAPSHOTS struct snapshots snapshots = { 0 };
    CLEANUP_ROLES struct roles roles = { 0 };
    struct task_info info;

    if (strcmp(name, "snapshot") == 0)
        snapshots_parse(val, &snapshots, &err);
    else if (strcmp(name, "roleList") == 0)
        roles_parse(val, &roles, &err_roles);
    else
        task_info_read(val, &info);
}

static int take_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                         struct error **err)
{
    struct vsphere_vm *vm = opaque;

    if (strcmp(vm->ref.id, object->id) != 0) {
        check_vm(vm);
        vm_free(vm);
        vm->ref = *object;
        snprintf(vm->spec.path, sizeof vm->spec.path, "/DC0/vm/x");
    }
    read_value(name, val);
    return vm_take(vm, name, val, err);
}

static void read_page(const xmlNode *returnval)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SEEN struct seen seen = { 0 };
    CLEANUP_VM struct vsphere_vm vm = { 0 };

    page_is_lost(returnval);
    if (page_hand_out(returnval, &seen, take_property, &vm, &err) == 0 && vm.ref.id[0])
        check_vm(&vm);
}

static void read_update(const xmlNode *returnval)
{
    static const struct moref task = { "Task", "task-1" };
    struct task_info info = { 0 };

    if (task_update_read(returnval, &task, &info))
        demand(info.percent <= 100, "a percentage is one");
}

/* The areas as they were written: ascending, apart, inside the disk. */
static void check_areas(const char *map, const struct changes_cursor *cursor)
{
    uint64_t end = 0, bytes = 0, areas = 0;
    unsigned long long start, length;
    int used;

    for (; sscanf(map, "%llu %llu\n%n", &start, &length, &used) == 2; map += used) {
        demand(start >= end && length > 0 && length <= CAPACITY - start, "areas are in order");
        end = start + length;
        bytes += length;
        areas++;
    }
    demand(*map == '\0', "a map is numbers");
    demand(areas == cursor->result.areas && bytes == cursor->result.bytes, "the sums are right");
}

static void read_areas(const xmlNode *returnval)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *map = NULL;
    size_t length = 0;
    struct changes_cursor cursor = { .capacity = CAPACITY };
    bool whole;

    cursor.out = open_memstream(&map, &length);
    demand(cursor.out != NULL, "there is memory");
    whole = changes_page(returnval, &cursor, &err) == 0;
    demand(whole == (err == NULL), "an error is said");
    demand(!whole || (cursor.offset > 0 && cursor.offset <= CAPACITY), "a page goes on");
    fclose(cursor.out);
    check_areas(map, &cursor);
}

static void read_message(const char *text, size_t size)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    CLEANUP_ERROR struct error *err = NULL;
    const xmlNode *returnval;
    struct moref moref;

    if (envelope_read(text, size, 200, guess_op(text, size), true, &answer, &err) < 0) {
        demand(err != NULL && !answer.doc, "nonsense is an error");
        return;
    }
    demand((answer.body != NULL) != (answer.fault[0] != '\0'), "it is an answer or a fault");
    returnval = xml_child(answer.body, "returnval");
    moref_read(returnval, &moref);
    read_page(returnval);
    read_update(returnval);
    read_areas(returnval);
}

/* What is read without being XML. */
static void read_text_parts(const char *text, size_t size)
{
    CLEANUP_FREE char *redacted = capture_redact(text, size, "password");
    CLEANUP_ERROR struct error *err = NULL;
    char cookie[HTTP_COOKIE] = "", fingerprint[FINGERPRINT_SIZE], words[80];
    CLEANUP_FREE char *string = strndup(text, size);

    demand(!redacted || strlen(redacted) <= 2 * size, "a copy stays small");
    first_words(text, size, words, sizeof words);
    if (http_cookie_read(text, size, "vmware_soap_session", cookie) == 0)
        demand(!strpbrk(cookie, " \t\r\n"), "a cookie is one word");
    if (fingerprint_read(string, fingerprint, &err) == 0)
        demand(strlen(fingerprint) == FINGERPRINT_SIZE - 1, "a fingerprint is whole");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_message((const char *)data, size);
    read_text_parts((const char *)data, size);
    return 0;
}
