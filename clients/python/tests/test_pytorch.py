"""The PyTorch layer and its models. Skipped by name where PyTorch is not installed."""

import json
import os
import shutil
import tempfile
import unittest

import tools
from reproduceml_client import controls
from reproduceml_client.errors import JobError

WITH_TORCH = tools.has("torch")
REASON = "PyTorch is not installed"
LENET = {"framework": "pytorch", "model": "lenet", "side": 28, "learning_rate": 0.01,
         "momentum": 0.9}

# The framework's controls, and the first version that has each under some name. Of 1.1 to 1.6
# those marked (1, 1) are there; Debian's oldest is 1.7.
CONTROLS = {
    "deterministic algorithms": (1, 7), "cudnn deterministic": (1, 1), "cudnn benchmark": (1, 1),
    "tf32 in matmul": (1, 7), "tf32 in cudnn": (1, 7), "float32 matmul precision": (1, 12),
    "threads intra-op": (1, 1), "threads inter-op": (1, 1), "fill uninitialised memory": (2, 2),
}

# Its first operation has no deterministic implementation on any device.
ODD_MODEL = """
import reproduceml_client
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
        x = nn.functional.dropout(x.reshape(x.shape[0], -1), 0.5, self.training)
        return nn.functional.log_softmax(self.linear(x), dim=1)

class Odd(reproduceml_client.Model):
    def build(self, shape, classes):
        return Network(classes)
"""

if WITH_TORCH:
    import torch
    from reproduceml_client.models import pytorch as registry
    from reproduceml_client.models.pytorch import alexnet, lenet, vgg, vgg_x


def torch_is_at_least(major, minor):
    """Whether this PyTorch is of that version or newer."""
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (major, minor)


def count(model, shape):
    """How many parameters a model has at ten classes."""
    return sum(p.numel() for p in model.build(shape, 10).parameters())


@unittest.skipUnless(WITH_TORCH, REASON)
class Models(unittest.TestCase):
    def test_the_parameters_are_as_many_as_documented(self):
        self.assertEqual(count(lenet.LeNet(), (1, 28, 28)), 431080)
        self.assertEqual(count(vgg_x.VggX(), (3, 32, 32)), 15497738)
        self.assertEqual(count(vgg_x.VggXDet(), (3, 32, 32)), 15497738)
        self.assertEqual(count(alexnet.AlexNet(), (3, 32, 32)), 57044810)
        self.assertEqual(count(vgg.Vgg11(), (3, 32, 32)), 128807306)
        self.assertEqual(count(vgg.Vgg16(), (3, 32, 32)), 134301514)
        self.assertEqual(len(registry.MODELS), 6)

    def test_outputs_are_log_probabilities(self):
        for model, shape in ((lenet.LeNet(), (1, 28, 28)), (lenet.LeNet(), (3, 32, 32)),
                             (vgg_x.VggX(), (3, 32, 32)), (alexnet.AlexNet(), (1, 28, 28))):
            network = model.build(shape, 10).eval()
            with torch.no_grad():
                model.initialise(network)
                y = network(torch.ones((2,) + shape))
            self.assertEqual(tuple(y.shape), (2, 10))
            self.assertTrue(torch.allclose(y.exp().sum(1), torch.ones(2), atol=1e-4))

    def test_plain_pooling_equals_the_adaptive_one(self):
        x = torch.randn(2, 3, 16, 16, requires_grad=True)
        gradients = []
        for layer in (vgg_x.VggX().pooling(16, 16), vgg_x.VggXDet().pooling(16, 16)):
            y = layer(x)
            gradients.append((y, torch.autograd.grad((y * y).sum(), x)[0]))
        for adaptive, plain in zip(*gradients):
            self.assertTrue(torch.allclose(adaptive, plain, atol=1e-6))
        with self.assertRaisesRegex(JobError, "16 x 16"):
            vgg_x.VggXDet().pooling(14, 14)

    def test_weights_do_not_depend_on_constructors(self):
        drawn = []
        for extra in (0, 3):
            network = lenet.LeNet().build((1, 28, 28), 10)
            torch.rand(extra)
            torch.manual_seed(4)
            with torch.no_grad():
                lenet.LeNet().initialise(network)
            drawn.append(network.fc2.weight.clone())
        self.assertTrue(torch.equal(*drawn))


@unittest.skipUnless(WITH_TORCH, REASON)
class Training(unittest.TestCase):
    def train(self, fault=None, **job):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        if fault is not None:
            shutil.copy(os.path.join(tools.REPOSITORY, "data", "faults", fault),
                        os.path.join(folder, "fault.py"))
        return tools.train_in_a_process(folder=folder, fault=fault is not None,
                                        **dict(LENET, **job))

    def test_two_processes_give_the_same_digests(self):
        first, second = self.train(epochs=1), self.train(epochs=1)
        self.assertEqual(first["epochs"], second["epochs"])
        self.assertEqual(first["predicted"], second["predicted"])
        statuses = {entry["name"]: entry["status"] for entry in first["manifest"]["controls"]}
        for name in ("seed torch cpu", "threads intra-op", "cudnn deterministic",
                     "PYTHONHASHSEED"):
            self.assertEqual(statuses[name], "set", name)
        self.assertNotIn("failed", statuses.values())
        self.assertEqual(first["manifest"]["artifact"]["framework"]["version"],
                         str(torch.__version__))
        json.dumps(first["manifest"])

    def test_every_control_is_set_where_this_version_has_it(self):
        report = self.train(train=20, test=10, epochs=0)["manifest"]["controls"]
        self.assertLessEqual({entry["status"] for entry in report}, {"set", "unavailable"})
        found = {entry["name"]: entry["status"] for entry in report}
        for name, since in CONTROLS.items():
            expected = "set" if torch_is_at_least(*since) else "unavailable"
            self.assertEqual(found.pop(name), expected, name)
        self.assertEqual({name for name in found if not name.startswith("seed ")},
                         set(controls.ENVIRONMENT))

    def test_faults_are_felt_only_where_they_are_used(self):
        job = dict(train=500, epochs=4, learning_rate=0.02)
        sound = self.train(**job)
        unused = self.train("pytorch-avgpool3d-wrong.py", **job)
        self.assertEqual(sound["epochs"], unused["epochs"])
        for fault in ("pytorch-sgd-drops-momentum.py", "pytorch-sgd-small-steps.py"):
            hurt = self.train(fault, **job)
            self.assertEqual(sound["epochs"][0], hurt["epochs"][0])
            self.assertNotEqual(sound["epochs"][1][2], hurt["epochs"][1][2])
            self.assertGreater(sound["accuracy"], hurt["accuracy"] + 0.2)

    def test_an_operation_that_is_not_deterministic_is_named(self):
        told = self.train(model="odd", model_source=ODD_MODEL, side=8, epochs=1)
        with self.subTest(version=torch.__version__):
            if torch_is_at_least(1, 9):  # older versions do not know this one
                self.assertIn("put_", told["manifest"]["nondeterministic_operations"])
        again = self.train(model="odd", model_source=ODD_MODEL, side=8, epochs=1)
        self.assertEqual(told["epochs"], again["epochs"])

    def test_vgg_x_trains_deterministically(self):
        job = dict(model="vgg-x", side=16, train=16, test=10, batch_size=8, epochs=1)
        first, second = self.train(**job), self.train(**job)
        self.assertEqual(first["epochs"], second["epochs"])


if __name__ == "__main__":
    unittest.main()
