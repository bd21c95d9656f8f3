/* XML in and out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "source/vsphere/xml.h"

static xmlDoc *parse(const char *text)
{
    CLEANUP_ERROR struct error *err = NULL;
    xmlDoc *doc = NULL;

    if (xml_parse(text, strlen(text), &doc, &err) < 0)
        fail_msg("%s: %s", text, error_message(err));
    return doc;
}

static void refuse(const char *text, size_t length, const char *why)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_XML_DOC xmlDoc *doc = NULL;

    if (xml_parse(text, length, &doc, &err) == 0)
        fail_msg("%s: not refused", text);
    assert_null(doc);
    if (!strstr(error_message(err), why))
        fail_msg("%s: not %s", error_message(err), why);
}

static void test_refused(void **state)
{
    static const char *const cases[][2] = {
        { "", "empty" },
        { "<a><b></a>", "line 1, column" },
        { "<a>&nbsp;</a>", "nbsp" },
        { "<a/><b/>", "line 1" },
        { "<!DOCTYPE a><a/>", "document type" },
        { "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "document type" },
        { "<!DOCTYPE a SYSTEM 'http://127.0.0.1:1/x'><a/>", "document type" },
        { "<!DOCTYPE a [<!ENTITY x 'y'>", "document type" },
        { "<a>\xff</a>", "line 1" },
        { "<a>\x01</a>", "line 1" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuse(cases[i][0], strlen(cases[i][0]), cases[i][1]);
    refuse("<a/>\0<b/>", 9, "NUL");
}

static void test_deep(void **state)
{
    static char text[3 * 300 + 4 * 300 + 1];
    char *to = text;

    (void)state;
    for (int i = 0; i < 300; i++)
        to = stpcpy(to, "<a>");
    for (int i = 0; i < 300; i++)
        to = stpcpy(to, "</a>");
    refuse(text, strlen(text), "depth");
}

/* A huge inventory: no limit of the parser's but that on one text. */
static void test_huge(void **state)
{
    enum { COUNT = 400000 }; /* the last one is a <n5> */
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_XML_DOC xmlDoc *doc = NULL;
    CLEANUP_FREE char *text = malloc(COUNT * 40 + 16);
    char *to = stpcpy(text, "<a>");
    int64_t last = -1, n = 0;

    (void)state;
    for (int i = 0; i < COUNT; i++)
        to += sprintf(to, "<object><n%d>%d</n%d></object>", i % 7, i, i % 7);
    to = stpcpy(to, "</a>");
    assert_true(to - text > 10 << 20);
    assert_int_equal(xml_parse(text, (size_t)(to - text), &doc, &err), 0);
    for (xmlNode *o = xml_child(xmlDocGetRootElement(doc), "object"); o; o = xml_next(o), n++) {
        last = -1;
        xml_int64(o, "n5", &last);
    }
    assert_int_equal(n, COUNT);
    assert_int_equal(last, COUNT - 1);
}

static void test_finding(void **state)
{
    CLEANUP_XML_DOC xmlDoc *doc =
        parse("<e:a xmlns:e='urn:x'> t1 <e:b><c>1</c></e:b><!-- no --><b><c>2</c><cc>3</cc></b>"
              "<d/>t2<![CDATA[<3>]]></e:a>");
    xmlNode *root = xmlDocGetRootElement(doc);
    xmlNode *b = xml_child(root, "b");
    char buf[32];

    (void)state;
    assert_true(xml_is(root, "a"));
    assert_false(xml_is(root, "e:a"));
    assert_true(xml_text_is(b, "c", "1"));
    assert_true(xml_text_is(xml_next(b), "c", "2"));
    assert_null(xml_next(xml_next(b)));
    assert_true(xml_text_is(root, "b/c", "1"));
    assert_null(xml_at(root, "b/x/c"));
    assert_null(xml_at(NULL, "b"));
    assert_null(xml_child(NULL, "b"));
    assert_null(xml_next(NULL));
    assert_string_equal(xml_text(root, "", buf, sizeof buf), " t1 t2<3>");
    assert_string_equal(xml_text(root, "d", buf, sizeof buf), "");
    assert_null(xml_text(root, "x", buf, sizeof buf));
    assert_string_equal(buf, "");
}

static void test_values(void **state)
{
    CLEANUP_XML_DOC xmlDoc *doc = parse(
        "<a><n> -42 </n><big>9223372036854775807</big><over>9223372036854775808</over><x>1x</x><e/>"
        "<t>true</t><o>1</o><f>false</f><s>TRUE</s></a>");
    xmlNode *root = xmlDocGetRootElement(doc);
    int64_t n = 0;

    (void)state;
    assert_int_equal(xml_int64(root, "n", &n), 0);
    assert_int_equal(n, -42);
    assert_int_equal(xml_int64(root, "big", &n), 0);
    assert_true(n == INT64_MAX);
    assert_int_equal(xml_int64(root, "over", &n), -1);
    assert_int_equal(xml_int64(root, "x", &n), -1);
    assert_int_equal(xml_int64(root, "e", &n), -1);
    assert_int_equal(xml_int64(root, "none", &n), -1);
    assert_true(xml_bool(root, "t"));
    assert_true(xml_bool(root, "o"));
    assert_false(xml_bool(root, "f"));
    assert_false(xml_bool(root, "s"));
    assert_false(xml_bool(root, "none"));
}

static void test_types(void **state)
{
    CLEANUP_XML_DOC xmlDoc *doc =
        parse("<a xmlns:q='http://www.w3.org/2001/XMLSchema-instance' xmlns:v='urn:vim25'"
              " xmlns:o='urn:other'><b q:type='VirtualDisk' type='x'/><c q:type='v:VirtualDisk'/>"
              "<d o:type='No' type='VirtualMachine'/><e/></a>");
    xmlNode *root = xmlDocGetRootElement(doc);
    char buf[64];

    (void)state;
    xml_type(xml_child(root, "b"), buf, sizeof buf);
    assert_string_equal(buf, "VirtualDisk");
    xml_type(xml_child(root, "c"), buf, sizeof buf);
    assert_string_equal(buf, "VirtualDisk");
    xml_type(xml_child(root, "d"), buf, sizeof buf);
    assert_string_equal(buf, "");
    xml_type(xml_child(root, "e"), buf, sizeof buf);
    assert_string_equal(buf, "");
    xml_type(NULL, buf, sizeof buf);
    assert_string_equal(buf, "");
    xml_type(xml_child(root, "b"), buf, 5); /* part of a type's name is another type */
    assert_string_equal(buf, "");
    assert_int_equal(xml_attribute(xml_child(root, "d"), "type", buf, sizeof buf), 0);
    assert_string_equal(buf, "VirtualMachine");
    assert_int_equal(xml_attribute(xml_child(root, "c"), "type", buf, sizeof buf), -1);
    assert_int_equal(xml_attribute(xml_child(root, "d"), "type", buf, 14), -1);
}

static void test_cut(void **state)
{
    CLEANUP_XML_DOC xmlDoc *doc = parse("<a>ab\xc3\xa4\xe2\x82\xac</a>");
    xmlNode *root = xmlDocGetRootElement(doc);
    static const char *const cut[] = {
        "", "a", "ab", "ab", "ab\xc3\xa4", "ab\xc3\xa4", "ab\xc3\xa4"
    };
    char buf[16];

    (void)state;
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        assert_string_equal(xml_text(root, "", buf, i + 1), cut[i]);
        assert_int_equal(xml_whole_text(root, "", buf, i + 1), -1);
        assert_string_equal(buf, "");
    }
    assert_int_equal(xml_whole_text(root, "", buf, 8), 0);
    assert_string_equal(buf, "ab\xc3\xa4\xe2\x82\xac");
}

static void test_writing(void **state)
{
    static const char text[] = "<a&b>\"c'\td\r\n\xc3\xa4]]>";
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_XML_DOC xmlDoc *doc = NULL;

    (void)state;
    xml_open(&writer, "r", "x=\"1\"");
    for (int i = 0; i < 200; i++)
        xml_element(&writer, "t", text);
    xml_close(&writer, "r");
    assert_int_equal(xml_writer_check(&writer, "it", &err), 0);
    assert_int_equal(strlen(writer.text), writer.length);
    assert_int_equal(xml_parse(writer.text, writer.length, &doc, &err), 0);
    assert_true(xml_text_is(xmlDocGetRootElement(doc), "t", text));
}

static void test_unfit(void **state)
{
    static const char *const unfit[] = { "a\x01", "\x7f\xff", "\xef\xbf\xbf", "\xc3" };

    (void)state;
    for (size_t i = 0; i < sizeof unfit / sizeof unfit[0]; i++) {
        CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
        CLEANUP_ERROR struct error *err = NULL;

        xml_element(&writer, "password", unfit[i]);
        assert_int_equal(xml_writer_check(&writer, "the password", &err), -1);
        assert_non_null(strstr(error_message(err), "the password holds a control character"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused), cmocka_unit_test(test_deep),
        cmocka_unit_test(test_huge),    cmocka_unit_test(test_finding),
        cmocka_unit_test(test_values),  cmocka_unit_test(test_types),
        cmocka_unit_test(test_cut),     cmocka_unit_test(test_writing),
        cmocka_unit_test(test_unfit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
