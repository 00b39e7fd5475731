"""Makes frames.json from docs/protocol.md alone: struct and zlib, none of the project's code.

Run: python3 make.py > frames.json
"""

import json
import struct
import zlib


def frame(kind=1, number=0, payload=b"", magic=b"RML\x01", reserved=b"\0\0\0", length=None, crc=0):
    length = len(payload) if length is None else length
    front = magic + bytes([kind]) + reserved + struct.pack("<QI", number, length)
    return front + struct.pack("<I", zlib.crc32(front + payload) ^ crc) + payload


GOOD = [
    ("an empty control frame", 1, 0, b""),
    ("a ping", 1, 0, b'{"type":"ping"}'),
    ("text beyond ASCII", 1, 3, '{"type":"x","é":"∇"}'.encode("utf-8")),
    ("all bytes as data", 2, 7, bytes(range(256))),
    ("the number is 64 bits", 2, (1 << 40) + 5, b"\x00\xff"),
]

BAD = [
    ("another protocol", "magic", 0, frame(magic=b"GET ")),
    ("a later layout", "magic", 0, frame(magic=b"RML\x02")),
    ("kind 0", "kind", 0, frame(kind=0)),
    ("kind 3", "kind", 0, frame(kind=3)),
    ("a reserved byte is set", "reserved", 0, frame(reserved=b"\0\1\0")),
    ("one byte more than a frame may have", "too-long", 0, frame(length=(1 << 20) + 1)),
    ("the longest length there is", "too-long", 0, frame(length=0xFFFFFFFF)),
    ("repeated", "sequence", 5, frame(number=4)),
    ("one was lost", "sequence", 5, frame(number=6)),
    ("a wrong checksum", "checksum", 0, frame(payload=b"abc", crc=1)),
    ("a bit of the payload flipped", "checksum", 0, frame(payload=b"abc")[:-1] + b"b"),
    ("data said to be control", "checksum", 0, frame(2, payload=b"a")[:4] + b"\1" + frame(2, payload=b"a")[5:]),
    ("cut in the header", "truncated", 0, frame(payload=b"abc")[:23]),
    ("cut in the payload", "truncated", 0, frame(payload=b"abc")[:-1]),
    ("nothing", "truncated", 0, b""),
]


def main():
    vectors = []
    for name, kind, number, payload in GOOD:
        entry = {"name": name, "number": number, "bytes": frame(kind, number, payload).hex()}
        entry.update(kind=kind, payload=payload.hex())
        vectors.append(entry)
    for name, error, number, data in BAD:
        vectors.append({"name": name, "number": number, "bytes": data.hex(), "error": error})
    print(json.dumps(vectors, indent=1))


if __name__ == "__main__":
    main()
