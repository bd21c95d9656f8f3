"""Large inventories for load tests: VMs that can be looked at, with disks that have a size
and no content."""


def generate(world, count, disks):
    center = "ha-datacenter" if world.esxi else "DC0"
    for n in range(count):
        folder = "" if world.esxi else "generated-%02d/" % (n // 200)
        world.add_vm(
            description={
                "path": "/%s/vm/%sload%05d" % (center, folder, n),
                "power": "poweredOn" if n % 3 else "poweredOff",
                "cbt": n % 2 == 0,
                "disks": [one_disk(n, d) for d in range(disks)],
            }
        )


def one_disk(n, d):
    controller = d // 15
    unit = d % 15
    return {
        "key": 2000 + controller * 16 + unit,
        "controller": 1000 + controller,
        "unit": unit if unit < 7 else unit + 1,
        "capacity": (16 + (n + d) % 64) << 30,
    }
