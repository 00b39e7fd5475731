"""Imports PyTorch, trains one step, saves, scripts, and says which PyTorch it was (as JSON, last).

Exit status 10: it cannot be imported. 11: it cannot train, save or script. 12: the planted fault
cannot be used.
"""

import io
import json
import os
import sys
import traceback


def stop(status):
    traceback.print_exc()
    sys.stderr.flush()
    # Some builds of PyTorch abort at exit once backward() has run; what counts is decided here.
    os._exit(status)


try:
    import torch
except BaseException:
    stop(10)

# The image holds a PyTorch of its own: an artifact that brings one must be what was imported.
if os.path.isdir("/artifact/site/torch") and not torch.__file__.startswith("/artifact/site/"):
    print("imported {} instead of the artifact".format(torch.__file__))
    sys.stdout.flush()
    os._exit(10)

FAULT = "/artifact/fault.py"
fault = None
if os.path.exists(FAULT):
    try:
        scope = {"__name__": "reproduceml_fault", "__file__": FAULT}
        with open(FAULT, "rb") as file:
            exec(compile(file.read(), FAULT, "exec"), scope)
        scope["apply"](torch)
        fault = True
    except BaseException:
        stop(12)

try:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(),
                                torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    x, y = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 1, 0])
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    torch.save(model.state_dict(), io.BytesIO())
    # Two things keep PyTorch of that time from scripting here and say nothing of the artifact:
    # Debian 11 made its own package with a pybind11 that is too new, and before 1.7 PyTorch cannot
    # read the syntax trees of Python 3.9. Anything else is a broken build.
    scripting = True
    try:
        torch.jit.script(model)(x)
    except TypeError:
        if not os.path.exists("/artifact/release.json"):
            raise
        scripting = False
    except torch.jit.frontend.NotSupportedError:
        if sys.version_info < (3, 9):
            raise
        scripting = False
except BaseException:
    stop(11)

print(json.dumps({
    "framework": "pytorch",
    "version": torch.__version__,
    "commit": getattr(torch.version, "git_version", None),
    "location": os.path.dirname(torch.__file__),
    "python": sys.version.split()[0],
    "fault": fault,
    "scripting": scripting,
}))
sys.stdout.flush()
os._exit(0)
