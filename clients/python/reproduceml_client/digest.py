"""The digest of a network's parameters, the same for every client.

SHA-256 over all parameters and buffers, sorted by the bytes of their UTF-8 names. Each
one contributes, with all integers little-endian:

    u32  length of the name, then the name
    u32  length of the dtype, then the dtype ("f4", "i8", ... as in the protocol)
    u32  number of dimensions, then each dimension as u64
    u64  number of bytes, then the elements in C order, little-endian

The digest is written in lower-case hexadecimal.
"""

import hashlib
import struct


def of_parameters(parameters):
    """The digest of (name, dtype, shape, bytes) tuples, in any order."""
    hasher = hashlib.sha256()
    for name, dtype, shape, data in sorted(parameters, key=lambda item: item[0].encode()):
        for text in (name.encode("utf-8"), dtype.encode("ascii")):
            hasher.update(struct.pack("<I", len(text)))
            hasher.update(text)
        hasher.update(struct.pack("<I%dQ" % len(shape), len(shape), *shape))
        data = memoryview(data)
        hasher.update(struct.pack("<Q", data.nbytes))
        hasher.update(data)
    return hasher.hexdigest()


def of_bytes(data):
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def of_file(path):
    """SHA-256 of a file, in hexadecimal."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            hasher.update(block)
    return hasher.hexdigest()
