/* Run a command and say what it took, on one line of RESULT:
 *
 *     measure RESULT COMMAND…     → "STATUS SECONDS USER_SECONDS SYSTEM_SECONDS PEAK_KIB"
 *
 * A program of its own because a child's peak memory starts at its parent's size:
 * this parent is small. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
    return t.tv_sec + t.tv_usec / 1e6;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char *argv[])
{
    struct rusage used;
    double start = now();
    int status;
    pid_t pid;
    FILE *out;

    if (argc < 3) {
        fprintf(stderr, "usage: measure RESULT COMMAND...\n");
        return 2;
    }
    pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) < 0) {
        perror("measure");
        return 1;
    }
    start = now() - start;
    out = fopen(argv[1], "w");
    if (!out ||
        fprintf(out, "%d %.6f %.6f %.6f %ld\n",
                WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), start,
                seconds(used.ru_utime), seconds(used.ru_stime), used.ru_maxrss) < 0 ||
        fclose(out) != 0) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
