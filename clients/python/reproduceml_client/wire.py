"""Frames and messages of the ReproduceML protocol, version 1 (docs/protocol.md).

Standard library only, Python 3.6 to 3.13. Nothing here retries: ``session`` does.
"""

import hashlib
import json
import math
import queue
import socket
import struct
import threading
import zlib

MAGIC = b"RML\x01"
VERSIONS = [1]
CONTROL, DATA = 1, 2
MAX_PAYLOAD = 1 << 20
FRONT = struct.Struct("<4sB3xQI")  # magic, kind, three zeros, number, length
CRC = struct.Struct("<I")
HEADER = FRONT.size + CRC.size
SIZES = {"f4": 4, "u1": 1, "u4": 4, "i8": 8}
MAX_DIMENSIONS = 8
LONG = 8 << 20  # shortest array whose digest is worth a thread, in bytes


class ProtocolError(Exception):
    """The other side sent something that is not this protocol, or it was damaged on the way."""


class Refused(Exception):
    """The server refused a request; ``retry_after`` is None when it always will."""

    def __init__(self, code, message, retry_after=None):
        super(Refused, self).__init__("%s: %s" % (code, message))
        self.code = code
        self.message = message
        self.retry_after = retry_after


def seal(kind, number, payload):
    """The 24 bytes that go before ``payload``."""
    if len(payload) > MAX_PAYLOAD:
        raise ProtocolError("a frame holds at most %d bytes, not %d" % (MAX_PAYLOAD, len(payload)))
    front = FRONT.pack(MAGIC, kind, number, len(payload))
    return front + CRC.pack(zlib.crc32(payload, zlib.crc32(front)) & 0xFFFFFFFF)


def unseal(header, expected):
    """Kind and payload length that a header announces; ``expected`` is the number it must have."""
    magic, kind, number, length = FRONT.unpack_from(header)
    if magic != MAGIC:
        raise ProtocolError("the frame starts with %r, expected %r" % (magic, MAGIC))
    if kind not in (CONTROL, DATA):
        raise ProtocolError("the frame's kind is %d, expected 1 or 2" % kind)
    if header[5:8] != b"\0\0\0":
        raise ProtocolError("bytes 5 to 7 of the frame are not zero")
    if length > MAX_PAYLOAD:
        raise ProtocolError("the frame announces %d bytes, at most %d may be" % (length, MAX_PAYLOAD))
    if number != expected:
        raise ProtocolError("the frame has number %d, expected %d" % (number, expected))
    return kind, length


def verify(header, payload):
    """Raises unless header and payload have the checksum that the header states."""
    stated = CRC.unpack_from(header, FRONT.size)[0]
    found = zlib.crc32(payload, zlib.crc32(header[: FRONT.size])) & 0xFFFFFFFF
    if found != stated:
        raise ProtocolError("the frame's checksum is %08x, expected %08x" % (found, stated))


def bits(number):
    """The exact bits of a float as 16 hexadecimal digits."""
    return struct.pack(">d", number).hex()


def from_bits(text):
    """The float with these bits."""
    return struct.unpack(">d", bytes.fromhex(text))[0]


def plain(value):
    """``value`` with what JSON cannot say turned into text: NaN and infinities, keys, objects."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def describe(dtype, shape, data):
    """What is said about an array before its bytes."""
    header = {"dtype": dtype, "shape": [int(n) for n in shape], "bytes": len(data)}
    header["sha256"] = hashlib.sha256(data).hexdigest()
    return check(header)


def check(header):
    """Raises unless dtype, shape and length of an array agree."""
    length = SIZES.get(header["dtype"], 0)
    for dimension in header["shape"]:
        length *= dimension
    odd = len(header["shape"]) > MAX_DIMENSIONS or min(header["shape"] or [0]) < 0
    if odd or length != header["bytes"]:
        raise ProtocolError("an array of %(bytes)r bytes is said to be %(dtype)r %(shape)r" % header)
    return header


def dial(address, timeout):
    """A connected socket for ``unix:/path``, ``tcp:host:port`` or ``tls:host:port``."""
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(rest)
        except Exception:
            connection.close()
            raise
        return connection
    if scheme in ("tcp", "tls"):
        host, _, port = rest.rpartition(":")
        host = host.strip("[]")
        connection = socket.create_connection((host, int(port)), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "tcp":
            return connection
        from . import tls  # not every Python has what it needs
        try:
            return tls.wrap(connection, host)
        except BaseException:
            connection.close()
            raise
    raise ValueError("%r is none of unix:/path, tcp:host:port, tls:host:port" % address)


class Hashing(object):
    """The SHA-256 of pieces; for long arrays in a thread, so that the next piece arrives meanwhile."""

    def __init__(self, length):
        self.digest = hashlib.sha256()
        self.pieces = queue.Queue()
        self.thread = threading.Thread(target=self._work) if length >= LONG else None

    def __enter__(self):
        if self.thread:
            self.thread.start()
        return self

    def update(self, piece):
        if self.thread:
            self.pieces.put(piece)
        else:
            self.digest.update(piece)

    def _work(self):
        for piece in iter(self.pieces.get, None):
            self.digest.update(piece)  # other threads run meanwhile

    def __exit__(self, *_):
        if self.thread:
            self.pieces.put(None)
            self.thread.join()


class Wire(object):
    """Frames over one connection. Every error is final: close it and dial again."""

    def __init__(self, connection):
        self.connection = connection
        self.sent = 0
        self.received = 0

    def close(self):
        self.connection.close()

    def send_frame(self, kind, payload):
        self.connection.sendall(seal(kind, self.sent, payload))
        self.connection.sendall(payload)
        self.sent += 1

    def send(self, message):
        text = json.dumps(message, allow_nan=False, separators=(",", ":"))
        self.send_frame(CONTROL, text.encode("utf-8"))

    def send_data(self, data):
        view = memoryview(data).cast("B")
        for start in range(0, len(view), MAX_PAYLOAD):
            self.send_frame(DATA, view[start : start + MAX_PAYLOAD])

    def _fill(self, view):
        while len(view):
            count = self.connection.recv_into(view)
            if not count:
                raise ConnectionError("the server closed the connection")
            view = view[count:]

    def receive_into(self, expected, view=None):
        """One frame of kind ``expected``: its payload, or its length when read into ``view``."""
        header = bytearray(HEADER)
        self._fill(memoryview(header))
        kind, length = unseal(header, self.received)
        if kind == DATA == expected and view is not None:
            if not 0 < length <= len(view):
                raise ProtocolError("a data frame of %d bytes where %d are left" % (length, len(view)))
            payload = view[:length]
        else:
            payload = memoryview(bytearray(length))
        self._fill(payload)
        verify(header, payload)
        self.received += 1
        if kind == CONTROL:
            try:
                message = json.loads(bytes(payload).decode("utf-8"))
            except ValueError as error:
                raise ProtocolError("the message is not JSON: %s" % error)
            if message.get("type") == "error":
                raise Refused(message["code"], message["message"], message.get("retry_after"))
            payload = message
        if kind != expected:
            raise ProtocolError("a frame of kind %d arrived, expected %d" % (kind, expected))
        return length if view is not None else payload

    def receive(self):
        return self.receive_into(CONTROL)

    def receive_data(self, header):
        """The bytes of an announced array, whose digest is compared."""
        check(header)
        data = bytearray(header["bytes"])
        view, done = memoryview(data), 0
        with Hashing(len(data)) as hashing:
            while done < len(data):
                length = self.receive_into(DATA, view[done:])
                hashing.update(view[done : done + length])
                done += length
        found = hashing.digest.hexdigest()
        if found != header["sha256"]:
            raise ProtocolError("the array's SHA-256 is %s, expected %s" % (found, header["sha256"]))
        return data
