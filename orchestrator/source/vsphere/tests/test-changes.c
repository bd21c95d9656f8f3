/* What is believed of a server's answer about changed areas, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <string.h>

#include "source/vsphere/changes.h"

#define GRAIN 65536

struct page {
    char *map;
    size_t size;
    struct changes_cursor cursor;
};

static void page_open(struct page *page, uint64_t capacity)
{
    *page = (struct page){ .cursor = { .capacity = capacity } };
    page->cursor.out = open_memstream(&page->map, &page->size);
    assert_non_null(page->cursor.out);
}

static void page_close(struct page *page)
{
    fclose(page->cursor.out);
    free(page->map);
}
#define CLEANUP_PAGE CLEANUP(page_close)

static int take(struct page *page, const char *xml, struct error **err)
{
    CLEANUP_XML_DOC xmlDoc *doc = NULL;

    if (xml_parse(xml, strlen(xml), &doc, err) < 0)
        fail_msg("%s", error_message(*err));
    return changes_page(xmlDocGetRootElement(doc), &page->cursor, err);
}

static void take_good(struct page *page, const char *xml)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (take(page, xml, &err) < 0)
        fail_msg("%s", error_message(err));
}

static const char *map_of(struct page *page)
{
    fflush(page->cursor.out);
    return page->map;
}

#define AREA(start, length)                                                                        \
    "<changedArea><start>" #start "</start><length>" #length "</length></changedArea>"
#define PAGE(start, length, areas)                                                                 \
    "<returnval xmlns=\"urn:vim25\"><startOffset>" #start "</startOffset><length>" #length         \
    "</length>" areas "</returnval>"

static void test_pages(void **state)
{
    CLEANUP_PAGE struct page page;

    (void)state;
    page_open(&page, 1000000);
    take_good(&page, PAGE(0, 300000, AREA(0, 65536) AREA(131072, 65536)));
    take_good(&page, PAGE(300000, 300000, "")); /* nothing changed here: not the end */
    assert_int_equal(page.cursor.offset, 600000);
    /* areas that touch, one of no length, and the disk's unaligned end */
    take_good(&page,
              PAGE(600000, 400000,
                   AREA(655360, 65536) AREA(720896, 65536) AREA(800000, 0) AREA(983040, 16960)));
    assert_int_equal(page.cursor.offset, 1000000);
    assert_int_equal(page.cursor.result.areas, 5);
    assert_int_equal(page.cursor.result.bytes, 4 * 65536 + 16960);
    assert_int_equal(page.cursor.result.pages, 3);
    assert_string_equal(map_of(&page), "0 65536\n131072 65536\n655360 65536\n720896 65536\n"
                                       "983040 16960\n");
}

/* Other prefixes, white space, elements from a later version. */
static void test_style(void **state)
{
    CLEANUP_PAGE struct page page;

    (void)state;
    page_open(&page, 4096);
    take_good(&page, "<v:returnval xmlns:v='urn:vim25' xmlns:i='http://www.w3.org/2001/"
                     "XMLSchema-instance' i:type='v:DiskChangeInfo'><v:startOffset> 0 "
                     "</v:startOffset><v:length>4096</v:length><v:future><v:length>7</v:length>"
                     "</v:future><v:changedArea>\n<v:start>512</v:start>\n<v:length>512</v:length>"
                     "<v:more/></v:changedArea></v:returnval>");
    assert_string_equal(map_of(&page), "512 512\n");
}

static void test_lies(void **state)
{
    static const struct {
        const char *page, *message;
    } cases[] = {
        { PAGE(0, 0, ""), "do not go on" },
        { PAGE(0, -1, ""), "impossible range" },
        { PAGE(-5, 10, ""), "impossible range" },
        { PAGE(1, 9223372036854775807, ""), "impossible range" },
        { PAGE(65536, 65536, ""), "was asked from 0 on" },
        { PAGE(0, 1048577, ""), "the disk ends at 1048576" },
        { PAGE(0, 65536, AREA(65536, 1)), "outside of what its answer speaks of" },
        { PAGE(0, 65536, AREA(0, 65537)), "outside of what" },
        { PAGE(0, 65536, AREA(-1, 5)), "impossible range" },
        { PAGE(0, 65536, AREA(0, -5)), "impossible range" },
        { PAGE(0, 65536, AREA(1, 9223372036854775807)), "impossible range" },
        { PAGE(0, 65536, AREA(0, 1024) AREA(1023, 1)), "before the one before it ends" },
        { PAGE(0, 65536, AREA(1024, 1024) AREA(0, 512)), "before the one before it ends" },
        { PAGE(0, 65536, AREA(x, 512)), "lacks start or length" },
        { PAGE(0, 65536, AREA(99999999999999999999, 512)), "lacks start or length" },
        { PAGE(0, 65536, "<changedArea/>"), "lacks start or length" },
        { "<returnval/>", "lacks startOffset or length" },
        { "<returnval><startOffset>0</startOffset></returnval>", "lacks startOffset" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_PAGE struct page page;

        page_open(&page, 1048576);
        if (take(&page, cases[i].page, &err) == 0)
            fail_msg("taken: %s", cases[i].page);
        if (!strstr(error_message(err), cases[i].message))
            fail_msg("case %zu: '%s' is not in '%s'", i, cases[i].message, error_message(err));
        assert_int_equal(page.cursor.offset, 0);
    }
}

static void test_no_answer(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_PAGE struct page page;

    (void)state;
    page_open(&page, 1048576);
    assert_int_equal(changes_page(NULL, &page.cursor, &err), -1);
}

/* An area of one page may not reach back into the page before. */
static void test_overlap_across_pages(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_PAGE struct page page;

    (void)state;
    page_open(&page, 1048576);
    take_good(&page, PAGE(0, 65536, AREA(0, 65536)));
    assert_int_equal(take(&page, PAGE(65536, 65536, AREA(65535, 2)), &err), -1);
    error_clear(&err);
    assert_int_equal(take(&page, PAGE(0, 65536, ""), &err), -1); /* the same page again */
}

/* 4 TiB in tiny steps: each is progress, and yet no end. */
static void test_tiny_steps(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_PAGE struct page page;
    int r = 0;

    (void)state;
    page_open(&page, UINT64_C(4) << 40);
    for (int i = 0; r == 0 && i < 100000; i++) {
        char text[256];

        snprintf(text, sizeof text,
                 "<returnval><startOffset>%d</startOffset><length>1</length></returnval>", i);
        r = take(&page, text, &err);
    }
    assert_int_equal(r, -1);
    assert_non_null(strstr(error_message(err), "hardly go on"));
}

/* 4 TiB with changes in its last bytes, and amounts past 32 bits. */
static void test_large(void **state)
{
    CLEANUP_PAGE struct page page;

    (void)state;
    page_open(&page, UINT64_C(4) << 40);
    take_good(&page, PAGE(0, 4398046511103, AREA(4294967296, 8589934592)));
    take_good(&page, PAGE(4398046511103, 1, AREA(4398046511103, 1)));
    assert_int_equal(page.cursor.offset, UINT64_C(4) << 40);
    assert_int_equal(page.cursor.result.bytes, 8589934593);
}

static void test_many_areas(void **state)
{
    CLEANUP_FREE char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    CLEANUP_PAGE struct page page;

    (void)state;
    assert_non_null(out);
    fprintf(out, "<returnval><startOffset>0</startOffset><length>%d</length>", 20000 * GRAIN);
    for (int i = 0; i < 10000; i++)
        fprintf(out, "<changedArea><start>%d</start><length>65536</length></changedArea>",
                2 * i * GRAIN);
    fprintf(out, "</returnval>");
    fclose(out);
    page_open(&page, UINT64_C(1) << 40);
    take_good(&page, text);
    assert_int_equal(page.cursor.result.areas, 10000);
}

static void test_lives(void **state)
{
    static const struct {
        const char *since, *now;
        bool same;
        const char *why;
    } cases[] = {
        { "52 de-61/81", "52 de-61/82", true, "" },
        { "52 de-61/81", "52 de-61/81", true, "" },
        { "52 de-61/9", "52 de-61/10", true, "" },
        { "52 de-61/82", "52 de-61/81", false, "went back in time" },
        { "52 de-61/81", "52 de-62/82", false, "was reset" },
        { "52 de-61/81", "52 de-611/82", false, "was reset" },
        { "52 de-61/81", "", false, "is off" },
        { "52 de-61", "52 de-61/1", true, "" }, /* no sequence: nothing to compare */
        { "52 de-61/x", "52 de-61/1", true, "" },
        { "", "52 de-61/1", false, "was reset" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char why[CHANGES_WHY] = "";

        if (changes_same_life(cases[i].since, cases[i].now, why) != cases[i].same)
            fail_msg("case %zu", i);
        assert_non_null(strstr(why, cases[i].why));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_style),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_overlap_across_pages),
        cmocka_unit_test(test_tiny_steps),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_many_areas),
        cmocka_unit_test(test_lives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
