"""Datastore files over HTTPS: /folder/PATH?dcPath=…&dsName=…

While a snapshot stands, the base of a disk's chain is frozen and can be read as
<vm>-flat.vmdk, whole or in ranges. What the guest is writing to is locked, and deltas are
no flat files. Descriptors (.vmdk) are text."""

import os
import re
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 1 << 20


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


def find(world, target):
    """The disk, layer and part of a URL: ("flat" | "delta" | "descriptor"); Refused."""
    url = urlsplit(target)
    path = unquote(url.path[len("/folder/") :])
    query = {k: v[-1] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
    datastore = query.get("dsName")
    center = query.get("dcPath")
    if not datastore:
        raise Refused(400, "dsName is missing")
    if center is None and not world.esxi:
        raise Refused(400, "dcPath is missing")
    for vm in list(world.vms.values()):
        if center is not None and vm.center != center.strip("/"):
            continue
        for disk in vm.disks:
            if disk.description["datastore"] != datastore:
                continue
            for layer in range(disk.layers):
                name = disk.file_name(layer).partition("] ")[2]
                stem = name[: -len(".vmdk")]
                if path == name:
                    return disk, layer, "descriptor"
                if path == stem + "-flat.vmdk" and layer == 0:
                    return disk, layer, "flat"
                if path in (stem + "-delta.vmdk", stem + "-sesparse.vmdk") and layer:
                    return disk, layer, "delta"
    raise Refused(404, "File not found")


def content_of(disk):
    """The path of the file that the base is now; Refused when the guest has it open."""
    with disk.vm.lock:
        moment = disk.frozen_base()
        if moment:
            return moment.file
        if disk.vm.power != "poweredOff" or disk.layers > 1:
            raise Refused(500, "The file is locked by the running virtual machine")
        return disk.path


def descriptor(disk, layer):
    sectors = disk.capacity // 512
    stem = os.path.basename(disk.file_name(layer).partition("] ")[2])[: -len(".vmdk")]
    parent = ""
    kind, extent = "vmfs", 'RW %d VMFS "%s-flat.vmdk"' % (sectors, stem)
    if layer:
        kind, extent = "vmfsSparse", 'RW %d VMFSSPARSE "%s-delta.vmdk"' % (sectors, stem)
        below = os.path.basename(disk.file_name(layer - 1).partition("] ")[2])
        parent = 'parentFileNameHint="%s"\n' % below
    return (
        '# Disk DescriptorFile\nversion=1\nencoding="UTF-8"\nCID=%08x\nparentCID=%s\n'
        'createType="%s"\n%s\n# Extent description\n%s\n\n# The Disk Data Base\n#DDB\n\n'
        'ddb.adapterType = "lsilogic"\nddb.geometry.cylinders = "%d"\nddb.geometry.heads = "255"\n'
        'ddb.geometry.sectors = "63"\nddb.uuid = "%s"\nddb.virtualHWVersion = "%s"\n'
        % (
            disk.key + layer,
            "%08x" % (disk.key + layer - 1) if layer else "ffffffff",
            kind,
            parent,
            extent,
            sectors // (255 * 63),
            disk.description["uuid"],
            disk.vm.d["hardware"].replace("vmx-", ""),
        )
    ).encode()


def ranges(header, size):
    """(start, length) of a Range header, None when there is none; Refused."""
    if not header:
        return None
    match = re.match(r"^bytes=(\d*)-(\d*)$", header.strip())
    if not match or not (match[1] or match[2]):
        return None  # what is not understood is passed over: the whole file
    if not match[1]:
        length = min(int(match[2]), size)
        return size - length, length
    start = int(match[1])
    end = min(int(match[2]) if match[2] else size - 1, size - 1)
    if start >= size or end < start:
        raise Refused(416, "The file has %d bytes" % size)
    return start, end - start + 1


def serve(handler, world, head, keep=None):
    """Answer a GET or HEAD that may be answered. `keep`: break off after so many bytes."""
    disk, layer, part = find(world, handler.path)
    if part == "delta":
        raise Refused(500, "The file is locked, or no flat file")
    if part == "descriptor":
        text = descriptor(disk, layer)
        handler.reply(200, b"" if head else text, "application/octet-stream", length=len(text))
        return
    with open(content_of(disk), "rb", buffering=0) as f:
        size = os.fstat(f.fileno()).st_size
        part = ranges(handler.headers.get("Range"), size)
        start, length = part or (0, size)
        headers = {"Accept-Ranges": "bytes"}
        if part:
            headers["Content-Range"] = "bytes %d-%d/%d" % (start, start + length - 1, size)
        handler.reply(206 if part else 200, b"", "application/octet-stream", headers, length=length)
        sent = 0
        try:
            while not head and sent < length:
                wanted = min(CHUNK, length - sent, (length if keep is None else keep) - sent)
                data = os.pread(f.fileno(), wanted, start + sent)
                if not data:
                    handler.close_connection = True
                    break
                handler.wfile.write(data)
                sent += len(data)
        finally:
            if sent:
                disk.count_read(start, sent)
