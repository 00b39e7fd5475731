"""The client's source is Python 3.6: its syntax, and what it imports and calls."""

import ast
import os
import subprocess
import sys
import tempfile
import unittest

import tools

SOURCE = os.path.join(tools.CLIENT, "reproduceml_client")
OLDEST = (3, 6)


def files():
    """All files of the client."""
    return [os.path.join(folder, name) for folder, _, names in os.walk(SOURCE)
            for name in names if name.endswith(".py")]


def parse(source):
    """Raises SyntaxError for what the oldest Python does not know."""
    return ast.parse(source, feature_version=OLDEST)


@unittest.skipIf(sys.version_info < (3, 8), "this Python cannot parse as an older one")
class Syntax(unittest.TestCase):
    def test_newer_syntax_is_found(self):
        for newer in ("if (n := 1): pass", "def f(a, /): pass", "f'{a!r:>{b}}' if (a := 1) else b"):
            with self.assertRaises(SyntaxError, msg=newer):
                parse(newer)

    def test_every_file_is_of_the_oldest_python(self):
        self.assertGreater(len(files()), 20)
        for path in files():
            with open(path, encoding="utf-8") as file:
                source = file.read()
            with self.subTest(path=os.path.relpath(path, SOURCE)):
                parse(source)


@unittest.skipUnless(tools.has("vermin"), "vermin is not installed (scripts/setup --with-libtorch)")
class Library(unittest.TestCase):
    def vermin(self, *arguments):
        command = [sys.executable, "-c", "import sys, vermin; sys.exit(vermin.main())",
                   "--no-tips", "--target=%d.%d-" % OLDEST]
        return subprocess.run(command + list(arguments), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True)

    def test_what_is_newer_is_found(self):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write("import time\ntime.perf_counter_ns()\n")  # 3.7
            file.flush()
            done = self.vermin("--violations", file.name)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn("perf_counter_ns", done.stdout)

    def test_nothing_newer_is_called(self):
        done = self.vermin("--violations", *files())
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
