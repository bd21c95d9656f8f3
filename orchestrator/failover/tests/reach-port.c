/* reach-port host|inside BRIDGE ADDRESS PREFIX PORT: what reach.h says, for test-reach.sh. */
#include <arpa/inet.h>
#include <string.h>

#include "failover/reach.h"

int main(int argc, char *argv[])
{
    static const char *const words[] = { "yes", "no", "no way" };
    CLEANUP_ERROR struct error *err = NULL;
    struct reach_target target = { 0 };
    enum reach reach;

    if (argc != 6)
        return 2;
    target.bridge = argv[2];
    target.prefix = (unsigned)atoi(argv[4]);
    target.port = (unsigned)atoi(argv[5]);
    if (inet_pton(AF_INET, argv[3], &target.address) != 1)
        return 2;
    reach = strcmp(argv[1], "host") == 0 ? reach_from_host(&target, &err)
                                         : reach_from_inside(&target, &err);
    printf("%s%s%s\n", words[reach], err ? ": " : "", err ? error_message(err) : "");
    return 0;
}
