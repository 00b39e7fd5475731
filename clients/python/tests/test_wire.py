"""The protocol's vectors, read by this client as the server reads them."""

import io
import json
import os
import socket
import threading
import unittest

from reproduceml_client import wire

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "..", "..", "..", "protocol", "vectors")
WORDS = {
    "magic": "starts with",
    "kind": "kind is",
    "reserved": "not zero",
    "too-long": "at most",
    "sequence": "has number",
    "checksum": "checksum",
}


def vectors(name):
    with io.open(os.path.join(VECTORS, name), encoding="utf-8") as file:
        return json.load(file)


class Vectors(unittest.TestCase):
    def open(self, data, number):
        """Kind and payload of one frame that arrives over a socket."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(data)
            theirs.close()
            reader = wire.Wire(ours)
            reader.received = number
            header = bytearray(wire.HEADER)
            reader._fill(memoryview(header))
            kind, length = wire.unseal(header, number)
            payload = bytearray(length)
            reader._fill(memoryview(payload))
            wire.verify(header, payload)
            return kind, bytes(payload)

    def test_good_frames_are_read_and_written(self):
        good = [vector for vector in vectors("frames.json") if "error" not in vector]
        self.assertGreater(len(good), 3)
        for vector in good:
            data, payload = bytes.fromhex(vector["bytes"]), bytes.fromhex(vector["payload"])
            self.assertEqual(self.open(data, vector["number"]), (vector["kind"], payload))
            sealed = wire.seal(vector["kind"], vector["number"], payload)
            self.assertEqual(sealed + payload, data, vector["name"])

    def test_bad_frames_are_refused(self):
        bad = [vector for vector in vectors("frames.json") if "error" in vector]
        self.assertGreater(len(bad), 10)
        for vector in bad:
            data = bytes.fromhex(vector["bytes"])
            if vector["error"] == "truncated":
                with self.assertRaises(ConnectionError, msg=vector["name"]):
                    self.open(data, vector["number"])
                continue
            with self.assertRaises(wire.ProtocolError, msg=vector["name"]) as caught:
                self.open(data, vector["number"])
            self.assertIn(WORDS[vector["error"]], str(caught.exception), vector["name"])

    def test_numbers_keep_their_bits(self):
        for entry in vectors("messages.json")["bits"]:
            self.assertEqual(wire.bits(float(entry["number"])), entry["bits"])
            self.assertEqual(wire.bits(wire.from_bits(entry["bits"])), entry["bits"])


class Pieces(unittest.TestCase):
    def pair(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        ours.settimeout(5)
        theirs.settimeout(5)
        return wire.Wire(ours), wire.Wire(theirs)

    def test_an_array_arrives_and_a_changed_one_does_not(self):
        ours, theirs = self.pair()
        data = bytes(bytearray(range(200)))
        header = wire.describe("f4", (5, 10), data)
        theirs.send_data(data)
        self.assertEqual(bytes(ours.receive_data(header)), data)
        theirs.send_data(data[:-1] + b"\0")
        with self.assertRaises(wire.ProtocolError):
            ours.receive_data(header)

    def test_a_long_array_is_hashed_while_it_arrives(self):
        ours, theirs = self.pair()
        data = bytes(bytearray(range(251))) * (wire.LONG // 251 + 1)
        header = wire.describe("u1", (len(data),), data)
        for sent, right in ((data, True), (data[:-1] + b"\xff", False), (data[: len(data) // 2], False)):
            ours, theirs = self.pair()

            def send(theirs=theirs, sent=sent):
                theirs.send_data(sent)
                theirs.connection.shutdown(socket.SHUT_RDWR)

            sender = threading.Thread(target=send)
            sender.start()
            if right:
                self.assertEqual(ours.receive_data(header), data)
            else:
                with self.assertRaises((wire.ProtocolError, ConnectionError)):
                    ours.receive_data(header)
            sender.join()
        self.assertEqual(threading.active_count(), 1, "no thread is left")

    def test_data_frames_that_do_not_fit_are_refused(self):
        for data in (b"", bytes(201)):
            ours, theirs = self.pair()
            theirs.send_frame(wire.DATA, data)
            with self.assertRaises(wire.ProtocolError):
                ours.receive_data(wire.describe("u1", (200,), bytes(200)))

    def test_an_error_in_place_of_data_is_the_error(self):
        ours, theirs = self.pair()
        theirs.send({"type": "error", "code": "storage", "message": "full", "retry_after": 2.0})
        with self.assertRaises(wire.Refused) as caught:
            ours.receive_data(wire.describe("u1", (1,), b"1"))
        self.assertEqual((caught.exception.code, caught.exception.retry_after), ("storage", 2.0))

    def test_headers_must_agree_with_themselves(self):
        for change in ({"bytes": 4}, {"dtype": "O"}, {"shape": [1] * 9}, {"shape": [-1, -3]}):
            header = dict(wire.describe("u1", (3,), b"abc"), **change)
            with self.assertRaises(wire.ProtocolError, msg=str(change)):
                wire.check(header)

    def test_what_json_cannot_say_becomes_text(self):
        value = {1: float("nan"), "a": [float("-inf"), None, True, (2, 0.5)], "b": object}
        plain = wire.plain(value)
        self.assertEqual(plain["1"], "nan")
        self.assertEqual(plain["a"], ["-inf", None, True, [2, 0.5]])
        json.dumps(plain, allow_nan=False)

    def test_addresses_are_checked(self):
        for address in ("", "http://x", "127.0.0.1:80"):
            with self.assertRaises(ValueError):
                wire.dial(address, 1)


if __name__ == "__main__":
    unittest.main()
