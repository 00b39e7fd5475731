"""Traces: the tensors of one moment of a run, written to a folder for `reproduceml diff`.

The environment says where and when:

    REPRODUCEML_TRACE      a folder to write to
    REPRODUCEML_TRACE_AT   the moment: `init`, `epoch E batch B` (E from 1, B from 0) or
                           `SPLIT sample N` (the batch of predictions with this sample)

`index.jsonl` gets one line a tensor, in the order in which they came to be: `stage`,
`name` (a module or a parameter), `dtype`, `shape`, and the `file` with its bytes. The
last line is {"end": true}. The run ends there, without results. Stages:

    input                what the network was given
    output               what a module returned
    loss                 the mean loss of the batch
    output gradient      the loss's gradient by what a module returned
    parameter gradient   the loss's gradient by a parameter, last parameter first
    parameter            a parameter or buffer, after the step
"""

import json
import os
import re

from .errors import JobError


class Done(Exception):
    """The moment was traced; there is nothing more to do."""


class Trace:
    """Waits for its moment, and writes what it is told of it."""

    def __init__(self, folder, moment):
        self._folder = folder
        self._lines = []
        if moment == "init":
            self._at = ("init",)
            return
        batch = re.match(r"epoch (\d+) batch (\d+)$", moment)
        sample = re.match(r"(\w+) sample (\d+)$", moment)
        if batch:
            self._at = ("batch", int(batch.group(1)), int(batch.group(2)))
        elif sample:
            self._at = ("sample", sample.group(1), int(sample.group(2)))
        else:
            raise JobError("REPRODUCEML_TRACE_AT is %r, no moment of a run" % moment)

    @classmethod
    def from_environment(cls, environment):
        """The trace that the environment asks for, or None."""
        folder = environment.get("REPRODUCEML_TRACE")
        return cls(folder, environment.get("REPRODUCEML_TRACE_AT", "")) if folder else None

    def tell(self, stage, name, dtype, shape, data):
        """Takes one tensor: little-endian bytes in C order."""
        file = "%05d.bin" % len(self._lines)
        with open(os.path.join(self._folder, file), "wb") as out:
            out.write(data)
        self._lines.append(json.dumps({"stage": stage, "name": name, "dtype": dtype,
                                       "shape": list(shape), "file": file}))

    def restart(self):
        """Forgets what was told: the step is taken again."""
        self._lines = []

    def initialised(self, framework):
        """The network is built."""
        if self._at == ("init",):
            self._parameters(framework)
            self._end()

    def step(self, framework, epoch, batch, take):
        """Calls `take`, which takes the step of this batch."""
        if self._at != ("batch", epoch, batch):
            return take()
        framework.watch(self.tell)
        try:
            take()
        finally:
            framework.unwatch()
        self._parameters(framework)
        return self._end()

    def prediction(self, framework, split, samples, predict):
        """Calls `predict`, which predicts the range `samples` of a split."""
        if self._at[:2] != ("sample", split) or self._at[2] not in samples:
            return predict()
        framework.watch(self.tell)
        try:
            predict()
        finally:
            framework.unwatch()
        return self._end()

    def _parameters(self, framework):
        for name, dtype, shape, data in framework.parameters():
            self.tell("parameter", name, dtype, shape, data)

    def _end(self):
        with open(os.path.join(self._folder, "index.jsonl"), "w", encoding="utf-8") as file:
            file.write("\n".join(self._lines + [json.dumps({"end": True})]) + "\n")
        raise Done()
