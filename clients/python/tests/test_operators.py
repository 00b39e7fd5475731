"""Tracing a workload, and watching one epoch of it, on tinynn."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import fake
import tools
from reproduceml_client import digest


def client(module, arguments, **environment):
    """Runs a module of the client on tinynn; what its last line of output says."""
    variables = dict(os.environ, PYTHONPATH=tools.CLIENT,
                     REPRODUCEML_ARTIFACT=os.path.dirname(tools.tinynn_site()), **environment)
    done = subprocess.run([sys.executable, "-B", "-m", "reproduceml_client." + module] + arguments,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables)
    if done.returncode:
        raise AssertionError(done.stderr.decode())
    return json.loads(done.stdout.decode().splitlines()[-1])


def write_job(folder, **job):
    """A job and its arrays, as the watched epoch reads them."""
    session = fake.Session(**job)
    headers = {}
    for name in ("train/x", "train/y", "test/x", "order/1"):
        array = session.array(name)
        with open(os.path.join(folder, name.replace("/", "-")), "wb") as file:
            file.write(array.data)
        headers[name] = {"dtype": array.dtype, "shape": list(array.shape),
                         "sha256": digest.of_bytes(bytes(array.data))}
    for name, value in (("job.json", session.job), ("arrays.json", headers)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file)


@unittest.skipIf(tools.NO_COMPILER, "no %s here" % " and ".join(tools.NO_COMPILER))
class Trace(unittest.TestCase):

    def test_what_runs_and_what_is_there_are_told_apart(self):
        found = client("operators", ["--framework", "tinynn", "--model", "mlp",
                                     "--challenge", "synthetic", "--shape", "1,8,8"])
        self.assertEqual(found["format"], "reproduceml-trace/1")
        self.assertTrue(found["complete"])
        for name in ("tnn_linear_forward", "tnn_relu_backward", "tnn_sgd_step"):
            self.assertIn(name, found["operators"])
        self.assertNotIn("tnn_sigmoid_forward", found["operators"])
        self.assertIn("tnn_sigmoid_forward", found["known"]["operators"])
        self.assertIn("NLLLoss.backward", found["functions"]["tinynn/nn/loss.py"])
        self.assertNotIn("tinynn/schedule.py", found["functions"])
        self.assertIn("StepLR.step", found["known"]["functions"]["tinynn/schedule.py"])
        self.assertIn("tinynn/schedule.py", found["modules"])


@unittest.skipIf(tools.NO_COMPILER, "no %s here" % " and ".join(tools.NO_COMPILER))
class Watch(unittest.TestCase):

    def watch(self, **what):
        with tempfile.TemporaryDirectory() as folder:
            write_job(folder, train=70, test=10)
            return client("watch", [], REPRODUCEML_JOB=folder, REPRODUCEML_WATCH=json.dumps(what))

    def test_the_same_epoch_twice_has_the_same_values(self):
        first, second = (self.watch(digests=True) for _ in range(2))
        self.assertEqual(first["batches"], second["batches"])
        self.assertEqual(len(first["batches"]), 2)
        digests = [first["initial"]] + [batch[0] for batch in first["batches"]]
        self.assertEqual(len(set(digests)), 3, "every step changes the parameters")
        self.assertIsInstance(first["batches"][0][1], float)

    def test_lines_that_run_and_lines_that_could(self):
        names = ("tinynn/nn/loss.py", "tinynn/schedule.py")
        seen = self.watch(lines={name: [] for name in names})
        site = tools.tinynn_site()

        def line(name, text):
            with open(os.path.join(site, *name.split("/")), encoding="utf-8") as file:
                return 1 + [text in row for row in file].index(True)

        step = line("tinynn/schedule.py", "self.optimizer.lr =")
        self.assertIn(step, seen["possible"]["tinynn/schedule.py"])
        self.assertNotIn(step, seen["lines"]["tinynn/schedule.py"])
        grad = line("tinynn/nn/loss.py", "_nll_backward(self")
        self.assertIn(grad, seen["lines"]["tinynn/nn/loss.py"])


if __name__ == "__main__":
    unittest.main()
