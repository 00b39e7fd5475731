"""Traces one short epoch: `python3 -m reproduceml_client.operators --model vgg-x ...`.

Needs no server: the data are made here, in the shape of the challenge. What is printed, as one
line of JSON, is everything by which `reproduceml reach` tells whether a workload executes a
function of the framework: operators and autograd nodes, Python functions, built-in functions,
and, so that a name of another version is never mistaken for one that was not executed, which
operators and functions this version knows.

REPRODUCEML_ARTIFACT names the artifact, as for a run; without it the installed framework is traced.
"""

import argparse
import array
import hashlib
import json
import os
import random
import sys

from . import artifact, controls, tracers
from .errors import JobError

FORMAT = "reproduceml-trace/1"


class Array:
    """An array as a session hands it out."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, tuple(shape), bytearray(data)
        self.sha256 = hashlib.sha256(data).hexdigest()


class Offline:
    """A session without a server: made-up data, and nobody who listens."""

    def __init__(self, job, samples, tests):
        self.job = job
        self.attempt = 1
        self._counts = {"train": samples, "test": tests}
        self._random = random.Random(20200728)

    def seed(self):
        return self.job["seed"]

    def array(self, name):
        """The array `name`, of the protocol's dtype and shape."""
        kind, _, part = name.partition("/")
        if kind == "order":
            order = array.array("I", range(self._counts["train"]))
            return Array("u4", (len(order),), order.tobytes())
        count = self._counts[kind]
        if part == "y":
            classes = self.job["challenge"]["classes"]
            return Array("i8", (count,),
                         array.array("q", (n % classes for n in range(count))).tobytes())
        shape = (count,) + tuple(self.job["challenge"]["shape"])
        size = 1
        for extent in shape:
            size *= extent
        draw = self._random.uniform
        return Array("f4", shape, array.array("f", (draw(-2, 2) for _ in range(size))).tobytes())

    def manifest(self, manifest):
        pass

    def epoch(self, *arguments, **options):
        pass

    def predictions(self, *arguments, **options):
        pass

    def finish(self, timings):
        pass


def traced_run(session, folder, site, tracer):
    """Carries out the session's job under the tracer, from the import to the predictions."""
    from . import train

    class Traced(train.Run):
        """A run that starts the tracer once the framework is there and controlled."""

        def seed_all(self):
            tracer.start(sys.modules[tracer.package])
            return train.Run.seed_all(self)

    run = Traced(session, folder, site)
    with tracer.python:
        run.execute()
    tracer.stop()
    return run


def read_arguments(arguments):
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python3 -m reproduceml_client.operators",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("--framework", default="pytorch", choices=sorted(tracers.TRACERS))
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-file", help="a study's own model")
    parser.add_argument("--model-class", help="its class")
    parser.add_argument("--challenge", default="", help="the challenge's name, for the record")
    parser.add_argument("--shape", default="3,32,32", help="of one sample")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--batches", type=int, default=2, help="of which the last is half full")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", help="the file to write; else standard output")
    return parser.parse_args(arguments)


def job_of(options):
    """The job, as a server would give it."""
    source = None
    if options.model_file:
        with open(options.model_file, encoding="utf-8") as file:
            source = file.read()
    shape = [int(extent) for extent in options.shape.split(",")]
    return {
        "experiment": "trace", "run": 0, "framework": options.framework, "model": options.model,
        "model_source": source, "model_class": options.model_class,
        "challenge": {"name": options.challenge or "made up", "shape": shape,
                      "classes": options.classes},
        "splits": ["train", "test"], "epochs": 1, "batch_size": options.batch_size,
        "drop_last": False, "learning_rate": options.learning_rate,
        "momentum": options.momentum, "order": "fixed", "device": options.device,
        "trace": False, "seed": 1, "fault": False,
    }


def trace(options):
    """The trace, as a dictionary."""
    job = job_of(options)
    folder = os.environ.get("REPRODUCEML_ARTIFACT")
    site = artifact.use_site(folder)
    tracer = tracers.TRACERS[options.framework](options.device)
    samples = max(1, options.batch_size * (options.batches - 1) + (options.batch_size + 1) // 2)
    traced_run(Offline(job, samples, options.batch_size), folder, site, tracer)
    found = {
        "format": FORMAT, "framework": options.framework, "device": options.device,
        "model": options.model, "challenge": options.challenge,
        "shape": job["challenge"]["shape"], "classes": options.classes,
        "batches": options.batches, "python": sys.version.split()[0],
    }
    found.update(tracer.result())
    return found


def main(arguments):
    """The exit status."""
    options = read_arguments(arguments)
    if os.environ.get(controls.MARK) != "1":
        # As a run would be: what an interpreter reads once at its start is in place.
        os.execve(sys.executable, [sys.executable, "-B", "-m", "reproduceml_client.operators"]
                  + list(arguments), controls.prepared_environment(os.environ))
    try:
        text = json.dumps(trace(options), sort_keys=True) + "\n"
    except (JobError, ValueError) as error:
        sys.stderr.write("reproduceml: %s\n" % error)
        return 2
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
    sys.stdout.flush()
    # PyTorch 1.7 under Python 3.9 aborts at exit after a backward pass; all is told by now.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
