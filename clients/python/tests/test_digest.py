"""The digest of parameters, byte by byte."""

import hashlib
import unittest

import tools  # noqa: F401  (puts the client on sys.path)
from reproduceml_client import digest


class Parameters(unittest.TestCase):
    def test_known_answer(self):
        text = (b"\x01\0\0\0b" b"\x02\0\0\0f4" b"\x01\0\0\0" b"\x02\0\0\0\0\0\0\0"
                b"\x08\0\0\0\0\0\0\0" b"\0\0\x80\x3f\0\0\0\x40")
        found = digest.of_parameters([("b", "f4", (2,), b"\0\0\x80\x3f\0\0\0\x40")])
        self.assertEqual(found, hashlib.sha256(text).hexdigest())
        self.assertEqual(
            found, "7d790b7720be6477337b70862dc84c5e1055efc4a9d32ee9dd02e6d8400d9fad")

    def test_order_does_not_matter_but_names_and_shapes_do(self):
        one, two = ("a", "f4", (1,), b"1234"), ("b", "f4", (), b"5678")
        self.assertEqual(digest.of_parameters([one, two]), digest.of_parameters([two, one]))
        self.assertNotEqual(digest.of_parameters([one]),
                            digest.of_parameters([("a", "f4", (1, 1), b"1234")]))
        self.assertNotEqual(digest.of_parameters([one]),
                            digest.of_parameters([("c", "f4", (1,), b"1234")]))


if __name__ == "__main__":
    unittest.main()
