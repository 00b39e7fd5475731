"""Measuring somebody's tests."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import tools
from reproduceml_client import own_tests

TESTS = """
import random, unittest
import tinynn

class Several(unittest.TestCase):
    def test_values(self):
        self.assertEqual([1.0, 2.0], [1.0, 2.0])
        with self.subTest(part=1):
            self.assertAlmostEqual(1.0, 1.5, delta=1)

    def test_fails(self):
        self.assertEqual([1, 2], [1, 5])

    def test_draws(self):
        self.assertLess(random.random(), 2.0)
        self.assertTrue(object())

    @unittest.skip("not here")
    def test_skipped(self):
        pass

    def test_breaks(self):
        raise KeyError("broken")

    def test_z_dies(self):
        import os
        os.kill(os.getpid(), 9)
"""


def measured(files, names=(), seed=1):
    """The lines that the client writes about test files, and its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        out = os.path.join(folder, "out.jsonl")
        told = {"framework": "tinynn", "source": folder, "files": sorted(files),
                "names": list(names), "seed": seed, "out": out}
        variables = dict(os.environ, PYTHONPATH=tools.CLIENT, REPRODUCEML_TESTS=json.dumps(told),
                         REPRODUCEML_ARTIFACT=os.path.dirname(tools.tinynn_site()))
        done = subprocess.run([sys.executable, "-B", "-m", "reproduceml_client.own_tests"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables)
        with open(out, encoding="utf-8") as file:
            return [json.loads(line) for line in file], done.returncode


@unittest.skipIf(tools.NO_COMPILER, "no %s here" % " and ".join(tools.NO_COMPILER))
class OwnTests(unittest.TestCase):

    def test_outcomes_and_values_are_told(self):
        names = ["test_values", "test_fails", "test_draws", "test_skipped", "test_breaks"]
        lines, status = measured({"t.py": TESTS}, names)
        self.assertEqual((status, lines[-1]), (0, {"ended": True}))
        found = {line["test"].rsplit(".", 1)[1]: line for line in lines if "test" in line}
        outcomes = {name: line["outcome"] for name, line in found.items()}
        self.assertEqual(outcomes, {"test_values": "passed", "test_fails": "failed",
                                    "test_draws": "passed", "test_skipped": "skipped",
                                    "test_breaks": "error"})
        checks = found["test_values"]["checks"]
        self.assertEqual([check["how"] for check in checks], ["assertEqual", "assertAlmostEqual"])
        self.assertEqual([check["difference"] for check in checks], ["0.0", "0.5"])
        self.assertEqual(found["test_fails"]["checks"][0]["difference"], "3.0")
        self.assertEqual(found["test_fails"]["checks"][0]["where"], "t.py:12")
        self.assertEqual(found["test_fails"]["checks"][0]["values"][0]["numbers"], ["1.0", "2.0"])
        self.assertIn("broken", found["test_breaks"]["message"])
        self.assertTrue(found["test_draws"]["checks"][1]["values"][0]["opaque"])

    def test_the_seed_decides_what_is_drawn(self):
        drawn = [measured({"t.py": TESTS}, ["test_draws"], seed)[0] for seed in (1, 1, 2)]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])

    def test_a_death_leaves_what_was_before(self):
        lines, status = measured({"t.py": TESTS}, ["test_values", "test_z_dies"])
        self.assertEqual(status, -9)
        self.assertEqual(lines[-1], {"began": "t.py::Several.test_z_dies"})
        self.assertTrue(any(line.get("outcome") == "passed" for line in lines))

    def test_what_cannot_be_imported_is_told(self):
        lines, status = measured({"t.py": "import nothing_like_it"})
        self.assertEqual((status, lines[0]["outcome"]), (0, "import"))
        self.assertIn("nothing_like_it", lines[0]["message"])


class Values(unittest.TestCase):

    def test_equal_values_and_no_others_have_one_digest(self):
        digest = lambda value: own_tests.Value(value).digest
        self.assertEqual(digest([1.5, {"a": 2}]), digest([1.5, {"a": 2}]))
        different = [None, True, 1, 1.0, "1", [1], [[1]], (1, 2), {"a": 1}, 0.1 + 0.2, 0.3,
                     float("nan"), float("inf"), 2 ** 2000]
        self.assertEqual(len({digest(value) for value in different}), len(different))
        self.assertEqual(own_tests.Value(object()).digest, own_tests.Value(object()).digest)

    def test_differences(self):
        of = lambda a, b: own_tests.difference([own_tests.Value(a), own_tests.Value(b)])
        self.assertEqual(of([1.0, 2.0], [1.0, 4.5]), "2.5")
        self.assertEqual(of([1.0, float("nan")], [1.0, float("nan")]), "0.0")
        self.assertEqual(of([1.0, float("nan")], [1.0, 2.0]), "nan")
        self.assertEqual(of([1.0, 2.0], 0), "2.0")
        self.assertIsNone(of([1.0, 2.0], [1.0]))
        self.assertIsNone(of("a", "b"))


if __name__ == "__main__":
    unittest.main()
