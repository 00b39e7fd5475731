"""The third framework of docs/guide/frameworks.md, taken from the page as it stands, is one."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import tools
from reproduceml_client import controls

PAGE = os.path.join(tools.REPOSITORY, "docs", "guide", "frameworks.md")

# The library itself: not the client's, and so not on the page.
TALLY = '''
import array, math, random

VERSION = "0.1"
_generator = random.Random(0)

def seed(number):
    _generator.seed(number)

class Linear:
    def __init__(self, inputs, classes):
        self.weights = [array.array("f", [0.0] * inputs) for _ in range(classes)]

    def draw(self, bound):
        for row in self.weights:
            for n in range(len(row)):
                row[n] = _generator.uniform(-bound, bound)

    def log_probabilities(self, row):
        scores = [sum(w * x for w, x in zip(weights, row)) for weights in self.weights]
        most = max(scores)
        total = most + math.log(sum(math.exp(score - most) for score in scores))
        return [score - total for score in scores]

    def step(self, rows, labels, rate):
        loss, changes = 0.0, []
        for row, label in zip(rows, labels):
            logs = self.log_probabilities(row)
            loss -= logs[label]
            changes.append([(n == label) - math.exp(log) for n, log in enumerate(logs)])
        for row, change in zip(rows, changes):
            for weights, amount in zip(self.weights, change):
                amount *= rate / len(rows)
                for n, x in enumerate(row):
                    weights[n] += amount * x
        return loss / len(rows)
'''

TRAIN = """
import json, sys
import fake
from reproduceml_client import frameworks, train
job = json.loads(sys.argv[1])
session = fake.Session(framework="tally", model="linear", **job)
train.Run(session).execute()
print(json.dumps({"names": frameworks.names(), "epochs": session.epochs,
                  "accuracy": session.accuracy("test"), "manifest": session.told_manifest}))
"""


def blocks(page):
    """The page's Python by the file that each block's first line names."""
    with open(page, encoding="utf-8") as file:
        found = re.findall(r"```python\n# (\S+)\n(.*?)```", file.read(), re.DOTALL)
    return dict(found)


class ThirdFramework(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="third-framework-")
        self.addCleanup(shutil.rmtree, self.folder)
        client = os.path.join(self.folder, "reproduceml_client")
        shutil.copytree(os.path.join(tools.CLIENT, "reproduceml_client"), client)
        written = blocks(PAGE)
        self.assertEqual(sorted(written), ["frameworks/tally.py", "models/tally/__init__.py",
                                           "models/tally/linear.py"])
        for name, source in written.items():
            path = os.path.join(client, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(source)
        with open(os.path.join(self.folder, "tally.py"), "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(TALLY))

    def train(self, **job):
        path = os.pathsep.join([self.folder, tools.HERE])
        environment = dict(controls.prepared_environment(os.environ), PYTHONPATH=path)
        return subprocess.run([sys.executable, "-B", "-c", TRAIN, json.dumps(job)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    def trained(self, **job):
        done = self.train(**dict({"momentum": 0.0, "epochs": 3, "learning_rate": 0.05}, **job))
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return json.loads(done.stdout.decode())

    def test_it_trains_as_the_page_says(self):
        first, second, other = (self.trained(seed=seed) for seed in (4, 4, 5))
        self.assertEqual(first["names"], ["pytorch", "tally", "tinynn"])
        self.assertEqual(first["epochs"], second["epochs"])
        self.assertNotEqual(first["epochs"][0][2], other["epochs"][0][2])
        losses = [epoch[1] for epoch in first["epochs"][1:]]
        self.assertEqual(sorted(losses, reverse=True), losses)
        self.assertGreater(first["accuracy"], 0.2)
        self.assertEqual(first["manifest"]["artifact"]["framework"],
                         {"name": "tally", "version": "0.1"})
        names = [control["name"] for control in first["manifest"]["controls"]]
        self.assertIn("seed tally", names)

    def test_it_refuses_what_it_cannot_do(self):
        done = self.train(momentum=0.5)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"without momentum", done.stderr)


if __name__ == "__main__":
    unittest.main()
