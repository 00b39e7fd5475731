"""Traces small modules one by one: `python3 -m reproduceml_client.modules LIST`.

Each line of LIST is something that can be called, then its inputs, with `|` between them:

    torch.nn.AvgPool3d(2) | 2,3,8,8,8
    lambda x, y: torch.cdist(x, y) | 4,3 | 5,3

An input is the shape of random numbers; `int N` before it makes them whole numbers below N, `plain`
numbers that nothing is differentiated by. What comes out is followed backward. What fails, for
instance since the framework was built without a library, is kept as far as it came. Printed, as JSON with a module a line, is what each one executed, in
the words of `reproduceml_client.operators`. By this `reproduceml reach --suggest` names the modules
that execute a changed operator.

REPRODUCEML_ARTIFACT names the artifact, as for a run; without it the installed framework is traced.
"""

import argparse
import importlib
import json
import os
import sys

from . import artifact, controls, tracers

FORMAT = "reproduceml-modules/1"
RECORDED = ("operators", "nodes", "builtins", "functions")


def read_list(text):
    """[(line, call, inputs)] of a list's lines."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            call, *inputs = [part.strip() for part in line.split("|")]
            found.append((number, call, inputs))
    return found


class PyTorch:
    """How modules of PyTorch are called."""

    def __init__(self, torch):
        self.torch = torch
        torch.manual_seed(1)
        self.scope = {"torch": torch, "functional": torch.nn.functional}

    def tensor(self, text):
        words = text.split()
        shape = [int(extent) for extent in words[-1].split(",")]
        if words[0] == "int":
            return self.torch.randint(int(words[1]), shape)
        numbers = self.torch.rand(shape) * 0.8 + 0.1
        return numbers if words[0] == "plain" else numbers.requires_grad_()

    def tensors_in(self, value):
        if isinstance(value, self.torch.Tensor):
            return [value]
        if isinstance(value, (tuple, list)):
            return [tensor for part in value for tensor in self.tensors_in(part)]
        return []

    def run(self, callee, inputs):
        for tensor in self.tensors_in(callee(*inputs)):
            if tensor.requires_grad:
                tensor.backward(self.torch.ones_like(tensor), retain_graph=True)


class TinyNN:
    """How modules of tinynn are called."""

    def __init__(self, tinynn):
        self.tinynn = tinynn
        self.scope = {"tinynn": tinynn}
        for name in ("nn", "optim", "schedule"):
            self.scope[name] = importlib.import_module("tinynn." + name)

    def tensor(self, text):
        shape = tuple(int(extent) for extent in text.split(","))
        return self.tinynn.Generator(1).uniform(shape, 0.1, 0.9)

    def run(self, callee, inputs):
        found = callee(*inputs)
        if hasattr(callee, "backward") and hasattr(found, "shape"):
            callee.backward(self.tinynn.Tensor.from_list([1.0] * len(found), found.shape))


FRAMEWORKS = {"pytorch": PyTorch, "tinynn": TinyNN}


def trace(options, text):
    """What each line of a list executes."""
    artifact.use_site(os.environ.get("REPRODUCEML_ARTIFACT"))
    tracer = tracers.TRACERS[options.framework](options.device)
    package = importlib.import_module(tracer.package)
    framework = FRAMEWORKS[options.framework](package)
    modules, complete, version = [], True, "unknown"
    for number, call, shapes in read_list(text):
        tracer.renew()
        inputs = [framework.tensor(shape) for shape in shapes]
        module = {"call": call, "inputs": shapes}
        tracer.start(package)
        try:
            with tracer.python:
                callee = eval(call, dict(framework.scope))  # our own list, read by who runs it
                framework.run(callee, inputs)
        except Exception as error:
            # What ran until then ran.
            module["stopped"] = (str(error).splitlines() or [repr(error)])[0]
            sys.stderr.write("reproduceml: line %d: %s: %s\n" % (number, call, module["stopped"]))
        tracer.stop()
        found = tracer.result()
        complete, version = found["complete"], found["version"]
        module.update((part, found[part]) for part in RECORDED)
        modules.append(module)
    return {"format": FORMAT, "framework": options.framework, "version": version,
            "device": options.device, "complete": complete}, modules


def main(arguments):
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m reproduceml_client.modules",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("list", help="the modules, one a line")
    parser.add_argument("--framework", default="pytorch", choices=sorted(FRAMEWORKS))
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--out", help="the file to write; else standard output")
    options = parser.parse_args(arguments)
    if os.environ.get(controls.MARK) != "1":
        os.execve(sys.executable, [sys.executable, "-B", "-m", "reproduceml_client.modules"]
                  + list(arguments), controls.prepared_environment(os.environ))
    with open(options.list, encoding="utf-8") as file:
        head, modules = trace(options, file.read())
    text = json.dumps(head, sort_keys=True)[:-1] + ', "modules": [\n'
    text += ",\n".join(json.dumps(module, sort_keys=True) for module in modules) + "\n]}\n"
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
    sys.stdout.flush()
    os._exit(0)  # As after a trace: PyTorch 1.7 under Python 3.9 aborts at exit.


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
