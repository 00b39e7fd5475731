"""Controls are set, read back and reported."""

import os
import random
import subprocess
import sys
import unittest

import tools
from reproduceml_client import controls


class Controls(unittest.TestCase):
    def test_each_outcome_is_reported(self):
        def missing():
            raise AttributeError("no such thing")

        def broken():
            raise ValueError("not now")

        statuses = [controls.attempt("x", 1, action, check)["status"] for action, check in (
            (lambda: None, None), (lambda: None, lambda: False), (missing, None),
            (broken, None))]
        self.assertEqual(statuses, ["set", "failed", "unavailable", "failed"])

    def test_the_environment_is_prepared_once(self):
        self.assertTrue(controls.restart_needed({}))
        prepared = controls.prepared_environment({"PATH": "/bin"})
        self.assertEqual(prepared["PATH"], "/bin")
        self.assertFalse(controls.restart_needed(prepared))
        del prepared[controls.MARK]
        self.assertFalse(controls.restart_needed(prepared))
        prepared["OMP_NUM_THREADS"] = "2"
        self.assertTrue(controls.restart_needed(prepared))

    def test_a_prepared_process_reports_all_as_set(self):
        program = ("import sys; sys.path.insert(0, %r)\n"
                   "from reproduceml_client import controls\n"
                   "print({c['status'] for c in controls.report_environment()}, hash('a'))"
                   % tools.CLIENT)
        outputs = {subprocess.check_output(
            [sys.executable, "-B", "-c", program],
            env=controls.prepared_environment(os.environ)) for _ in range(2)}
        self.assertEqual(len(outputs), 1)
        self.assertTrue(outputs.pop().startswith(b"{'set'}"))

    def test_python_is_seeded(self):
        controls.seed_python(3)
        first = random.random()
        report = controls.seed_python(3)
        self.assertEqual(random.random(), first)
        self.assertEqual(report[0]["name"], "seed python")


if __name__ == "__main__":
    unittest.main()
