"""Traces: all tensors of one moment, and nothing else changed."""

import json
import os
import shutil
import tempfile
import unittest

import tools
from reproduceml_client import digest, trace
from reproduceml_client.errors import JobError


class Moments(unittest.TestCase):
    def test_a_moment_that_is_none_is_refused(self):
        for text in ("", "epoch 1", "epoch one batch 2", "test", "epoch 1 batch 2 "):
            with self.assertRaises(JobError):
                trace.Trace("/nonexistent", text)

    def test_without_the_variable_there_is_no_trace(self):
        self.assertIsNone(trace.Trace.from_environment({"REPRODUCEML_TRACE_AT": "init"}))


class Traced:
    """Trainings that are traced; the framework's own class below says of what."""

    job = {}
    site = None
    layers = ()
    prediction_batch = 0

    def setUp(self):
        self.folder = tempfile.mkdtemp()

    def tearDown(self):
        shutil.rmtree(self.folder)

    def train(self, moment, **job):
        """Trains in a process of its own, as some controls can be set only once in one."""
        environment = {"REPRODUCEML_TRACE": self.folder, "REPRODUCEML_TRACE_AT": moment}
        return tools.train_in_a_process(self.site and self.site(), environment=environment,
                                        **dict(self.job, **job))

    def traced(self, moment, **job):
        """The tensors of a moment, as (stage, name) and record."""
        told = self.train(moment, **job)
        self.assertIsNone(told["timings"], "a traced run has no results")
        with open(os.path.join(self.folder, "index.jsonl")) as file:
            lines = [json.loads(line) for line in file]
        self.assertEqual(lines.pop(), {"end": True})
        for line in lines:
            size = int(line["dtype"][1:])
            for length in line["shape"]:
                size *= length
            self.assertEqual(os.path.getsize(os.path.join(self.folder, line["file"])), size)
        return lines

    def test_a_batch_is_told_in_the_order_of_its_computation(self):
        lines = self.traced("epoch 2 batch 1", trace=True)
        stages = []
        for line in lines:
            if not stages or stages[-1] != line["stage"]:
                stages.append(line["stage"])
        self.assertEqual(stages, ["input", "output", "loss", "output gradient",
                                  "parameter gradient", "parameter"])
        outputs = [line["name"] for line in lines if line["stage"] == "output"]
        self.assertEqual(outputs, list(self.layers) + [""])
        gradients = [line["name"] for line in lines if line["stage"] == "output gradient"]
        self.assertLessEqual(set(outputs) - set(gradients), set(self.layers[:1]))
        self.assertEqual(gradients[0], "")
        of_parameters = [line["name"] for line in lines if line["stage"] == "parameter gradient"]
        parameters = [line["name"] for line in lines if line["stage"] == "parameter"]
        self.assertEqual(of_parameters, parameters[::-1])

    def test_initialisation_and_predictions_are_moments_too(self):
        lines = self.traced("init")
        self.assertEqual({line["stage"] for line in lines}, {"parameter"})
        lines = self.traced("test sample %d" % (self.prediction_batch + 3),
                            test=self.prediction_batch + 9)
        self.assertEqual({line["stage"] for line in lines}, {"input", "output"})
        self.assertEqual(lines[0]["shape"][0], 9, "the batch with this sample")

    def test_what_is_traced_is_the_run_itself(self):
        self.traced("epoch 2 batch 3", train=256)
        with open(os.path.join(self.folder, "index.jsonl")) as file:
            lines = [json.loads(line) for line in file][:-1]
        found = []
        for line in lines:
            if line["stage"] == "parameter":
                with open(os.path.join(self.folder, line["file"]), "rb") as file:
                    found.append((line["name"], line["dtype"], line["shape"], file.read()))
        plain = self.train("epoch 9 batch 0", train=256)
        self.assertEqual(digest.of_parameters(found), plain["epochs"][-1][2],
                         "the last batch leaves what the second epoch left")


@unittest.skipIf(tools.NO_COMPILER, "needs %s" % ", ".join(tools.NO_COMPILER))
class Tinynn(Traced, unittest.TestCase):
    layers = ("0", "1", "2", "3", "4")
    prediction_batch = 64

    site = staticmethod(tools.tinynn_site)


@unittest.skipUnless(tools.has("torch"), "PyTorch is not installed")
class PyTorch(Traced, unittest.TestCase):
    job = {"framework": "pytorch", "model": "lenet", "side": 28, "learning_rate": 0.01}
    layers = ("conv1", "conv2", "fc1", "fc2")
    prediction_batch = 256


if __name__ == "__main__":
    unittest.main()
