"""A session in memory, and a challenge for it, so that tests need no server."""

import array
import hashlib
import random
import struct


class Array:
    """As a session hands them out."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, tuple(shape), bytearray(data)
        self.sha256 = hashlib.sha256(data).hexdigest()


def stripes(count, side, seed):
    """Images of ten kinds of stripes under noise, much as the server's `synthetic`."""
    generator = random.Random(seed)
    kinds = [(26, 0), (21, 15), (8, 25), (-8, 25), (-21, 15),
             (46, 0), (37, 27), (14, 44), (-14, 44), (-37, 27)]
    noise = [generator.gauss(0.0, 35.0) for _ in range(50021)]
    pixels, labels = array.array("f"), array.array("q")
    for _ in range(count):
        label, phase = generator.randrange(10), generator.randrange(255)
        along_x, along_y = kinds[label]
        column = side * (2 * (label % 5) + 1) // 10 + generator.randrange(5) - 2
        row = side * (4 * (label // 5) + 3) // 10 + generator.randrange(5) - 2
        first = generator.randrange(50021 - side * side)
        for y in range(side):
            for x in range(side):
                wave = (x * along_x + y * along_y + phase) % 256
                grey = 128 + (wave - 64 if wave < 128 else 192 - wave) * 40 / 64
                if max(abs(x - column), abs(y - row)) <= 2:
                    grey += 30
                grey = min(max(grey + noise[first + y * side + x], 0.0), 255.0)
                pixels.append((grey - 128.0) / 64.0)
        labels.append(label)
    return pixels.tobytes(), labels.tobytes()


def permutation(count, seed):
    """The bytes of a permutation of 0..count."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return array.array("I", order).tobytes()


class Session:
    """Hands out one job and keeps what it is told."""

    def __init__(self, train=200, test=100, side=8, seed=1, validation=0, **job):
        self.job = {
            "experiment": "test", "run": 0, "framework": "tinynn", "model": "mlp",
            "model_source": None, "model_class": None,
            "challenge": {"name": "synthetic", "shape": [1, side, side], "classes": 10},
            "splits": ["train"] + ["validation"] * (validation > 0) + ["test"],
            "epochs": 2, "batch_size": 64, "drop_last": False, "learning_rate": 0.05,
            "momentum": 0.5, "order": "fixed", "device": "cpu", "trace": False, "seed": seed,
            "fault": False,
        }
        self.job.update(job)
        self._arrays = {}
        self.targets = {}
        for split, count, data_seed in (("train", train, 11), ("validation", validation, 12),
                                        ("test", test, 13)):
            x, y = stripes(count, side, data_seed)
            self._arrays[split + "/x"] = Array("f4", (count, 1, side, side), x)
            self._arrays[split + "/y"] = Array("i8", (count,), y)
            self.targets[split] = array.array("q", y)
        for epoch in range(1, self.job["epochs"] + 1):
            order_seed = 0 if self.job["order"] == "fixed" else epoch
            self._arrays["order/%d" % epoch] = Array(
                "u4", (train,), permutation(train, seed * 1000 + order_seed))
        self.asked, self.epochs, self.predicted = [], [], {}
        self.told_manifest = self.timings = self.failure = None

    def seed(self):
        return self.job["seed"]

    def array(self, name):
        self.asked.append(name)
        return self._arrays[name]

    def manifest(self, manifest):
        self.told_manifest = manifest

    def epoch(self, number, loss, parameters_digest, seconds, extra=None):
        self.epochs.append((number, loss, parameters_digest, extra))

    def predictions(self, split, data, shape, dtype="f4"):
        assert dtype == "f4" and len(data) == 4 * shape[0] * shape[1]
        self.predicted[split] = struct.unpack("<%df" % (len(data) // 4), bytes(data))

    def finish(self, timings):
        self.timings = timings

    def fail(self, kind, message, traceback):
        self.failure = (kind, message, traceback)

    def accuracy(self, split):
        """The share of right predictions."""
        scores, targets = self.predicted[split], self.targets[split]
        classes = self.job["challenge"]["classes"]
        right = 0
        for n, target in enumerate(targets):
            row = scores[n * classes:(n + 1) * classes]
            right += row.index(max(row)) == target
        return right / len(targets)
