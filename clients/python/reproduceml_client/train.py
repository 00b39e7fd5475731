"""The training loop, the same for every framework."""

import os
import struct
import time

from . import artifact, controls, digest, frameworks, manifest, models, trace
from .errors import JobError

_NUMBERS = (("epochs", 0), ("batch_size", 1), ("learning_rate", 0), ("momentum", 0))


def check(job):
    """Raises JobError when the job cannot be carried out as it stands."""
    for name, least in _NUMBERS:
        value = job.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
            raise JobError("the job's %s is %r; expected a number from %s" % (name, value, least))
    if job.get("device") not in ("cpu", "cuda"):
        raise JobError("the job's device is %r; expected cpu or cuda" % job.get("device"))
    if "train" not in job["splits"] or "test" not in job["splits"]:
        raise JobError("the job's splits are %s; train and test are needed" % job["splits"])


class Clock:
    """Named spans of time in seconds, one after another."""

    def __init__(self, started):
        self.spans = {}
        self._first = self._last = started

    def lap(self, name):
        """Ends the span `name`; returns its length."""
        now = time.perf_counter()
        span = now - self._last
        self.spans[name] = self.spans.get(name, 0.0) + span
        self._last = now
        return span

    def total(self):
        """All spans, and their sum as `total`."""
        return dict(self.spans, total=self._last - self._first)


class Run:
    """One run: from the job of `session` to results that the server has accepted."""

    def __init__(self, session, artifact_folder=None, site=None, started=None):
        self.session = session
        self.job = session.job
        self.artifact_folder = artifact_folder
        self.site = site
        self.clock = Clock(time.perf_counter() if started is None else started)
        self.arrays = {}
        self.trace = trace.Trace.from_environment(os.environ)
        self.controls = controls.report_environment()

    def execute(self):
        """Does everything. Whatever goes wrong is raised."""
        check(self.job)
        self.seed = self.session.seed()
        self.framework = frameworks.adapter(self.job["framework"], self.job)
        self.framework.trace = self.trace
        module = self.framework.load()
        self.clock.lap("import")
        self.controls += self.framework.set_controls()
        fault = artifact.apply_fault(self.artifact_folder, bool(self.job.get("fault")),
                                     self.job["framework"], module)
        self.controls += self.seed_all()
        model, about_model = models.from_job(self.job)
        challenge = self.job["challenge"]
        self.framework.build(model, tuple(challenge["shape"]), challenge["classes"],
                             self.seed_all)
        if not controls.DROPOUT:
            found = self.framework.without_dropout()
            if not found:
                raise JobError("the model has no layer of dropout that could be left out")
            self.controls.append(controls.control("dropout", False, controls.SET,
                                                  "%d layers pass everything on" % found))
        self.clock.lap("build")
        self.fetch_splits()
        self.clock.lap("data")
        self.session.epoch(0, None, self.parameters_digest(), 0.0)
        if self.trace is not None:
            self.trace.initialised(self.framework)
        for number in range(1, self.job["epochs"] + 1):
            self.train_epoch(number)
        for split in ("validation", "test"):
            if split in self.job["splits"]:
                self.session.predictions(split, *self.framework.predict(split))
        self.clock.lap("predict")
        self.session.manifest(manifest.collect(self, about_model, fault))
        self.clock.lap("manifest")
        self.session.finish(self.clock.total())

    def seed_all(self):
        """Seeds every generator there is; a report of controls."""
        return controls.seed_python(self.seed) + self.framework.seed(self.seed)

    def array(self, name):
        """An array of the server's; its digest, which the session computed of the bytes it has,
        goes into the manifest, in order of use."""
        array = self.session.array(name)
        self.arrays[name] = {"dtype": array.dtype, "shape": list(array.shape),
                             "sha256": array.sha256}
        return array

    def fetch_splits(self):
        """Hands the framework all splits, and the targets of the training samples alone."""
        for split in ("train", "validation", "test"):
            if split not in self.job["splits"]:
                continue
            x = self.array(split + "/x")
            expected = tuple(self.job["challenge"]["shape"])
            if x.dtype != "f4" or tuple(x.shape[1:]) != expected:
                raise JobError("%s/x has dtype %s and shape %s; expected f4 and (N, %s)" % (
                    split, x.dtype, tuple(x.shape), ", ".join(map(str, expected))))
            y = self.array("train/y") if split == "train" else None
            self.framework.add_split(split, x, y)
            if split == "train":
                self.samples = x.shape[0]

    def batches(self):
        """The (start, stop) positions of an epoch's batches."""
        size = self.job["batch_size"]
        for start in range(0, self.samples, size):
            stop = min(start + size, self.samples)
            if stop - start == size or not self.job["drop_last"]:
                yield start, stop

    def train_epoch(self, number):
        """Trains one epoch and reports it."""
        order = self.array("order/%d" % number)
        if order.dtype != "u4" or tuple(order.shape) != (self.samples,):
            raise JobError("order/%d has dtype %s and shape %s; expected u4 and (%d,)"
                           % (number, order.dtype, tuple(order.shape), self.samples))
        batches = list(self.batches())
        if not batches:
            raise JobError("%d samples make no full batch of %d, and the last one is dropped"
                           % (self.samples, self.job["batch_size"]))
        self.clock.lap("data")
        self.framework.begin_epoch(order)
        traced = []
        for index, (start, stop) in enumerate(batches):
            if self.trace is None:
                loss = self.framework.train_batch(start, stop)
            else:
                loss = self.trace.step(self.framework, number, index,
                                       lambda: self.framework.train_batch(start, stop))
            if self.job.get("trace"):
                traced.append({"batch": index, "loss_bits": bits(loss),
                               "parameters": self.parameters_digest()})
        loss = self.framework.end_epoch()
        seconds = self.clock.lap("train")
        extra = {"batches": traced} if traced else None
        self.session.epoch(number, loss, self.parameters_digest(), seconds, extra)
        self.clock.lap("report")

    def parameters_digest(self):
        """The digest of all parameters as they are now."""
        return digest.of_parameters(self.framework.parameters())


def bits(value):
    """A float64 by its bits: 16 hexadecimal digits, most significant first."""
    return struct.pack(">d", value).hex()
