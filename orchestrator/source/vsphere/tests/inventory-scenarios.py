"""Lists, descriptions and names of VMs, preflight, snapshots and turning tracking on."""

import json

from scenarios import Failed, Frozen, fails, main, run, scenario
from simlib import MiB


def listed(sim, *arguments):
    return [json.loads(line) for line in run(sim, "list", *arguments).splitlines()]


def findings(sim, vm, reader="any"):
    result = {}
    for line in run(sim, "preflight", vm, reader).splitlines():
        level, check, text, remedy = line.split("|")
        assert bool(remedy) == (level != "ok"), line
        result.setdefault(check, []).append((level, text + " / " + remedy))
    return result


def worst(findings, check):
    levels = [level for level, _ in findings.get(check, [])]
    return max(levels, key=["ok", "warning", "blocker"].index) if levels else None


@scenario("a list has paths, disks and states, and filters")
def lists(sim):
    web = sim.add_vm("/DC0/vm/web/app01", [64 * MiB, 32 * MiB], cbt=True, firmware="efi")
    sim.add_vm("/DC0/vm/web2/app02", [MiB], power="poweredOff")
    sim.add_vm("/DC1/vm/deep/er/db%2f1", [MiB])
    sim.add_vm("/DC0/vm/old", [MiB], template=True)
    web.write(2000, 0, b"x" * 100000)
    vms = {vm["path"]: vm for vm in listed(sim)}
    assert list(vms) == ["/DC0/vm/web/app01", "/DC0/vm/web2/app02", "/DC1/vm/deep/er/db%2f1"]
    one = vms["/DC0/vm/web/app01"]
    assert one["uuid"] == web.instance_uuid and one["firmware"] == "uefi"
    assert one["inventory"]["tracking"] == "on" and one["inventory"]["power"] == "on"
    assert one["inventory"]["used"] >= 100000 and one["inventory"]["id"] == web.moref
    assert [d["capacity"] for d in one["disks"]] == [64 * MiB, 32 * MiB]
    assert not any("change_id" in d for d in one["disks"])
    assert vms["/DC0/vm/web2/app02"]["inventory"]["power"] == "off"
    assert [v["name"] for v in listed(sim, "app*")] == ["app01", "app02"]
    assert [v["name"] for v in listed(sim, "", "/DC0/vm/web")] == ["app01"]
    assert [v["name"] for v in listed(sim, "*1", "/DC1/")] == ["db%2f1"]
    assert listed(sim, "nothing") == []


@scenario("sockets, secure boot, TPM, guest system and boot order are known")
def machine_of_a_spec(sim):
    sim.add_vm("app01", [MiB, MiB, MiB], cpus=8, cores=4, firmware="efi", secure_boot=True,
               vtpm=True, guest_id="windows2019srvNext_64Guest", boot_order=[2002, 2000, 7])
    sim.add_vm("app02", [MiB], cpus=3, cores=2, secure_boot=True, guest_id="freebsd12_64Guest")
    sim.add_vm("app03", [MiB], guest_id="otherLinux64Guest")
    one, two, three = (vm for vm in listed(sim))
    assert (one["cpus"], one["cores"], one["os"]) == (8, 4, "windows"), one
    assert one["secure_boot"] is True and one["tpm"] is True
    boot = [(d["key"], d.get("boot")) for d in one["disks"]]
    assert boot == [(2000, 2), (2001, None), (2002, 1)], boot
    # Flags that go with other firmware, sockets of which there is not a whole number.
    assert "secure_boot" not in two and "tpm" not in two and "cores" not in two, two
    assert two["os"] == "other" and three["os"] == "linux"


@scenario("a VM whose hardware makes no sense is in the list, and is refused alone")
def senseless(sim):
    sim.add_vm("app01", [MiB])
    sim.add_vm("odd", [{"size": MiB, "unit": 3}, {"size": MiB, "key": 2009, "unit": 3}])
    vms = listed(sim)
    assert [(v["name"], len(v["disks"])) for v in vms] == [("app01", 1), ("odd", 0)], vms
    assert "unit" in fails(sim, "show", "odd")


@scenario("a VM whose host does not answer is in the list, and is refused alone")
def disconnected(sim):
    sim.add_vm("app01", [MiB])
    off = sim.add_vm("lost", [MiB], connected=False)
    vms = listed(sim)
    assert [v["name"] for v in vms] == ["app01", "lost"]
    assert "uuid" not in vms[1] and vms[1]["disks"] == []
    for name in ("lost", "/DC0/vm/lost", off.moref):
        assert "reconnect its host" in fails(sim, "show", name)
    # It is not gone: a snapshot of its would be forgotten.
    uuid = off.instance_uuid
    text = fails(sim, "resolve", uuid)
    assert "1 can't tell theirs now ('lost')" in text and "there is no VM" not in text, text
    sim.control("remove-vm", vm="lost")
    assert "there is no VM" in fails(sim, "resolve", uuid)


@scenario("every prefix style, plain cookies, small pages", page_size=2, cookie="plain",
          gzip=False)
def styles(sim):
    for n in range(7):
        sim.add_vm("/DC0/vm/f%d/vm%d" % (n % 3, n), [MiB])
    before = listed(sim)
    assert len(before) == 7
    for style in ("local", "prefixed"):
        sim.set(style=style)
        assert listed(sim) == before
    sim.set(session_calls=8)  # a session ends in the middle of everything
    assert len({vm["uuid"] for vm in listed(sim)}) == 7


@scenario("a host alone: its paths and its morefs", esxi=True)
def host(sim):
    vm = sim.add_vm("app01", [MiB])
    assert [v["path"] for v in listed(sim)] == ["/ha-datacenter/vm/app01"]
    assert vm.moref.isdigit()
    for name in ("app01", vm.moref, vm.instance_uuid, "/ha-datacenter/vm/app01"):
        assert run(sim, "resolve", name).split() == [vm.instance_uuid, vm.moref]


@scenario("ten thousand VMs; one of them with sixty disks", generate=10000, generated_disks=1)
def many(sim):
    sim.add_vm("/DC0/vm/big", [MiB] * 60)
    vms = listed(sim)
    assert len(vms) == 10001
    big = [vm for vm in vms if vm["name"] == "big"][0]
    assert len(big["disks"]) == 60 and len({d["unit"] for d in big["disks"]}) == 60
    assert [v["name"] for v in vms if v["path"].startswith("/DC0/vm/generated-49/")][0] == "load09800"
    assert run(sim, "resolve", "load09999").split()[0] == \
        [v["uuid"] for v in vms if v["name"] == "load09999"][0]


@scenario("a VM is meant by path, unique name, uuid or moref")
def names(sim):
    one = sim.add_vm("/DC0/vm/web/app01", [MiB], bios_uuid="11111111-2222-3333-4444-555555555555")
    two = sim.add_vm("/DC1/vm/app01", [MiB], bios_uuid="11111111-2222-3333-4444-555555555555")
    odd = sim.add_vm("/DC0/vm/a%2fb", [MiB])
    trap = sim.add_vm("/DC0/vm/" + one.moref, [MiB])  # a name that is another VM's moref
    sim.add_vm("/DC0/vm/mould", [MiB], template=True)

    def means(name):
        return run(sim, "resolve", name).split()[1]

    assert means("/DC0/vm/web/app01") == one.moref and means("/DC1/vm/app01") == two.moref
    assert means("//DC0/vm/web/app01") == one.moref
    assert means(two.moref) == two.moref and means(two.instance_uuid.upper()) == two.moref
    assert means("a/b") == odd.moref and means("a%2Fb") == odd.moref
    assert means("/DC0/vm/a%2fb") == odd.moref
    assert means("/DC0/vm/" + one.moref) == trap.moref
    for name, meant in (("app01", (one, two)), (one.moref, (one, trap))):
        text = fails(sim, "resolve", name)
        assert "2 VMs" in text
        for vm in meant:
            assert vm.path in text and vm.moref in text and vm.instance_uuid in text
    for name in ("nothing", "/DC0/vm/app01", "/DC0/vm/web", "/", "mould", "/DC0/vm/mould",
                 "11111111-2222-3333-4444-555555555555", "vm-999999"):
        assert "there is no VM" in fails(sim, "resolve", name), name


@scenario("disks: any order, equal unit numbers, any keys: the same description")
def disk_order(sim):
    vm = sim.add_vm("app01", [{"size": MiB, "key": 3107, "controller": 1001, "unit": 0},
                              {"size": 2 * MiB, "key": 2931, "controller": 1000, "unit": 0},
                              {"size": 3 * MiB, "key": 16000, "controller": 15000, "unit": 0,
                               "controller_type": "ahci"}])
    before = json.loads(run(sim, "show", "app01"))["disks"]
    assert [(d["key"], d["unit"], d["inventory"]["address"]) for d in before] == [
        (2931, 0, "scsi0:0"), (3107, 100, "scsi1:0"), (16000, 1000, "sata0:0")]
    vm.control("order", keys=[16000, 3107, 2931])
    assert json.loads(run(sim, "show", "app01"))["disks"] == before
    frozen = Frozen(sim, "app01", "s")
    vm.control("order", keys=[3107, 16000, 2931])
    assert [d["key"] for d in frozen.spec["disks"]] == [2931, 3107, 16000]


@scenario("a portgroup has its name where the server tells it, else its key")
def portgroup(sim):
    sim.add_vm("app01", [MiB], nics=[{}, {"type": "e1000e", "portgroup": "dvportgroup-3"}])
    nics = json.loads(run(sim, "show", "app01"))["nics"]
    assert nics[0]["network"] == "VM Network" and nics[0]["model"] == "vmxnet3"
    assert nics[1]["network"] == "dvportgroup-3" and nics[1]["model"] == "e1000e"
    told = ('<returnval><objects><obj type="DistributedVirtualPortgroup">dvportgroup-3</obj><propSet>'
            '<name>name</name><val>prod</val></propSet></objects></returnval>')

    def networks(skipped):  # answers that are none about portgroups
        sim.fault("RetrievePropertiesEx", "answer", xml=told, after=skipped)
        nics = listed(sim)[0]["nics"]
        sim.control("clear-faults")
        return [n["network"] for n in nics]

    assert networks(99) == ["VM Network", "dvportgroup-3"]
    assert networks(3) == ["VM Network", "prod"]  # folders, datacenters, VMs


# Snapshots


@scenario("a snapshot of all disks: found by name, removed by name, twice if need be")
def snapshots(sim):
    vm = sim.add_vm("app01", [MiB, MiB], cbt=True)
    vm.control("snapshot", name="somebody's")
    frozen = Frozen(sim, "app01", "vmferry-1 <&>", "yes")
    assert frozen.quiesced == "yes" and not frozen.said
    moment = vm.snapshot("vmferry-1 <&>")
    assert moment["moref"] == frozen.moref and moment["quiesced"]
    assert frozen.change_ids == {int(k): d["change_id"] for k, d in moment["disks"].items()}
    assert frozen.change_ids[2000] != vm.disk(2000)["change_id"]  # the live one is a later moment
    assert run(sim, "snapshots", "app01").split("\n")[1] == frozen.moref + " vmferry-1 <&>"
    run(sim, "thaw", "app01", "vmferry-1 <&>")
    run(sim, "thaw", "app01", "vmferry-1 <&>")
    assert [s["name"] for s in vm.snapshots()] == ["somebody's"]
    assert sim.state()["sessions"]["open"] == 0 and sim.state()["sessions"]["filters"] == 0


@scenario("quiescing: auto falls back and says so, yes does not, no asks for nothing")
def quiesce(sim):
    vm = sim.add_vm("app01", [MiB], quiesce="ApplicationQuiesceFault")
    frozen = Frozen(sim, "app01", "a", "auto")
    assert frozen.quiesced == "no" and "could not be quiesced" in frozen.said[0]
    assert "app01" in fails(sim, "freeze", "app01", "b", "yes")
    assert Frozen(sim, "app01", "c", "no").quiesced == "no"
    assert [s["name"] for s in vm.snapshots()] == ["a", "c"]
    vm.control("vm", quiesce="ok", tools="guestToolsNotRunning")
    assert Frozen(sim, "app01", "d", "auto").quiesced == "no"
    # Another reason to fail is no reason to fall back.
    sim.fault("CreateSnapshot_Task", "fault", fault="InsufficientResourcesFault", where="task")
    assert "InsufficientResourcesFault" in fails(sim, "freeze", "app01", "e", "auto")
    assert [s["name"] for s in vm.snapshots()] == ["a", "c", "d"]


@scenario("a snapshot whose answer gets lost does not stay")
def lost_answer(sim):
    vm = sim.add_vm("app01", [MiB])
    sim.fault("CreateSnapshot_Task", "drop-answer")
    text = fails(sim, "freeze", "app01", "lost", "no")
    assert "'lost'" in text and "app01" in text, text
    assert vm.snapshots() == [] or "may stand" in text


@scenario("another task on the VM is waited for, a bounded time")
def busy(sim):
    sim.add_vm("app01", [MiB])
    sim.fault("CreateSnapshot_Task", "fault", fault="TaskInProgress", times=2)
    Frozen(sim, "app01", "s")
    sim.fault("RemoveSnapshot_Task", "fault", fault="TaskInProgress", times=-1)
    text = fails(sim, "thaw", "app01", "s")
    assert "TaskInProgress" in text and "removing snapshot 's' of VM app01" in text


@scenario("a removal that fails names the snapshot; one that vanished is gone")
def removal(sim):
    vm = sim.add_vm("app01", [MiB])
    Frozen(sim, "app01", "s")
    sim.fault("RemoveSnapshot_Task", "fault", fault="FileFault", where="task")
    text = fails(sim, "thaw", "app01", "s")
    assert "removing snapshot 's' of VM app01" in text and "FileFault" in text, text
    assert len(vm.snapshots()) == 1
    sim.fault("RemoveSnapshot_Task", "fault", fault="ManagedObjectNotFound")
    assert "still lists it" in fails(sim, "thaw", "app01", "s")
    run(sim, "thaw", "app01", "s")
    assert vm.snapshots() == []


@scenario("disks that changed since they were looked at are refused")
def moved_disk(sim):
    vm = sim.add_vm("app01", [MiB, MiB])
    sim.fault("CreateSnapshot_Task", "slow", seconds=1.5)
    import threading

    changed = threading.Timer(0.7, lambda: vm.control("disk", key=2001, uuid="6000C299-other"))
    changed.start()
    try:
        text = fails(sim, "freeze", "app01", "s", "no")
    finally:
        changed.join()
    assert "disk-2001 of VM app01 is not the same in its snapshot" in text, text


# Change tracking


@scenario("tracking is turned on, to a change id on every disk that snapshots hold")
def track(sim):
    vm = sim.add_vm("app01", [MiB, {"size": MiB, "mode": "independent_persistent"}, MiB])
    run(sim, "track", "app01", "vmferry-cbt")
    assert vm.state()["cbt"] and vm.snapshots() == []
    assert Frozen(sim, "app01", "s").change_ids[2002]


@scenario("tracking that begins only when a snapshot is gone", cbt_effect="cycle")
def track_slowly(sim):
    vm = sim.add_vm("app01", [MiB, MiB])
    run(sim, "track", "app01", "vmferry-cbt")
    assert sim.requests("CreateSnapshot_Task") == 2 and vm.snapshots() == []
    assert all(Frozen(sim, "app01", "s").change_ids.values())


@scenario("tracking is refused with snapshots present, and names disks that get none")
def track_refused(sim):
    vm = sim.add_vm("app01", [MiB])
    vm.control("snapshot", name="old")
    assert "1 snapshot ('old')" in fails(sim, "track", "app01", "t")
    assert sim.requests("ReconfigVM_Task") == 0
    vm.control("remove-snapshot", name="old")
    sim.fault("ReconfigVM_Task", "fault", fault="InvalidState", where="task")
    assert "InvalidState" in fails(sim, "track", "app01", "t")
    deaf = sim.add_vm("app02", [MiB, MiB])
    sim.fault("*", "replace", times=-1, **{"find": "changeId>", "with": "changeIt>"})
    assert "no change id of disk-2000, disk-2001" in fails(sim, "track", "app02", "t")
    assert deaf.snapshots() == []
    sim.clear_faults()
    sim.fault("RemoveSnapshot_Task", "fault", fault="FileFault", where="task")
    other = sim.add_vm("app03", [MiB])
    text = fails(sim, "track", "app03", "vmferry-t")
    assert "'vmferry-t'" in text and len(other.snapshots()) == 1, text


# Preflight


@scenario("preflight of a VM with nothing to find")
def plain(sim):
    sim.add_vm("app01", [MiB, MiB], cbt=True)
    for reader in ("any", "files", "library"):
        found = findings(sim, "app01", reader)
        assert {level for all in found.values() for level, _ in all} == {"ok"}, found
        assert {"state", "change tracking", "snapshots", "disk-2000", "disk-2001", "host",
                "privileges", "tools", "guest", "firmware", "nic-4000",
                "datastore datastore1"} <= set(found)


@scenario("preflight disk by disk")
def disks(sim):
    sim.add_vm("app01", [
        MiB,
        {"size": MiB, "mode": "independent_persistent"},
        {"size": MiB, "rdm": "physicalMode"},
        {"size": MiB, "rdm": "virtualMode"},
        {"size": MiB, "sharing": "sharingMultiWriter"},
        {"size": MiB, "encrypted": True},
        {"size": MiB, "uuid": ""},
        {"size": MiB, "uuid": "6000C299-same"},
        {"size": MiB, "uuid": "6000C299-same"},
        {"size": MiB, "controller": 1001},
        {"size": MiB, "mode": "nonpersistent"},
    ], controllers=[{"key": 1001, "sharing": "physicalSharing"}])
    expected = {2000: "ok", 2001: "blocker", 2002: "blocker", 2003: "warning", 2004: "blocker",
                2005: "warning", 2006: "blocker", 2007: "ok", 2008: "blocker", 2009: "blocker",
                2010: "warning"}
    found = findings(sim, "app01")
    assert {k: worst(found, "disk-%d" % k) for k in expected} == expected, found
    assert all(len(found["disk-%d" % k]) == 1 for k in expected if expected[k] == "blocker")
    found = findings(sim, "app01", "files")
    assert worst(found, "disk-2003") == "blocker" and worst(found, "disk-2005") == "blocker"
    assert worst(findings(sim, "app01", "library"), "disk-2005") == "warning"


@scenario("preflight: snapshots of others and of ours")
def standing(sim):
    vm = sim.add_vm("app01", [MiB], cbt=True)
    vm.control("snapshot", name="vmferry-7-x")
    found = findings(sim, "app01", "files")
    assert worst(found, "snapshots") == "warning" and "recover" in found["snapshots"][0][1]
    assert worst(found, "disk-2000") == "ok"  # ours goes
    vm.control("snapshot", name="mine")
    found = findings(sim, "app01", "files")
    assert worst(found, "disk-2000") == "blocker"
    assert worst(findings(sim, "app01"), "disk-2000") == "warning"
    assert worst(findings(sim, "app01", "library"), "disk-2000") == "ok"


@scenario("preflight: builds whose change tracking has known faults")
def builds(sim):
    sim.add_vm("app01", [MiB], cbt=True)
    for version, build, level in (("4.1.0", "260247", "warning"), ("5.5.0", "1331820", "warning"),
                                  ("6.0.0", "3247719", "blocker"), ("6.0.0", "3247720", "ok"),
                                  ("6.5.0", "4564106", "ok"), ("8.0.2", "22380479", "ok")):
        sim.set(host_version=version, host_build=build)
        found = findings(sim, "app01")
        assert worst(found, "host") == level, (version, found["host"])


@scenario("preflight: each missing privilege by name")
def privileges(sim):
    vm = sim.add_vm("app01", [MiB], cbt=False)
    for name, level in (("VirtualMachine.State.CreateSnapshot", "blocker"),
                        ("VirtualMachine.State.RemoveSnapshot", "blocker"),
                        ("VirtualMachine.Provisioning.DiskRandomRead", "blocker"),
                        ("VirtualMachine.Config.ChangeTracking", "warning"),
                        ("VirtualMachine.Provisioning.GetVmFiles", "warning"),
                        ("VirtualMachine.Config.DiskLease", "warning"),
                        ("VirtualMachine.Interact.PowerOff", "warning"),
                        ("VirtualMachine.Interact.PowerOn", "warning"),
                        ("VirtualMachine.Config.Rename", "warning"),
                        ("VirtualMachine.Config.Annotation", "warning")):
        vm.control("vm", missing_privileges=[name])
        found = findings(sim, "app01")["privileges"]
        assert len(found) == 1 and found[0][0] == level and name in found[0][1], found
    vm.control("vm", missing_privileges=["VirtualMachine.State.CreateSnapshot",
                                         "VirtualMachine.State.RemoveSnapshot"])
    assert "CreateSnapshot, VirtualMachine.State.RemoveSnapshot" in \
        findings(sim, "app01")["privileges"][0][1]


@scenario("preflight: tracking, hardware, tools, guest, firmware, cards")
def machine(sim):
    sim.add_vm("app01", [MiB], hardware="vmx-04", firmware="efi", secure_boot=True, vtpm=True,
               tools="guestToolsNotRunning", guest_id="windows9_64Guest", guest_name="Windows 10",
               nics=[{"type": "pcnet"}, {"type": "e1000"}])
    found = findings(sim, "app01")
    assert {k: worst(found, k) for k in found} == {
        "state": "ok", "change tracking": "warning", "snapshots": "ok", "disk-2000": "ok",
        "host": "ok", "privileges": "ok", "tools": "warning", "guest": "warning",
        "firmware": "ok", "secure boot": "warning", "vtpm": "warning", "nic-4000": "warning",
        "nic-4001": "ok", "datastore datastore1": "ok"}, found
    vm = sim.add_vm("app02", [MiB], power="suspended", tools="guestToolsNotInstalled",
                    guest_id="darwin19_64Guest", consolidation_needed=True)
    found = findings(sim, "app02")
    assert worst(found, "state") == "warning" and worst(found, "guest") == "warning"
    assert worst(found, "consolidation") == "warning"
    assert "--enable-cbt" in found["change tracking"][0][1]
    vm.control("snapshot", name="old")
    assert "remove the VM's snapshots" in findings(sim, "app02")["change tracking"][0][1]


@scenario("nothing is left open, and wrong logins end at once")
def tidy(sim):
    sim.add_vm("app01", [MiB])
    run(sim, "show", "app01")
    sim.fault("Login", "fault", fault="InvalidLogin")
    try:
        run(sim, "list")
    except Failed as e:
        assert "InvalidLogin" in e.text or "password" in e.text
    sessions = sim.state()["sessions"]
    assert sessions["open"] == 0 and sessions["views"] == 0 and sessions["failed"] <= 1


main()
