/* Connecting to guests; see reach.h. */
#include "failover/reach.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "process.h"

#define IP_TIMEOUT_MS 10000
#define PROBE         "probe" /* our end of the cable, in the namespace */

static in_addr_t mask_of(unsigned prefix)
{
    return htonl(prefix ? ~UINT32_C(0) << (32 - prefix) : 0);
}

/* Returns 0, or an errno. Calls nothing but the kernel: it runs after a fork, too. */
static int connect_within(int fd, const struct sockaddr_in *to)
{
    struct pollfd wait = { .fd = fd, .events = POLLOUT };
    socklen_t size = sizeof(int);
    int code = 0;

    if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (poll(&wait, 1, REACH_TIMEOUT_MS) <= 0)
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0 ? errno : code;
}

static struct sockaddr_in socket_address(struct in_addr address, unsigned port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr = address };
}

static enum reach outcome(const struct reach_target *target, int code, struct error **err)
{
    char text[INET_ADDRSTRLEN];

    if (code == 0)
        return REACH_YES;
    inet_ntop(AF_INET, &target->address, text, sizeof text);
    if (code == ETIMEDOUT || code == EHOSTUNREACH)
        error_set(err, "%s port %u does not answer", text, target->port);
    else
        error_set_errno(err, code, "%s port %u", text, target->port);
    return REACH_NO;
}

/* On that bridge, and in the target's network. */
static bool is_in_network(const struct ifaddrs *entry, const struct reach_target *target)
{
    const struct sockaddr_in *own = (const struct sockaddr_in *)(const void *)entry->ifa_addr;
    const struct sockaddr_in *mask = (const struct sockaddr_in *)(const void *)entry->ifa_netmask;

    return own && mask && own->sin_family == AF_INET &&
           strcmp(entry->ifa_name, target->bridge) == 0 &&
           ((own->sin_addr.s_addr ^ target->address.s_addr) & mask->sin_addr.s_addr) == 0;
}

enum reach reach_from_host(const struct reach_target *target, struct error **err)
{
    struct sockaddr_in to = socket_address(target->address, target->port);
    CLEANUP_CLOSE int fd = -1;
    struct ifaddrs *all, *entry;
    bool found;

    if (getifaddrs(&all) < 0) {
        error_set_errno(err, errno, "listing this host's addresses");
        return REACH_NO_WAY;
    }
    for (entry = all; entry && !is_in_network(entry, target);)
        entry = entry->ifa_next;
    found = entry != NULL;
    freeifaddrs(all);
    if (!found) {
        error_set(err, "this host has no address on %s in the guest's network", target->bridge);
        return REACH_NO_WAY;
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, target->bridge,
                             (socklen_t)strlen(target->bridge) + 1) < 0) {
        error_set_errno(err, errno, "a socket on %s", target->bridge);
        return REACH_NO_WAY;
    }
    return outcome(target, connect_within(fd, &to), err);
}

static bool is_taken(const struct reach_target *target, in_addr_t address)
{
    for (size_t i = 0; i < target->taken_count; i++) {
        if (target->taken[i].s_addr == address)
            return true;
    }
    return address == target->address.s_addr;
}

struct in_addr reach_free_address(const struct reach_target *target)
{
    uint32_t mask = ntohl(mask_of(target->prefix));
    uint32_t first = ntohl(target->address.s_addr) & mask;

    for (uint32_t i = ~mask; i > 1; i--) {
        in_addr_t address = htonl(first + i - 1);

        if (!is_taken(target, address))
            return (struct in_addr){ .s_addr = address };
    }
    return (struct in_addr){ 0 };
}

struct cable {
    char name[IFNAMSIZ]; /* the end at this host */
    pid_t pid;           /* that lives in the namespace; -1: nobody */
    int channel;
};

static void cable_free(struct cable *cable)
{
    int status;

    cleanup_close(&cable->channel);
    if (cable->pid <= 0)
        return;
    kill(cable->pid, SIGKILL);
    while (waitpid(cable->pid, &status, 0) < 0 && errno == EINTR)
        ;
}

/* Address, mask, up; by ioctl, which needs no memory. Returns 0 or an errno. */
static int set_up(int fd, struct in_addr address, unsigned prefix)
{
    const struct in_addr mask = { .s_addr = mask_of(prefix) };
    struct ifreq request = { .ifr_name = PROBE };
    struct sockaddr_in value = socket_address(address, 0);

    memcpy(&request.ifr_addr, &value, sizeof value);
    if (ioctl(fd, SIOCSIFADDR, &request) < 0)
        return errno;
    value = socket_address(mask, 0);
    memcpy(&request.ifr_netmask, &value, sizeof value);
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
        return errno;
    request.ifr_flags = IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? errno : 0;
}

/* What the child says: has it a namespace? And, after it was told to go on: did it connect? */
struct word {
    int setup; /* an errno: it can't be tried */
    int code;  /* an errno, of connecting */
};

static void __attribute__((noreturn))
live_inside(int channel, const struct reach_target *target, struct in_addr own)
{
    struct sockaddr_in to = socket_address(target->address, target->port);
    struct word word = { 0 };
    char go;
    int fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET) < 0)
        word.setup = errno;
    if (write(channel, &word, sizeof word) != sizeof word || word.setup ||
        read(channel, &go, 1) != 1)
        _exit(0);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    word.setup = fd < 0 ? errno : set_up(fd, own, target->prefix);
    if (!word.setup)
        word.code = connect_within(fd, &to);
    if (write(channel, &word, sizeof word) != sizeof word)
        _exit(1);
    _exit(0);
}

static int hear(struct cable *cable, struct word *word, struct error **err)
{
    ssize_t got;

    do
        got = read(cable->channel, word, sizeof *word);
    while (got < 0 && errno == EINTR);
    if (got != sizeof *word)
        return error_set(err, "the process in the network namespace died");
    return word->setup ? error_set_errno(err, word->setup, "a network namespace") : 0;
}

static int enter(struct cable *cable, const struct reach_target *target, struct in_addr own,
                 struct error **err)
{
    struct word word;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, errno, "a socket");
    cable->pid = fork();
    if (cable->pid == 0)
        live_inside(ends[1], target, own);
    close(ends[1]);
    cable->channel = ends[0];
    if (cable->pid < 0)
        return error_set_errno(err, errno, "starting a process");
    return hear(cable, &word, err);
}

static int plug(const struct cable *cable, const char *bridge, struct error **err)
{
    char pid[16];
    const char *const make[] = { "ip",   "link", "add", cable->name, "type", "veth",
                                 "peer", "name", PROBE, "netns",     pid,    NULL };
    const char *const join[] = { "ip", "link", "set", cable->name, "master", bridge, "up", NULL };

    snprintf(pid, sizeof pid, "%d", (int)cable->pid);
    return process_run(make, IP_TIMEOUT_MS, NULL, err) < 0 ||
                   process_run(join, IP_TIMEOUT_MS, NULL, err) < 0
               ? -1
               : 0;
}

/* Its end would go with the namespace, which the kernel removes when it has time to. */
static void unplug(const struct cable *cable)
{
    CLEANUP_ERROR struct error *gone = NULL;
    const char *const argv[] = { "ip", "link", "delete", cable->name, NULL };

    process_run(argv, IP_TIMEOUT_MS, NULL, &gone);
}

enum reach reach_from_inside(const struct reach_target *target, struct error **err)
{
    CLEANUP(cable_free) struct cable cable = { .pid = -1, .channel = -1 };
    struct in_addr own = reach_free_address(target);
    struct word word = { 0 };
    unsigned number;
    int r;

    if (!own.s_addr) {
        error_set(err, "a network of /%u has no free address to connect from", target->prefix);
        return REACH_NO_WAY;
    }
    while (getrandom(&number, sizeof number, 0) != sizeof number)
        ;
    snprintf(cable.name, sizeof cable.name, "vfc-%08x", number);
    if (enter(&cable, target, own, err) < 0)
        return REACH_NO_WAY;
    r = plug(&cable, target->bridge, err);
    if (r == 0) {
        send(cable.channel, "", 1, MSG_NOSIGNAL); /* one that died is heard of */
        r = hear(&cable, &word, err);
    }
    unplug(&cable);
    return r < 0 ? REACH_NO_WAY : outcome(target, word.code, err);
}
