"""What several tests need: a built tinynn, and a training in a process of its own."""

import atexit
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = os.path.dirname(HERE)
REPOSITORY = os.path.dirname(os.path.dirname(CLIENT))
FIXTURE = os.path.join(REPOSITORY, "tests", "fixtures", "tinynn")
if CLIENT not in sys.path:
    sys.path.insert(0, CLIENT)

NO_COMPILER = [tool for tool in ("make", "cc") if shutil.which(tool) is None]
_site = []


def has(module):
    """Whether a module can be imported (and so is looked at no further when it is absent)."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def tinynn_site():
    """The folder that holds a freshly built tinynn."""
    if not _site:
        folder = tempfile.mkdtemp(prefix="tinynn-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        subprocess.check_output(
            ["make", "install", "OUT=" + os.path.join(folder, "build"),
             "DESTDIR=" + os.path.join(folder, "stage")],
            cwd=os.path.join(FIXTURE, "source"), stderr=subprocess.STDOUT)
        _site.append(os.path.join(folder, "stage", "site"))
    return _site[0]


_PROGRAM = """
import json, sys
sys.path[:0] = {paths!r}
import fake
from reproduceml_client import trace, train
session = fake.Session(**json.loads(sys.argv[1]))
try:
    train.Run(session, {folder!r}).execute()
except trace.Done:
    print(json.dumps({{"epochs": session.epochs, "timings": session.timings}}), flush=True)
else:
    print(json.dumps({{"epochs": session.epochs, "accuracy": session.accuracy("test"),
                       "predicted": session.predicted["test"][:20],
                       "manifest": session.told_manifest}}), flush=True)
"""


def train_in_a_process(site=None, folder=None, environment=None, **job):
    """Trains with the fake session in a process of its own; what the session was told."""
    from reproduceml_client import controls
    program = _PROGRAM.format(paths=[path for path in (site, CLIENT, HERE) if path],
                              folder=folder)
    command = [sys.executable, "-B", "-c", program, json.dumps(job)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=controls.prepared_environment(dict(os.environ,
                                                                 **(environment or {}))))
    # PyTorch 1.7 under Python 3.9 aborts at exit after a backward pass; all was told by then.
    if done.returncode not in (0, -signal.SIGABRT) or not done.stdout.endswith(b"}\n"):
        raise AssertionError("status %d\n%s" % (done.returncode, done.stderr.decode()))
    return json.loads(done.stdout.decode())
