/* The probe for KVM, tried under emulation, which works everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failover/virt.h"

static void boots_under_emulation(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    bool works;

    (void)state;
    if (virt_probe("tcg", &works, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_true(works);
}

static void an_accelerator_that_is_not_there_does_not_work(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    bool works;

    (void)state;
    assert_int_equal(virt_probe("hax", &works, &err), 0);
    assert_false(works);
}

static void words_are_taken_or_refused(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *type;

    (void)state;
    assert_int_equal(virt_choose("kvm", &type, &err), 0);
    assert_string_equal(type, "kvm");
    assert_int_equal(virt_choose("qemu", &type, &err), 0);
    assert_string_equal(type, "qemu");
    assert_int_equal(virt_choose("xen", &type, &err), -1);
    assert_int_equal(err->kind, ERROR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boots_under_emulation),
        cmocka_unit_test(an_accelerator_that_is_not_there_does_not_work),
        cmocka_unit_test(words_are_taken_or_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
