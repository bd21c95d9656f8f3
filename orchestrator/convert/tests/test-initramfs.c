/* An initramfs in all the ways that one is packed, and which files are one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "convert/initramfs.h"
#include "convert/look.h"
#include "process.h"

#define PCI "usr/lib/modules/6.1.0/kernel/drivers/virtio/virtio_pci.ko"
#define BLK "usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko.xz"

/* One file of an archive, by the format's own rules. */
static void put(FILE *out, const char *name, const char *content)
{
    static const char zeroes[4];
    size_t length = strlen(name) + 1, size = strlen(content);

    fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1, 0100644, 0, 0,
            1, 0, size, 0, 0, 0, 0, length, 0);
    fwrite(name, 1, length, out);
    fwrite(zeroes, 1, (4 - (110 + length) % 4) % 4, out);
    fwrite(content, 1, size, out);
    fwrite(zeroes, 1, (4 - size % 4) % 4, out);
}

static void end(FILE *out)
{
    put(out, "TRAILER!!!", "");
}

/* Append what `program` makes of the archive in `in`. */
static void pack(const char *const argv[], FILE *in, FILE *out)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct process_options options = PROCESS_OPTIONS_INIT;
    int status = 1;
    pid_t pid;

    fflush(in);
    fflush(out);
    lseek(fileno(in), 0, SEEK_SET);
    fseek(out, 0, SEEK_END);
    options.stdin_fd = fileno(in);
    options.stdout_fd = fileno(out);
    pid = process_start(argv, &options, &err);
    assert_true(pid > 0);
    assert_int_equal(process_wait(pid, 60000, &status, &err), 0);
    assert_int_equal(status, 0);
}

static int scan(FILE *file, struct initramfs_drivers *drivers)
{
    CLEANUP_ERROR struct error *err = NULL;

    fflush(file);
    rewind(file);
    *drivers = (struct initramfs_drivers){ 0 };
    return initramfs_scan(file, drivers, &err);
}

static void test_plain(void **state)
{
    CLEANUP_FCLOSE FILE *file = tmpfile();
    struct initramfs_drivers drivers;

    (void)state;
    put(file, "init", "#!/bin/sh");
    put(file, PCI, "pci!");
    assert_int_equal(scan(file, &drivers), -1); /* broken off before its end */
    put(file, BLK, "blk");
    end(file);
    assert_int_equal(scan(file, &drivers), 0);
    assert_true(drivers.pci && drivers.blk && !drivers.scsi);
    assert_true(initramfs_can(&drivers, "virtio"));
    assert_false(initramfs_can(&drivers, "scsi"));
}

/* Early microcode, then zeroes, then the packed rest: as distributions do it. */
static void test_packed(void **state)
{
    static const char *const packers[][4] = {
        { "gzip", "-c" },  { "zstd", "-qc" }, { "xz", "-c", "--check=crc32" },
        { "bzip2", "-c" }, { "lz4", "-lqc" }, { "xz", "--format=lzma", "-c" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++) {
        CLEANUP_FCLOSE FILE *file = tmpfile();
        CLEANUP_FCLOSE FILE *rest = tmpfile();
        struct initramfs_drivers drivers;

        put(file, "kernel/x86/microcode/GenuineIntel.bin", "0123456789");
        end(file);
        for (int zeroes = 0; zeroes < 300; zeroes++)
            fputc(0, file);
        put(rest, PCI, "pci");
        put(rest, BLK, "blk");
        end(rest);
        pack(packers[i], rest, file);
        assert_int_equal(scan(file, &drivers), 0);
        assert_true(drivers.pci && drivers.blk);
    }
}

static void test_builtin(void **state)
{
    CLEANUP_FCLOSE FILE *file = tmpfile();
    struct initramfs_drivers drivers;

    (void)state;
    put(file, "usr/lib/modules/6.5/modules.builtin",
        "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/scsi/virtio_scsi.ko\n");
    put(file, "usr/lib/modules/6.5/modules.order", "kernel/drivers/block/virtio_blk.ko\n");
    end(file);
    assert_int_equal(scan(file, &drivers), 0);
    assert_true(drivers.pci && drivers.scsi);
    assert_false(drivers.blk); /* what could be built is not what is there */
}

static void test_nonsense(void **state)
{
    CLEANUP_FCLOSE FILE *file = tmpfile();
    struct initramfs_drivers drivers;

    (void)state;
    fputs("this is no initramfs at all", file);
    assert_int_equal(scan(file, &drivers), -1);
    rewind(file);
    fputs("\x1f\x8b"
          "nor is this one packed, ",
          file);
    assert_int_equal(scan(file, &drivers), -1);
    rewind(file);
    fprintf(file, "070701%0104d", 0); /* a name of no length */
    assert_int_equal(scan(file, &drivers), -1);
}

static void test_names(void **state)
{
    static const char *const yes[] = { "initrd.img-6.1.0-18-amd64",
                                       "initramfs-5.14.0-362.el9.x86_64.img",
                                       "initrd-5.14.21-default", "initramfs-linux.img", "initrd" };
    static const char *const no[] = { "initramfs-0-rescue-0123.img",
                                      "initrd.img-6.1.0.old",
                                      "initramfs-5.14.0kdump.img",
                                      "initramfs-linux-fallback.img",
                                      "initrd.img-6.1.0.pre-v2v",
                                      "vmlinuz-6.1.0",
                                      "initrd/" };
    char version[LOOK_VERSION];

    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(look_is_initramfs(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(look_is_initramfs(no[i]));
    look_version(yes[0], version);
    assert_string_equal(version, "6.1.0-18-amd64");
    look_version(yes[1], version);
    assert_string_equal(version, "5.14.0-362.el9.x86_64");
    look_version(yes[4], version);
    assert_string_equal(version, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),   cmocka_unit_test(test_packed),
        cmocka_unit_test(test_builtin), cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
