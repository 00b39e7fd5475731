"""A session against a server that is scripted to fail in all the ways that must not matter."""

import hashlib
import os
import socket
import tempfile
import threading
import unittest

from reproduceml_client import session as session_module
from reproduceml_client import wire
from reproduceml_client.session import Lost, Session
from test_wire import vectors

TRAIN = b"0123456789ab"


class Server(object):
    """Answers like the real one; ``troubles`` maps a request's type to what happens instead."""

    def __init__(self, folder, troubles=None):
        self.path = os.path.join(folder, "s")
        self.troubles = {kind: list(list_) for kind, list_ in (troubles or {}).items()}
        self.said = []
        self.connections = 0
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(5)
        thread = threading.Thread(target=self.accept)
        thread.daemon = True
        thread.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                self.serve(wire.Wire(connection))
            except (OSError, wire.ProtocolError):
                pass
            connection.close()

    def serve(self, peer):
        replies = {reply["type"]: reply for reply in vectors("messages.json")["replies"]}
        while True:
            message = peer.receive()
            kind = message["type"]
            self.said.append(message)
            data = peer.receive_data(message["array"]) if kind == "predictions" else None
            trouble = self.troubles.get(kind) and self.troubles[kind].pop(0)
            if trouble == "hang up":
                return
            if trouble == "damage":
                frame = bytearray(wire.seal(wire.CONTROL, peer.sent, b'{"type":"ok"}') + b'{"type":"ok"}')
                frame[30] ^= 4
                peer.connection.sendall(frame)
                return
            if isinstance(trouble, dict):
                peer.send(dict(trouble, type="error"))
                return
            header = wire.describe("u1", (3, 4), TRAIN)
            if kind == "hello":
                peer.send(replies["welcome"])
            elif kind == "ping":
                peer.send({"type": "pong"})
            elif kind == "describe":
                peer.send({"type": "array", "name": message["name"], "array": header})
            elif kind == "fetch":
                peer.send({"type": "array", "name": message["name"], "array": header})
                peer.send_data(b"X" + TRAIN[1:] if trouble == "other bytes" else TRAIN)
            elif kind == "finish":
                peer.send(replies["finished"])
            else:
                if data is not None:
                    message["data"] = bytes(data)
                peer.send({"type": "ok"})


class Sessions(unittest.TestCase):
    def start(self, troubles=None):
        folder = tempfile.mkdtemp()
        server = Server(folder, troubles)
        self.addCleanup(server.listener.close)
        session = Session.connect("unix:" + server.path, "ticket", timeout=5, patience=5)
        self.addCleanup(session.close)
        return server, session

    def kinds(self, server):
        return [message["type"] for message in server.said]

    def test_messages_are_those_of_the_vectors(self):
        server, session = self.start()
        session.seed()
        session.array("train/x")
        session.manifest({"python": "3"})
        session.epoch(0, None, "00" * 32, 0)
        session.epoch(1, float("nan"), "00" * 32, 1.25, {"batches": [float("inf")]})
        session.predictions("test", bytes(80), (2, 10), "f4")
        metrics = session.finish({"total": 2})
        self.assertEqual(metrics, {"test/accuracy": 0.5})
        fields = {}
        for request in vectors("messages.json")["requests"]:
            fields.setdefault(request["type"], set()).update(request)
        for message in server.said:
            if message["type"] == "hello":
                message["token"] = ""
            message.pop("data", None)
            self.assertEqual(set(message), fields[message["type"]], message["type"])
        losses = [message["loss"] for message in server.said if message["type"] == "epoch"]
        self.assertEqual(losses, [None, "7ff8000000000000"])

    def test_a_failure_is_told_with_its_kind_and_traceback(self):
        server, session = self.start()
        session.fail("ValueError", "no", "line 1")
        wanted = [request for request in vectors("messages.json")["requests"]
                  if request["type"] == "fail"][0]
        self.assertEqual(server.said[-1], wanted)

    def test_a_lost_answer_is_asked_for_again(self):
        for trouble in ("hang up", "damage"):
            server, session = self.start({"epoch": [trouble, trouble]})
            session.epoch(0, None, "00" * 32, 0)
            self.assertEqual(self.kinds(server).count("epoch"), 3, trouble)
            holders = {m["holder"] for m in server.said if m["type"] == "hello"}
            self.assertEqual(len(holders), 1, "the process keeps its name")

    def test_changed_bytes_are_fetched_again_and_never_used(self):
        server, session = self.start({"fetch": ["other bytes"]})
        self.assertEqual(bytes(session.array("train/x").data), TRAIN)
        self.assertEqual(self.kinds(server).count("fetch"), 2)
        told = [m["sha256"] for m in server.said if m["type"] == "acknowledge"]
        self.assertEqual(told, [hashlib.sha256(TRAIN).hexdigest()])

    def test_what_may_succeed_later_is_tried_again(self):
        full = {"code": "storage", "message": "full", "retry_after": 0.1}
        server, session = self.start({"predictions": [full, full]})
        session.predictions("test", bytes(80), (2, 10))
        self.assertEqual(self.kinds(server).count("predictions"), 3)

    def test_a_final_refusal_is_raised_at_once(self):
        wrong = {"code": "seed-mismatch", "message": "no", "retry_after": None}
        server, session = self.start({"seed": [wrong]})
        with self.assertRaises(wire.Refused) as caught:
            session.seed()
        self.assertEqual(caught.exception.code, "seed-mismatch")
        self.assertEqual(self.kinds(server).count("seed"), 1)

    def test_patience_ends(self):
        folder = tempfile.mkdtemp()
        with self.assertRaises(Lost):
            Session.connect("unix:" + folder + "/none", "ticket", timeout=1, patience=0.5)

    def test_the_cache_saves_the_second_fetch_but_not_the_check(self):
        folder = tempfile.mkdtemp()
        os.environ["REPRODUCEML_CACHE"] = os.path.join(folder, "cache")
        self.addCleanup(os.environ.pop, "REPRODUCEML_CACHE")
        server, session = self.start()
        for _ in range(2):
            self.assertEqual(bytes(session.array("train/x").data), TRAIN)
        self.assertEqual(self.kinds(server).count("fetch"), 1)
        self.assertEqual(self.kinds(server).count("acknowledge"), 2)
        digest = hashlib.sha256(TRAIN).hexdigest()
        with open(os.path.join(folder, "cache", digest), "wb") as file:
            file.write(b"x" * len(TRAIN))
        self.assertEqual(bytes(session.array("train/x").data), TRAIN)
        self.assertEqual(self.kinds(server).count("fetch"), 2, "a changed file is not used")

    def test_the_cache_is_bounded(self):
        folder = tempfile.mkdtemp()
        os.environ["REPRODUCEML_CACHE"] = folder
        self.addCleanup(os.environ.pop, "REPRODUCEML_CACHE")
        self.addCleanup(setattr, session_module, "CACHE_BYTES", session_module.CACHE_BYTES)
        session_module.CACHE_BYTES = 30
        for name, used in (("old", 1), ("older", 0), ("new", 2)):
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(bytes(8))
            os.utime(path, (used, used))
        server, session = self.start()
        session.array("train/x")
        kept = sorted(os.listdir(folder))
        self.assertEqual(kept, sorted([hashlib.sha256(TRAIN).hexdigest(), "new", "old"]))


if __name__ == "__main__":
    unittest.main()
