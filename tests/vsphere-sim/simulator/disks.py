"""One virtual disk: its chain of files, its change tracking, its moments.

A snapshot of the VM freezes every disk of it: the disk's content becomes a moment
(kept as a file while the snapshot stands, as digests for ever), and with tracking on the
moment gets a change id, `<uuid>/<sequence>`. While snapshots stand, the frozen files are
what the datastore serves; the guest goes on writing to the image that vm.json names."""

import os
import threading
import uuid

from . import content
from .soap import Fault


class Moment:
    """A frozen disk. `layer`: which file of the chain it froze; `file`: its content."""

    def __init__(self, disk, layer, file, capacity, tracked):
        self.disk, self.layer, self.file, self.capacity = disk, layer, file, capacity
        self.change_id = disk.change_id() if tracked else None
        self.description = dict(disk.description)
        self.lock = threading.Lock()
        self.known = None
        self.answers = {}  # change id → areas, for the pages of one query

    def digests(self):
        with self.lock:
            if self.known is None:
                self.known = content.digests(self.file)
            return self.known

    def settle(self, keep):
        """The snapshot is gone: what is left is what change queries need."""
        self.answers = {}
        if self.change_id:
            self.digests()
        if not keep:
            os.unlink(self.file)


def tracking_uuid(rng, style):
    text = uuid.UUID(int=rng.getrandbits(128)).hex
    if style == "dashed":
        return str(uuid.UUID(hex=text))
    pairs = [text[i : i + 2] for i in range(0, 32, 2)]
    return " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])


def merged(ranges):
    result = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


class Disk:
    def __init__(self, vm, description, directory, settings):
        self.vm, self.settings = vm, settings
        self.description = description  # vm.json's, defaults filled in
        # A VM of a generated inventory has disks that are only looked at.
        file = description.get("file")
        self.path = os.path.join(directory, file) if file else None
        self.directory = directory
        self.rng = vm.world.rng
        self.layers = 1  # the base, and a delta for each snapshot standing
        self.moments = []  # with a change id, oldest first; for change queries
        self.tracking = False
        self.wrong = False  # tracking was turned on while snapshots stood
        self.uuid, self.sequence = None, 0
        self.forget_reads()

    # What the datastore gave of it

    def forget_reads(self):
        self.bytes_read = self.reads = self.largest_read = 0
        self.ranges = []

    def count_read(self, start, length):
        with self.vm.world.lock:
            self.bytes_read += length
            self.reads += 1
            self.largest_read = max(self.largest_read, length)
            self.ranges.append((start, start + length))
            if len(self.ranges) > 20000:
                self.ranges = merged(self.ranges)

    def distinct_read(self):
        """Without what was read more than once."""
        with self.vm.world.lock:
            self.ranges = merged(self.ranges)
            return sum(end - start for start, end in self.ranges)

    # What it is

    @property
    def key(self):
        return self.description["key"]

    @property
    def capacity(self):
        return os.stat(self.path).st_size if self.path else self.description["capacity"]

    def used(self):
        return min(os.stat(self.path).st_blocks * 512, self.capacity) if self.path else 0

    def in_snapshots(self):
        return (
            not self.description["mode"].startswith("independent")
            and self.description["rdm"] != "physicalMode"
        )

    def file_name(self, layer):
        """The datastore's name of one file of the chain."""
        name = self.description["vmdk"]
        if layer:
            name = "%s-%06d.vmdk" % (name[: -len(".vmdk")], layer)
        return "[%s] %s" % (self.description["datastore"], name)

    def chain(self, layer):
        return [self.file_name(n) for n in range(layer, -1, -1)]

    # Change tracking

    def reset_tracking(self):
        """The map of changes is lost, and starts afresh."""
        self.uuid = tracking_uuid(self.rng, self.settings["change_id_style"])
        self.sequence = self.rng.randint(1, 90)
        self.moments = []

    def start_tracking(self):
        if not self.tracking and self.in_snapshots():
            self.tracking = True
            self.reset_tracking()

    def stop_tracking(self):
        self.tracking = self.wrong = False
        self.uuid, self.moments = None, []

    def change_id(self):
        return "%s/%d" % (self.uuid, self.sequence) if self.tracking else None

    # Snapshots

    def freeze(self, directory, tracked):
        if not self.path:
            raise Fault("NotSupported", "This VM is generated: its disks have no content.")
        file = os.path.join(directory, "%d-%s" % (self.key, uuid.uuid4().hex[:8]))
        capacity = content.freeze(self.path, file)
        moment = Moment(self, self.layers - 1, file, capacity, tracked and self.tracking)
        self.layers += 1
        if moment.change_id:
            self.moments.append(moment)
            # The running VM shows the id of a moment that is yet to come: whoever takes
            # it for the snapshot's loses what is written until then.
            self.sequence += 1
        return moment

    # Change queries

    def frozen_base(self):
        """The moment whose content is the base file of the chain, while snapshots stand."""
        for snapshot in self.vm.snapshots:
            moment = snapshot.moments.get(self.key)
            if moment and moment.disk is self and moment.layer == 0:
                return moment
        return None

    def areas_since(self, change_id, moment):
        """Areas of `moment` (None: of the disk as it is now) that changed since."""
        if not self.tracking or (moment and not moment.change_id):
            raise self.file_fault()
        capacity = moment.capacity if moment else self.capacity
        file = moment.file if moment else self.path
        if change_id == "*":
            return self.areas_in_use(file, capacity), capacity
        if moment and (change_id, self.wrong) in moment.answers:
            return moment.answers[change_id, self.wrong], capacity
        old = self.moment_of(change_id)
        if moment and moment not in self.moments:  # tracking was reset since
            raise self.file_fault()
        new = moment.digests() if moment else content.digests(self.path)
        if moment and self.moments.index(old) > self.moments.index(moment):
            raise Fault("InvalidArgument", invalidProperty="changeId")
        grains = content.changed(old.digests(), new)
        if self.wrong:  # what such a server knows is not all
            grains = grains[::2]
        areas = content.areas(grains, capacity)
        if moment:
            moment.answers[change_id, self.wrong] = areas
        return areas, capacity

    def page(self, areas, start, capacity):
        return content.page(
            areas, start, capacity, self.settings["areas_per_answer"], self.settings["slice"]
        )

    def areas_in_use(self, file, capacity):
        answer = self.settings["star"]
        if answer == "fault" or self.wrong:
            raise self.file_fault()
        if answer == "whole":
            return [[0, capacity]]
        return content.areas(content.allocated(file), capacity)

    def moment_of(self, change_id):
        identity, slash, sequence = change_id.rpartition("/")
        if not slash or not sequence.isdigit():
            raise Fault("InvalidArgument", invalidProperty="changeId")
        if identity != self.uuid:
            raise self.file_fault()
        for moment in self.moments:
            if moment.change_id == change_id:
                return moment
        raise Fault("InvalidArgument", invalidProperty="changeId")

    def file_fault(self):
        path = "/vmfs/volumes/%s/%s" % (self.description["datastore"], self.description["vmdk"])
        return Fault("FileFault", "Error caused by file %s" % path, file=path)
