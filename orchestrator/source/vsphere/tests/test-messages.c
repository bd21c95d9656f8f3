/* What stands in messages: envelopes and faults, cookies, fingerprints, captures, pages of
 * properties, updates of tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "source/vsphere/capture.h"
#include "source/vsphere/certificate.h"
#include "source/vsphere/envelope.h"
#include "source/vsphere/http.h"
#include "source/vsphere/property.h"
#include "source/vsphere/task.h"

#define ENVELOPE(body)                                                                             \
    "<s:Envelope xmlns:s='" NS_SOAP "' xmlns:x='" NS_XSI "'><s:Header/><s:Body>" body              \
    "</s:Body></s:Envelope>"

static void read_ok(const char *text, long status, struct soap_answer *answer)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (envelope_read(text, strlen(text), status, "Op", true, answer, &err) < 0)
        fail_msg("%s", error_message(err));
}

static void test_answer(void **state)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer;

    (void)state;
    read_ok(ENVELOPE("<OpResponse xmlns='urn:vim25'><returnval>7</returnval></OpResponse>"), 200,
            &answer);
    assert_string_equal(answer.fault, "");
    assert_true(xml_text_is(answer.body, "returnval", "7"));
}

static void test_fault(void **state)
{
    static const char *const cases[][4] = {
        /* detail, faultstring, name, text */
        { "<InvalidLoginFault x:type='InvalidLogin'/>", "no", "InvalidLogin", "no" },
        { "<RuntimeFaultFault x:type='v:SystemError'/>", "no", "SystemError", "no" },
        { "<InvalidLoginFault/>", "no", "InvalidLogin", "no" },
        { "<FileFaultFault/>", "no", "FileFault", "no" },
        { "<FileFault/>", "no", "FileFault", "no" },
        { "<NotFound/>", "a \n b", "NotFound", "a b" },
        { "<NotFound><localizedMessage>l</localizedMessage></NotFound>", "", "NotFound", "l" },
        { "", "no", "SoapFault", "no" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
        char text[1024];

        snprintf(text, sizeof text,
                 ENVELOPE("<s:Fault><faultcode>x</faultcode><faultstring>%s</faultstring>"
                          "<detail>%s</detail></s:Fault>"),
                 cases[i][1], cases[i][0]);
        read_ok(text, i % 2 ? 500 : 200, &answer);
        assert_null(answer.body);
        assert_string_equal(answer.fault, cases[i][2]);
        assert_string_equal(answer.fault_text, cases[i][3]);
        assert_int_equal(answer.detail != NULL, cases[i][0][0] != '\0');
    }
}

static void test_nonsense(void **state)
{
    static const struct {
        const char *text;
        long status;
        const char *why;
        enum error_kind kind;
    } cases[] = {
        { "<html><title>Bad\n gateway</title><style>p{}</style></html>", 502,
          "HTTP status 502, and the answer makes no sense: it is no SOAP message but <html>; it "
          "begins: \"Bad gateway\"",
          ERROR_PAUSED },
        { "<html><script>if (a < b) alert('</p>')</script>Hello<br>you", 404, "\"Hello you\"",
          ERROR_FAILED },
        { "", 500, "it is empty", ERROR_FAILED },
        { ENVELOPE(""), 200, "Body is empty", ERROR_FAILED },
        { ENVELOPE("<OpResponse/>"), 500, "status of a failure", ERROR_FAILED },
        { ENVELOPE("<OpResponses/>"), 200, "something else: <OpResponses>", ERROR_FAILED },
        { ENVELOPE("<O/>"), 200, "something else: <O>", ERROR_FAILED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_ERROR struct error *unquoted = NULL;
        const char *text = cases[i].text;

        assert_int_equal(
            envelope_read(text, strlen(text), cases[i].status, "Op", true, &answer, &err), -1);
        if (!strstr(error_message(err), cases[i].why))
            fail_msg("%s: not %s", error_message(err), cases[i].why);
        assert_int_equal(err->kind, cases[i].kind);
        assert_null(answer.doc);
        envelope_read(text, strlen(text), cases[i].status, "Op", false, &answer, &unquoted);
        assert_null(strstr(error_message(unquoted), "it begins"));
    }
}

static void test_first_words(void **state)
{
    char buf[24];

    (void)state;
    first_words("<a>one<b/>two \t three four five six", 36, buf, sizeof buf);
    assert_string_equal(buf, "one two three four f...");
    first_words("a\x1b[31m\xff", 7, buf, sizeof buf);
    assert_string_equal(buf, "a?[31m?");
    first_words("<", 1, buf, sizeof buf);
    assert_string_equal(buf, "");
    first_words("x<style>", 8, buf, sizeof buf);
    assert_string_equal(buf, "x");
}

static void test_writing(void **state)
{
    static const struct moref self = { "VirtualMachine", "vm-<1>" };
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
    CLEANUP_ERROR struct error *err = NULL;

    (void)state;
    assert_int_equal(envelope_write(&writer, &self, "Op", "<name>x</name>", &err), 0);
    assert_non_null(strstr(writer.text, "<Op xmlns=\"urn:vim25\"><_this type=\"VirtualMachine\">"
                                        "vm-&lt;1&gt;</_this><name>x</name></Op>"));
}

static void test_morefs(void **state)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer;
    struct moref moref;
    char text[1024];

    (void)state;
    snprintf(text, sizeof text,
             ENVELOPE("<OpResponse><a type='VirtualMachine'>vm-1</a><b>vm-1</b><c type='x'/>"
                      "<d type='VirtualMachine'>%0*d</d><e type='VirtualMachine'>vm\n1</e>"
                      "</OpResponse>"),
             SOAP_MOREF, 1);
    read_ok(text, 200, &answer);
    assert_int_equal(moref_read(xml_child(answer.body, "a"), &moref), 0);
    assert_string_equal(moref.type, "VirtualMachine");
    assert_string_equal(moref.id, "vm-1");
    assert_int_equal(moref_read(xml_child(answer.body, "b"), &moref), -1);
    assert_int_equal(moref_read(xml_child(answer.body, "c"), &moref), -1);
    assert_int_equal(moref_read(xml_child(answer.body, "d"), &moref), -1); /* never cut */
    assert_int_equal(moref_read(xml_child(answer.body, "e"), &moref),
                     -1); /* a row could not hold it */
    assert_string_equal(moref.id, "");
    assert_int_equal(moref_read(NULL, &moref), -1);
}

static void test_cookie(void **state)
{
    static const char *const cases[][2] = {
        /* Set-Cookie, what is kept; NULL: not this one */
        { "c=\"5-6\"; Path=/; HttpOnly; Secure", "c=\"5-6\"" },
        { "c=5-6;Secure;Path=/", "c=5-6" },
        { "c=5-6", "c=5-6" },
        { "c=\"5;6\" ; Path=/", "c=\"5;6\"" },
        { "c=\"5-6; Path=/", "c=\"5-6" },
        { "c=a=b; Path=/", "c=a=b" },
        { "c=; Max-Age=0", "" },
        { "c=\"\"; Max-Age=0", "" },
        { "C=1", NULL },
        { "cc=1", NULL },
        { "c", NULL },
        { "", NULL },
        { "x=c=1", NULL },
        { "c=a b", NULL },
        { "c=a\x01", NULL },
        { "c=\xc3\xa4", NULL },
    };
    char cookie[HTTP_COOKIE], big[HTTP_COOKIE + 8];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* Not a string: an exact piece of memory, for the sanitizer to watch. */
        size_t length = strlen(cases[i][0]);
        CLEANUP_FREE char *text = malloc(length ? length : 1);

        memcpy(text, cases[i][0], length);
        strcpy(cookie, "before");
        assert_int_equal(http_cookie_read(text, length, "c", cookie), cases[i][1] ? 0 : -1);
        assert_string_equal(cookie, cases[i][1] ? cases[i][1] : "before");
    }
    memset(big, 'x', sizeof big);
    memcpy(big, "c=", 2);
    assert_int_equal(http_cookie_read(big, sizeof big, "c", cookie), -1);
    assert_int_equal(http_cookie_read(big, HTTP_COOKIE - 1, "c", cookie), 0);
}

static void test_fingerprint(void **state)
{
    static const char plain[] = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    static const char full[] = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:"
                               "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";
    static const char *const wrong[] = { "", "00:11", "SHA256:", "xx", "0g" };
    char got[FINGERPRINT_SIZE], text[128];

    (void)state;
    for (int i = 0; i < 3; i++) {
        CLEANUP_ERROR struct error *err = NULL;

        snprintf(text, sizeof text, "%s%s", i == 2 ? "sha256:" : "", i == 1 ? full : plain);
        assert_int_equal(fingerprint_read(text, got, &err), 0);
        assert_string_equal(got, full);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;

        assert_int_equal(fingerprint_read(wrong[i], got, &err), -1);
        assert_int_equal(err->kind, ERROR_USAGE);
    }
    for (int extra = -1; extra <= 1; extra += 2) { /* a digit too few, a digit too many */
        CLEANUP_ERROR struct error *err = NULL;

        snprintf(text, sizeof text, "%.*s%s", (int)strlen(plain) + (extra < 0 ? -1 : 0), plain,
                 extra > 0 ? "0" : "");
        assert_int_equal(fingerprint_read(text, got, &err), -1);
    }
}

static void test_redaction(void **state)
{
    static const char *const cases[][2] = {
        { "<password>x</password><passwords>y</passwords>",
          "<password>***</password><passwords>y</passwords>" },
        { "<v:password a='b'>x</v:password>", "<v:password a='b'>***</v:password>" },
        { "<password>x", "<password>***" },
        { "<password>", "<password>***" },
        { "<password/>x", "<password/>x" },
        { "<password><password><password>", "<password>***<password>***<password>***" },
        { "x < y", "x < y" },
        { "", "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_FREE char *got = capture_redact(cases[i][0], strlen(cases[i][0]), "password");

        assert_string_equal(got, cases[i][1]);
    }
}

static int count_properties(void *opaque, const struct moref *object, const char *name,
                            xmlNode *val, struct error **err)
{
    int *count = opaque;

    (void)err;
    assert_string_equal(object->type, "VirtualMachine");
    assert_string_equal(name, "name");
    assert_true(xml_is(val, "val"));
    return ++*count == 100 ? 7 : 0;
}

#define OBJECT(id, more)                                                                           \
    "<objects><obj type='VirtualMachine'>" id "</obj><propSet><name>name</name><val>n</val>"       \
    "</propSet><propSet><name>name</name></propSet>" more "</objects>"
#define MISSING(type)                                                                              \
    "<missingSet><path>config</path><fault><fault x:type='" type "'/></fault></missingSet>"

static void test_page(void **state)
{
    CLEANUP_SEEN struct seen seen = { 0 };
    CLEANUP_SOAP_ANSWER struct soap_answer answer;
    CLEANUP_SOAP_ANSWER struct soap_answer lost;
    CLEANUP_ERROR struct error *err = NULL;
    int count = 0;

    (void)state;
    read_ok(ENVELOPE("<OpResponse>" OBJECT("a", MISSING("NoPermission")) OBJECT("b", "")
                         OBJECT("a", "") "</OpResponse>"),
            200, &answer);
    assert_false(page_is_lost(answer.body));
    assert_int_equal(page_hand_out(answer.body, &seen, count_properties, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(page_hand_out(answer.body, &seen, count_properties, &count, &err), 0);
    assert_int_equal(count, 2);
    seen_free(&seen);
    count = 98;
    assert_int_equal(page_hand_out(answer.body, &seen, count_properties, &count, &err), 7);
    read_ok(ENVELOPE("<OpResponse>" OBJECT("a", "") OBJECT(
                "b", MISSING("NoPermission") MISSING("NotAuthenticated")) "</OpResponse>"),
            200, &lost);
    assert_true(page_is_lost(lost.body));
    assert_false(page_is_lost(NULL));
}

#define UPDATE(id, changes)                                                                        \
    ENVELOPE("<OpResponse><version>1</version><filterSet><objectSet><obj type='Task'>" id          \
             "</obj>" changes "</objectSet></filterSet></OpResponse>")
#define INFO                                                                                       \
    "<changeSet><name>info</name><val><state>error</state><progress>40</progress><error>"          \
    "<fault x:type='InvalidState'/><localizedMessage>why</localizedMessage></error>"               \
    "<result x:type='ManagedObjectReference' type='T'>t-1</result></val></changeSet>"
#define PART "<changeSet><name>info.progress</name><val>50</val></changeSet>"

static void test_update(void **state)
{
    static const struct moref task = { "Task", "task-1" };
    static const struct {
        const char *text;
        bool whole;
    } cases[] = {
        { UPDATE("task-1", INFO), true },       { UPDATE("task-1", PART INFO), true },
        { UPDATE("task-1", INFO PART), false }, { UPDATE("task-2", INFO), false },
        { UPDATE("task-1", ""), false },        { ENVELOPE("<OpResponse/>"), false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
        struct task_info info = { 0 };

        read_ok(cases[i].text, 200, &answer);
        assert_int_equal(task_update_read(answer.body, &task, &info), cases[i].whole);
        if (!cases[i].whole)
            continue;
        assert_int_equal(info.state, TASK_ERROR);
        assert_int_equal(info.percent, 40);
        assert_string_equal(info.fault, "InvalidState");
        assert_string_equal(info.text, "why");
        assert_string_equal(info.result.id, "t-1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),    cmocka_unit_test(test_fault),
        cmocka_unit_test(test_nonsense),  cmocka_unit_test(test_first_words),
        cmocka_unit_test(test_writing),   cmocka_unit_test(test_morefs),
        cmocka_unit_test(test_cookie),    cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_redaction), cmocka_unit_test(test_page),
        cmocka_unit_test(test_update),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
