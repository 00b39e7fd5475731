"""One epoch without a server, watched: `python3 -m reproduceml_client.watch`.

The environment says what to do:

    REPRODUCEML_JOB        folder with job.json, arrays.json and the arrays' bytes
    REPRODUCEML_ARTIFACT   the artifact, as for a run
    REPRODUCEML_WATCH      JSON: {"lines": {file of the package: [first, last, ...]},
                           "coverage": whether the artifact counts lines of compiled code,
                           "digests": whether parameters are digested batch by batch}

Prints one line of JSON: digests and losses by batch, executed lines of Python, and the counts of
compiled code as the compiler's own files.
"""

import base64
import ctypes
import json
import os
import subprocess
import sys

from . import artifact, controls, digest, loaded
from .errors import JobError
from .operators import Array

ONLY_LINES = "REPRODUCEML_WATCHED"


class Folder:
    """A session whose job and arrays lie in a folder."""

    def __init__(self, folder):
        self._folder = folder
        self.job = self._json("job.json")
        self._headers = self._json("arrays.json")

    def _json(self, name):
        with open(os.path.join(self._folder, name), encoding="utf-8") as file:
            return json.load(file)

    def seed(self):
        return self.job["seed"]

    def array(self, name):
        header = self._headers[name]
        with open(os.path.join(self._folder, name.replace("/", "-")), "rb") as file:
            data = file.read()
        if digest.of_bytes(data) != header["sha256"]:
            raise JobError("%s differs from its digest" % name)
        return Array(header["dtype"], header["shape"], data)

    def manifest(self, manifest):
        pass

    def epoch(self, *arguments, **options):
        pass

    def predictions(self, *arguments, **options):
        pass

    def finish(self, timings):
        pass


class Lines:
    """Which lines of some files run, and which could."""

    TOOL = 3  # of sys.monitoring; none of those that debuggers and profilers reserve

    def __init__(self, files):
        self._monitoring = getattr(sys, "monitoring", None)  # Python 3.12 and newer
        self._names = {}
        self._wanted = files
        self.executed = {name: set() for name in files}

    def name_of(self, path):
        """The wanted file that `path` is, or None."""
        if path not in self._names:
            short = path.replace(os.sep, "/")
            found = [name for name in self._wanted if short == name or short.endswith("/" + name)]
            self._names[path] = found[0] if found else None
        return self._names[path]

    def __enter__(self):
        if not self._wanted:
            return self
        monitoring = self._monitoring
        if monitoring is None:
            sys.settrace(self._call)
            return self
        monitoring.use_tool_id(self.TOOL, "reproduceml")
        monitoring.register_callback(self.TOOL, monitoring.events.LINE, self._line)
        monitoring.set_events(self.TOOL, monitoring.events.LINE)
        return self

    def __exit__(self, *exception):
        if not self._wanted:
            return
        monitoring = self._monitoring
        if monitoring is None:
            sys.settrace(None)
        else:
            monitoring.set_events(self.TOOL, 0)
            monitoring.free_tool_id(self.TOOL)

    def _line(self, code, line):
        name = self.name_of(code.co_filename)
        if name is not None:
            self.executed[name].add(line)
        return self._monitoring.DISABLE  # once is enough

    def _call(self, frame, event, argument):
        name = self.name_of(frame.f_code.co_filename)
        if name is None:
            return None
        seen = self.executed[name]
        seen.add(frame.f_lineno)

        def line(frame, event, argument):
            seen.add(frame.f_lineno)
            return line

        return line

    def possible(self, root):
        """{file: the lines on which something can run}, of the wanted files below `root`."""
        found = {}
        for name in self._wanted:
            path = os.path.join(root, *name.split("/"))
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                waiting = [compile(file.read(), path, "exec")]
            lines = set()
            while waiting:
                code = waiting.pop()
                lines.update(line for _, line in _starts(code) if line)
                waiting += [c for c in code.co_consts if isinstance(c, type(code))]
            found[name] = sorted(lines)
        return found


def _starts(code):
    import dis
    return dis.findlinestarts(code)


def epoch(watch):
    """Trains the job's epoch; what was seen."""
    from . import train
    folder = os.environ.get("REPRODUCEML_ARTIFACT")
    session = Folder(os.environ["REPRODUCEML_JOB"])
    session.job["epochs"] = 1
    site = artifact.use_site(folder)
    seen = {"initial": None, "batches": []}

    class Watched(train.Run):
        """A run that keeps the digest of its parameters after each batch."""

        def train_epoch(self, number):
            if watch.get("digests"):
                seen["initial"] = self.parameters_digest()
                step = self.framework.train_batch

                def watched(start, stop):
                    loss = step(start, stop)
                    seen["batches"].append([self.parameters_digest(),
                                            None if loss is None else float(loss)])
                    return loss

                self.framework.train_batch = watched
            train.Run.train_epoch(self, number)

    session.job["trace"] = True
    run = Watched(session, folder, site)
    with Lines(watch.get("lines") or {}) as lines:
        run.execute()
    module = sys.modules[{"pytorch": "torch"}.get(session.job["framework"],
                                                  session.job["framework"])]
    root = os.path.dirname(os.path.dirname(os.path.abspath(module.__file__)))
    seen["lines"] = {name: sorted(found) for name, found in lines.executed.items()}
    seen["possible"] = lines.possible(root)
    return seen


def dump_counts():
    """Has each loaded library that counts lines write its counts; how many did.

    They would be written at the process's end, but PyTorch of 2020 under Python 3.9 aborts there.
    A library counts for itself: what writes is hidden in it, and the build gave it a way in.
    """
    told = 0
    for path in loaded.paths():
        try:
            dump = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY).reproduceml_dump_counts
        except (OSError, AttributeError):
            continue
        dump.restype = None
        dump()
        told += 1
    return told


def counted(arguments):
    """The epoch in a process of its own, which writes the counts; what was seen and they."""
    prefix = os.path.join(os.environ.get("TMPDIR", "/tmp"), "reproduceml-counts")
    environment = dict(os.environ, GCOV_PREFIX=prefix, **{ONLY_LINES: "1"})
    done = subprocess.run([sys.executable, "-B", "-m", "reproduceml_client.watch"] + arguments,
                          env=environment, stdout=subprocess.PIPE)
    lines = done.stdout.decode().strip().splitlines()
    if not lines:
        sys.stderr.write("reproduceml: the epoch ended with status %d\n" % done.returncode)
        return None
    seen = json.loads(lines[-1])
    seen["counts"] = {}
    for parent, _, names in os.walk(prefix):
        for name in names:
            if name.endswith(".gcda"):
                path = os.path.join(parent, name)
                with open(path, "rb") as file:
                    seen["counts"]["/" + os.path.relpath(path, prefix)] = \
                        base64.b64encode(file.read()).decode()
    return seen


def main(arguments):
    """The exit status."""
    if controls.restart_needed(os.environ):
        os.execve(sys.executable, [sys.executable, "-B", "-m", "reproduceml_client.watch"]
                  + arguments, controls.prepared_environment(os.environ))
    watch = json.loads(os.environ.get("REPRODUCEML_WATCH") or "{}")
    dumped = None
    try:
        if watch.get("coverage") and ONLY_LINES not in os.environ:
            seen = counted(arguments)
        else:
            seen = epoch(watch)
            dumped = dump_counts() if watch.get("coverage") else None
    except (JobError, OSError, ValueError, KeyError) as error:
        sys.stderr.write("reproduceml: %s\n" % error)
        return 2
    if seen is None:
        return 1
    sys.stdout.write(json.dumps(seen, sort_keys=True) + "\n")
    sys.stdout.flush()
    if dumped != 0:
        # PyTorch 1.7 under Python 3.9 aborts at exit after a backward pass; all is told by now.
        os._exit(0)
    return 0  # A library that cannot be asked writes its counts at the end.


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
