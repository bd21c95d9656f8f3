/* Raw views of images by qemu-storage-daemon; see view.h. */
#include "convert/view.h"

#include <fcntl.h>
#include <json.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "process.h"

#define READY_MS 30000 /* a chain of many images, on a busy machine */
#define LOOK_NS  2000000L
#define AGAIN_MS 500
#define END_MS   600000 /* the caches go to the image, on a disk that may be busy */

/* argv of a program, as it grows; all strings are its own. */
struct words {
    char **list;
    size_t count;
};

static void free_words(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->list[i]);
    free(words->list);
}

/* Takes `word`. */
static int add_word(struct words *words, char *word)
{
    char **grown = word ? realloc(words->list, (words->count + 2) * sizeof *grown) : NULL;

    if (!grown) {
        free(word);
        return -1;
    }
    words->list = grown;
    words->list[words->count++] = word;
    words->list[words->count] = NULL;
    return 0;
}

static int add_option(struct words *words, const char *option, json_object *json)
{
    int r =
        add_word(words, strdup(option)) < 0 ||
        add_word(words, strdup(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN))) < 0;

    json_object_put(json);
    return r ? -1 : 0;
}

static json_object *text(const char *format, size_t number)
{
    char name[64];

    snprintf(name, sizeof name, format, number);
    return json_object_new_string(name);
}

static int add_disk(struct words *words, size_t i, const struct convert_disk *disk, bool writable)
{
    json_object *node = json_object_new_object();
    json_object *file = json_object_new_object();

    json_object_object_add(file, "driver", json_object_new_string("file"));
    json_object_object_add(file, "filename", json_object_new_string(disk->path));
    json_object_object_add(file, "read-only", json_object_new_boolean(!writable));
    json_object_object_add(node, "driver", json_object_new_string(disk->format));
    json_object_object_add(node, "node-name", text("disk%zu", i));
    json_object_object_add(node, "read-only", json_object_new_boolean(!writable));
    json_object_object_add(node, "file", file);
    return add_option(words, "--blockdev", node);
}

static int add_window(struct words *words, size_t i, const struct view_window *window,
                      bool writable, const char *path)
{
    json_object *export = json_object_new_object();
    json_object *part;

    if (window->size) {
        part = json_object_new_object();
        json_object_object_add(part, "driver", json_object_new_string("raw"));
        json_object_object_add(part, "node-name", text("part%zu", i));
        json_object_object_add(part, "read-only", json_object_new_boolean(!writable));
        json_object_object_add(part, "offset", json_object_new_int64((int64_t)window->start));
        json_object_object_add(part, "size", json_object_new_int64((int64_t)window->size));
        json_object_object_add(part, "file", text("disk%zu", window->disk));
        if (add_option(words, "--blockdev", part) < 0) {
            json_object_put(export);
            return -1;
        }
    }
    json_object_object_add(export, "type", json_object_new_string("fuse"));
    json_object_object_add(export, "id", text("view%zu", i));
    json_object_object_add(export, "node-name",
                           window->size ? text("part%zu", i) : text("disk%zu", window->disk));
    json_object_object_add(export, "mountpoint", json_object_new_string(path));
    json_object_object_add(export, "writable", json_object_new_boolean(writable));
    return add_option(words, "--export", export);
}

static bool is_used(const struct view_window *windows, size_t count, size_t disk)
{
    for (size_t i = 0; i < count; i++) {
        if (windows[i].disk == disk)
            return true;
    }
    return false;
}

/* The mount points, which must be files. */
static int make_files(struct view *view, const char *directory, const char *name,
                      struct error **err)
{
    for (size_t i = 0; i < view->count; i++) {
        CLEANUP_CLOSE int fd = -1;

        if (snprintf(view->paths[i], PATH_MAX, "%s/%s-%zu", directory, name, i) >= PATH_MAX)
            return error_set_errno(err, ENAMETOOLONG, "%s", directory);
        fd = open(view->paths[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return error_set_errno(err, errno, "%s", view->paths[i]);
    }
    if (snprintf(view->pidfile, PATH_MAX, "%s/%s.pid", directory, name) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", directory);
    return 0;
}

/* Its pid file appears when all exports are there. */
static int await_ready(struct view *view, const char *said, struct error **err)
{
    CLEANUP_ERROR struct error *running = NULL;
    char text_said[512] = "";
    int status;

    for (int64_t waited = 0; waited < (int64_t)READY_MS * 1000000; waited += LOOK_NS) {
        struct stat st;

        if (stat(view->pidfile, &st) == 0 && st.st_size > 0)
            return 0;
        error_clear(&running);
        if (process_wait(view->pid, 0, &status, &running) == 0) {
            CLEANUP_FCLOSE FILE *file = fopen(said, "re");

            view->pid = -1;
            if (file)
                text_said[fread(text_said, 1, sizeof text_said - 1, file)] = '\0';
            text_said[strcspn(text_said, "\n")] = '\0';
            return error_set(err, "looking into the disks: %s", text_said);
        }
        nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
    }
    return error_set(err, "looking into the disks: qemu-storage-daemon is not ready after %d s",
                     READY_MS / 1000);
}

static int start(struct view *view, const struct words *words, const char *directory,
                 struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    char said[PATH_MAX + 8];
    CLEANUP_CLOSE int fd = -1;

    snprintf(said, sizeof said, "%s.err", view->pidfile);
    fd = open(said, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", directory);
    options.stderr_fd = fd;
    options.die_with_parent = true;
    unlink(view->pidfile);
    view->pid = process_start((const char *const *)words->list, &options, err);
    return view->pid < 0 ? -1 : await_ready(view, said, err);
}

int view_open(const struct convert_disk *disks, size_t disk_count,
              const struct view_window *windows, size_t count, bool writable, const char *directory,
              const char *name, struct view *view, struct error **err)
{
    CLEANUP(free_words) struct words words = { 0 };
    bool failed;

    *view = (struct view){ .pid = -1, .count = count };
    view->paths = calloc(count + 1, sizeof *view->paths);
    if (!view->paths)
        return error_set_errno(err, ENOMEM, "looking into the disks");
    if (make_files(view, directory, name, err) < 0)
        return -1;
    failed = add_word(&words, strdup("qemu-storage-daemon")) < 0 ||
             add_word(&words, strdup("--pidfile")) < 0 ||
             add_word(&words, strdup(view->pidfile)) < 0;
    for (size_t i = 0; !failed && i < disk_count; i++)
        failed = is_used(windows, count, i) && add_disk(&words, i, &disks[i], writable) < 0;
    for (size_t i = 0; !failed && i < count; i++)
        failed = add_window(&words, i, &windows[i], writable, view->paths[i]) < 0;
    if (failed)
        return error_set_errno(err, ENOMEM, "looking into the disks");
    return start(view, &words, directory, err);
}

/* Where the mount namespace is the host's: QEMU leaves its mounts there when it is told to end. */
static void unmount(const char *path)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    const char *const argv[] = { "fusermount3", "-u", "-q", "-z", path, NULL };

    if (umount2(path, MNT_DETACH) < 0 && errno == EPERM)
        process_run(argv, END_MS, NULL, &ignored);
}

/* Told again and again: a SIGTERM that comes right before qemu-storage-daemon's main loop waits
 * (util/main-loop.c of QEMU 7.2) is seen at its next wakeup, of which there may be none. */
static int tell_to_end(pid_t pid, int *status, struct error **err)
{
    for (int waited = 0;; waited += AGAIN_MS) {
        CLEANUP_ERROR struct error *late = NULL;

        kill(pid, SIGTERM);
        if (process_wait(pid, AGAIN_MS, status, &late) == 0)
            return 0;
        if (waited >= END_MS || late->errnum != ETIMEDOUT) {
            process_stop(pid, 0);
            return error_prefix(&late, "writing to the disks: qemu-storage-daemon"),
                   error_move(err, &late);
        }
    }
}

static int end_process(struct view *view, struct error **err)
{
    pid_t pid = view->pid;
    int status = 0;

    if (pid <= 0)
        return 0;
    view->pid = -1;
    if (tell_to_end(pid, &status, err) < 0)
        return -1;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(err, "writing to the disks: qemu-storage-daemon ended with status %d",
                         status);
    return 0;
}

int view_finish(struct view *view, struct error **err)
{
    int r = end_process(view, err);

    for (size_t i = 0; view->paths && i < view->count; i++)
        unmount(view->paths[i]);
    free(steal_ptr(view->paths));
    return r;
}

void view_close(struct view *view)
{
    CLEANUP_ERROR struct error *ignored = NULL;

    view_finish(view, &ignored);
}
