"""A training client's session: every call returns once what it said is on the server's disk.

A connection that is lost is dialled again with growing pauses and the same message sent again;
the server takes a repetition as what it is. The calls may come from one thread only; a second
thread, started here, tells the server that the client is alive while it trains.
"""

import os
import random
import sys
import tempfile
import threading
import time
import uuid

from . import wire
from .wire import ProtocolError, Refused

__version__ = "0.1.0"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds
CACHE_BYTES = 8 << 30  # the most that REPRODUCEML_CACHE holds; what was used longest ago goes first


class Lost(Exception):
    """The server could not be reached, or could not store anything, for too long."""


class Array(object):
    """``data`` holds the little-endian bytes, in C order, of an array of ``shape``."""

    def __init__(self, header, data):
        self.shape = tuple(header["shape"])
        self.dtype = header["dtype"]
        self.sha256 = header["sha256"]
        self.data = data


class Session(object):
    """One run, held by this process. Made by :meth:`connect`."""

    def __init__(self, address, ticket, timeout, patience, token):
        self._address = address
        self._hello = {"type": "hello", "versions": wire.VERSIONS, "ticket": ticket}
        self._hello["holder"] = uuid.uuid4().hex
        self._hello["client"] = "python/%s" % __version__
        if token:
            self._hello["token"] = token
        self._timeout = timeout
        self._patience = patience
        self._wire = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._jitter = random.Random(self._hello["holder"])  # the training's own state is not touched
        self._cache = os.environ.get("REPRODUCEML_CACHE")
        self.job = None
        self.attempt = None

    @classmethod
    def connect(cls, address, ticket, timeout=60.0, patience=600.0, token=None):
        """Opens the session that ``ticket`` authorises.

        ``timeout`` is the longest wait for one answer and ``patience`` the longest time, both in
        seconds, that a lost server is tried again before :class:`Lost` is raised. ``token`` is
        taken from REPRODUCEML_TOKEN when not given.
        """
        token = token or os.environ.get("REPRODUCEML_TOKEN")
        session = cls(address, ticket, timeout, patience, token)
        session._call(None)
        beat = threading.Thread(target=session._beat, name="reproduceml-heartbeat")
        beat.daemon = True
        beat.start()
        return session

    def seed(self):
        """The run's seed, which is on the server's disk."""
        self._call(self._message("seed"))
        return self.job["seed"]

    def array(self, name):
        """The array ``name`` (``train/x``, ``order/1``, …), its digest checked and told back."""
        header = wire.check(self._call(self._message("describe", name=name))["array"])
        data = self._cached(header)
        if data is None:
            header, data = self._call(self._message("fetch", name=name), self._receive)
            self._keep(header, data)
        self._call(self._message("acknowledge", name=name, sha256=header["sha256"]))
        return Array(header, data)

    def manifest(self, manifest):
        """Hands over what the run is made of."""
        self._call(self._message("manifest", manifest=wire.plain(manifest)))

    def epoch(self, number, loss, parameters_digest, seconds, extra=None):
        """Reports epoch ``number`` (0: after initialisation, with ``loss`` None)."""
        message = self._message("epoch", number=number, parameters=parameters_digest)
        message["loss"] = None if loss is None else wire.bits(loss)
        message["seconds"] = float(seconds)
        message["extra"] = wire.plain(extra)
        self._call(message)

    def predictions(self, split, data, shape, dtype="f4", epoch=None):
        """Hands over class log-probabilities, samples x classes, in the split's own order."""
        data = memoryview(data).cast("B")
        message = self._message("predictions", split=split, epoch=epoch)
        message["array"] = wire.describe(dtype, shape, data)
        self._call(message, lambda connection: (connection.send_data(data), connection.receive())[1])

    def finish(self, timings):
        """Ends the run; returns the metrics that the server computed and keeps."""
        reply = self._call(self._message("finish", timings=wire.plain(timings)))
        self.close()
        return reply["metrics"]

    def fail(self, kind, message, traceback):
        """Ends the run with the reason why it failed."""
        report = self._message("fail", kind=str(kind)[:200], message=str(message)[:4000])
        report["traceback"] = str(traceback)[-60000:]
        self._call(report)
        self.close()

    def close(self):
        """Ends the connection and the heartbeat; what was acknowledged stays."""
        self._closed.set()
        with self._lock:
            self._hang_up()

    def _message(self, message_type, **fields):
        fields["type"] = message_type
        fields["seed"] = self.job["seed"]
        return fields

    def _call(self, message, talk=None):
        """Sends ``message`` until it is answered; ``talk`` says what follows it on the wire."""
        talk = talk or (lambda connection: connection.receive())
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                with self._lock:
                    if self._wire is None:
                        self._open()
                    if message is None:
                        return None
                    self._wire.send(message)
                    return talk(self._wire)
            except Refused as refusal:
                with self._lock:
                    self._hang_up()
                if refusal.retry_after is None:
                    self._closed.set()
                    raise
                error, wait = refusal, max(pause, refusal.retry_after)
            except (OSError, EOFError, ProtocolError) as lost:
                with self._lock:
                    self._hang_up()
                error, wait = lost, pause
            if time.monotonic() + wait > deadline:
                self._closed.set()
                raise Lost("no answer from %s for %d s; last: %s" % (self._address, self._patience, error))
            if pause == FIRST_PAUSE or isinstance(error, Refused):
                sys.stderr.write("reproduceml: %s; trying again\n" % error)
            time.sleep(wait * self._jitter.uniform(0.5, 1.0) if wait == pause else wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _open(self):
        connection = wire.Wire(wire.dial(self._address, self._timeout))
        try:
            connection.send(self._hello)
            welcome = connection.receive()
        except BaseException:
            connection.close()
            raise
        if welcome.get("type") != "welcome" or welcome.get("version") not in wire.VERSIONS:
            connection.close()
            raise ProtocolError("the server answered hello with %r" % welcome.get("type"))
        if self.job is not None and (self.job, self.attempt) != (welcome["job"], welcome["attempt"]):
            connection.close()
            raise Refused("hold-lost", "the server now tells of another job or attempt; start over")
        self.job, self.attempt = welcome["job"], welcome["attempt"]
        self._interval = welcome["heartbeat_seconds"]
        self._wire = connection

    def _hang_up(self):
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _beat(self):
        while not self._closed.wait(self._interval):
            with self._lock:
                try:
                    if self._closed.is_set():
                        return
                    if self._wire is None:
                        self._open()
                    self._wire.send({"type": "ping"})
                    self._wire.receive()
                except (OSError, EOFError, ProtocolError, Refused):
                    self._hang_up()  # the next call finds out what it was

    def _receive(self, connection):
        header = connection.receive()["array"]
        return header, connection.receive_data(header)

    def _cached(self, header):
        if not self._cache:
            return None
        try:
            path = os.path.join(self._cache, header["sha256"])
            data = bytearray(header["bytes"])
            with open(path, "rb") as file:
                if file.readinto(data) != len(data):
                    return None
            os.utime(path)
        except (IOError, OSError):
            return None
        try:
            same = wire.describe(header["dtype"], header["shape"], data) == header
        except ProtocolError:
            same = False
        return data if same else None

    def _keep(self, header, data):
        if not self._cache:
            return
        try:
            os.makedirs(self._cache, exist_ok=True)
            self._make_room(len(data))
            handle, path = tempfile.mkstemp(dir=self._cache)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(path, os.path.join(self._cache, header["sha256"]))
        except (IOError, OSError) as error:
            sys.stderr.write("reproduceml: the array is not kept in %s: %s\n" % (self._cache, error))

    def _make_room(self, length):
        kept = []
        for name in os.listdir(self._cache):
            path = os.path.join(self._cache, name)
            try:
                found = os.stat(path)
            except OSError:
                continue  # another client was faster
            kept.append((found.st_mtime, found.st_size, path))
        total = length + sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= CACHE_BYTES:
                return
            try:
                os.remove(path)
            except OSError:
                pass  # another client's, or gone
            total -= size
