"""Kernels of a GPU: those that a profiler heard, and those that a framework's libraries bring."""

import mmap
import os
import re
import struct

# What a GPU does beside kernels.
_NO_KERNEL = re.compile(r"^(Memcpy|Memset|\[|ProfilerStep)")


def options(profile, device):
    """What `torch.autograd.profiler.profile` is called with to hear the device, of any version."""
    if device != "cuda":
        return {}
    code = profile.__init__.__code__
    names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    found = {"use_cuda": True} if "use_cuda" in names else {"use_device": "cuda"}
    if "use_kineto" in names:
        # 1.8 to 1.10: without it the names of operators stand where kernels should.
        found["use_kineto"] = True
    return found


def dispatched(events):
    """The names of the kernels among a profiler's events.

    Newer profilers tell each kernel as an event on the device. Older ones hang to each
    operator's event how long it took on the device, under the operator's own name: these are no
    kernels, and such a profiler tells none.
    """
    found, on_host = set(), set()
    for event in events:
        kind = str(getattr(event, "device_type", "CPU")).rsplit(".", 1)[-1]
        if kind == "CPU":
            on_host.add(event.name)
            found.update(kernel.name for kernel in getattr(event, "kernels", None) or ())
        else:
            found.add(event.name)
    # A range that was marked on the host is told on the device under the same name.
    return {name for name in found - on_host if not _NO_KERNEL.match(name)}


_MANGLED = re.compile(rb"_Z[A-Za-z0-9_.$]{2,4000}(?=\0)")
_NUMBER = re.compile(rb"[0-9]+")


def own_name(mangled):
    """The last name of a mangled function, without its name spaces and arguments; or None."""
    at, found = 2, None
    if mangled[at:at + 1] == b"N":
        at += 1
    while at < len(mangled):
        number = _NUMBER.match(mangled, at)
        if number:
            start = number.end()
            at = start + int(number.group())
            found = mangled[start:at]
        elif mangled[at:at + 1] == b"L":  # linked in its file alone
            at += 1
        elif mangled[at:at + 2] == b"St":
            at += 2
        else:
            break
    return found.decode() if found and at <= len(mangled) else None


def _constants(data):
    """(start, end) of an ELF file's read-only data. Kernels are registered there by their mangled
    names; those of other functions stand in the tables of symbols."""
    if data[:5] != b"\x7fELF\x02" or data[5:6] != b"\x01":
        return
    table, = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)

    def section(number):
        return struct.unpack_from("<IIQQQQ", data, table + number * size)

    strings = section(names)[4]
    for number in range(count):
        name, _, _, _, offset, length = section(number)
        if data[strings + name:strings + name + 7] == b".rodata":
            yield offset, offset + length


def of_library(path):
    """The own names of the kernels that a shared library brings."""
    found = set()
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return found
        with data:
            try:
                parts = list(_constants(data))
            except struct.error:
                return found
            for start, end in parts:
                for match in _MANGLED.finditer(data, start, end):
                    name = own_name(match.group())
                    if name:
                        found.add(name)
    return found


# The framework's own libraries; the vendor's lie beside them.
_OWN = re.compile(r"^lib(torch|caffe2|c10|THC|ATen).*\.so")


def known(package):
    """The own names of the kernels that a package's libraries bring."""
    folder = os.path.join(os.path.dirname(os.path.abspath(package.__file__)), "lib")
    found = set()
    if os.path.isdir(folder):
        for name in sorted(os.listdir(folder)):
            if _OWN.match(name):
                found |= of_library(os.path.join(folder, name))
    return found
