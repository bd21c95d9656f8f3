/* vmferry: the command table, nothing else. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "commands/command.h"
#include "commands/log-options.h"
#include "tls.h"
#include "version.h"

static const struct command commands[] = {
    { "copy", "copy a disk: in full, or what changed", command_copy, false, true },
    { "digest", "the digest of a disk, or where two disks differ", command_digest, false, false },
    { "source", "add, list or remove where VMs come from", command_source, false, false },
    { "vm", "list VMs, show one with its disk map", command_vm, false, false },
    { "preflight", "what stands in the way of replicating a VM", command_preflight, false, false },
    { "replicate", "bring the replica of a VM up to date", command_replicate, true, true },
    { "job", "jobs: list, show, watch, cancel, pause, resume, rate, log", command_job, true, true },
    { "verify", "compare restore points with their digests, and repair them", command_verify, true,
      true },
    { "point", "list, verify, pin and delete restore points, and which of them stay", command_point,
      false, true },
    { "pool", "add, list or remove where replicas lie", command_pool, false, false },
    { "recover", "go on with the jobs of dead workers, and sweep behind them", command_recover,
      true, false },
    { "network", "where the NICs of a source's VMs go, or of one VM", command_network, false,
      false },
    { "failover", "boot a restore point in a test, or take the test back", command_failover, false,
      true },
    { "virtio-inject", "make the guest on some disks boot from virtio", command_virtio_inject,
      false, false },
    { "report", "all that is known of a VM's migration", command_report, false, false },
    { "db", "the database: its state and schema, dump and restore", command_db, false, false },
    { "audit", "who did what to which VM", command_audit, false, false },
    { "export", "how disks are mapped to exports: list, check, repair; or map one by hand",
      command_export, false, false },
    { NULL, NULL, NULL, false, false },
};

static void usage(FILE *out)
{
    fprintf(out, "usage: vmferry COMMAND [OPTIONS] ...\n\n");
    for (const struct command *c = commands; c->name; c++)
        fprintf(out, "  %-14s %s\n", c->name, c->summary);
    fputs(log_options_help, out);
    fprintf(out, "\n`vmferry COMMAND --help` and vmferry-COMMAND(1) say more.\n");
}

static bool may_speak_tls(const struct command *command, char *argv[])
{
    if (command->finds_uris)
        return true;
    for (size_t i = 1; argv[i]; i++) {
        if (strncmp(argv[i], "nbds", 4) == 0)
            return true;
    }
    return false;
}

/* A table that a full disk cut off is no success. */
static int flush_output(struct error **err)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return error_set_errno(err, errno, "writing the result");
}

static int run(const struct command *command, int argc, char *argv[])
{
    CLEANUP_ERROR struct error *err = NULL;

    optind = 0;
    if (command->run(argc, argv, &err) == 0 && flush_output(&err) == 0)
        return 0;
    log_end(command->name, err);
    if (err && err->kind == ERROR_PAUSED && !command->pauses)
        return ERROR_FAILED;
    if (err && err->kind == ERROR_PAUSED && strcmp(command->name, "job") != 0)
        log_notice("cli", "vmferry %s: paused; run the same command again, and it goes on",
                   command->name);
    return err ? (int)err->kind : 1;
}

int main(int argc, char *argv[])
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char **words = NULL; /* argv, without the log's options */
    int count;

    signal(SIGXFSZ, SIG_IGN); /* a write beyond `ulimit -f` fails as any other */
    if (log_options_take(argc, argv, &count, &words, &err) < 0) {
        log_end("", err);
        return ERROR_USAGE;
    }
    if (count < 2) {
        usage(stderr);
        return ERROR_USAGE;
    }
    if (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0 ||
        strcmp(words[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(words[1], "--version") == 0) {
        printf("vmferry %s\n", VMFERRY_VERSION);
        return 0;
    }
    for (const struct command *c = commands; c->name; c++) {
        if (strcmp(words[1], c->name) != 0)
            continue;
        if (may_speak_tls(c, words))
            tls_use_fast_ciphers(argv); /* starts us anew, with all of it */
        return run(c, count - 1, words + 1);
    }
    error_set_kind(&err, ERROR_USAGE, "no command named '%s'; `vmferry --help` lists them",
                   words[1]);
    log_end("", err);
    return ERROR_USAGE;
}
