"""What is recorded while a workload runs, for each framework.

A tracer has the name of the framework's package, `python` (a context in which Python functions
are recorded), `start(package)`, `stop()` and `result()`.
"""

import ast
import builtins
import ctypes
import os
import sys

from . import kernels


class PythonCalls:
    """Which Python functions of a package ran, and which built-in functions were called.

    Only this thread is watched: functions that an engine calls from threads of its own are not
    seen, which is said in the trace.
    """

    def __init__(self):
        self.codes = set()
        self.builtins = set()
        self._read = {}

    def __enter__(self):
        sys.setprofile(self._event)
        return self

    def __exit__(self, *exception):
        sys.setprofile(None)

    def _event(self, frame, event, argument):
        if event == "call":
            self.codes.add(frame.f_code)
        elif event == "c_call":
            owner = getattr(argument, "__self__", None)
            if type(owner).__name__ == "module":
                home = owner.__name__
            elif type(owner).__name__ == "PyCapsule":
                home = getattr(argument, "__module__", None)
            else:
                kind = owner if isinstance(owner, type) else type(owner)
                home = kind.__module__
                if home == "builtins" and not hasattr(builtins, kind.__name__):
                    home = None  # a type of an extension that does not say where it belongs
            self.builtins.add((str(home).split(".")[0], argument.__name__))

    def functions(self, package):
        """{file below the package's parent: qualified names}, of executed and of all functions."""
        if package not in self._read:
            self._read[package] = self._functions_of(package)
        starts, known = self._read[package]
        executed = {}
        for code in self.codes:
            short, names = starts.get(os.path.abspath(code.co_filename), (None, {}))
            qualified = names.get((code.co_firstlineno, code.co_name))
            if qualified is not None:
                executed.setdefault(short, set()).add(qualified)
        return {short: sorted(names) for short, names in executed.items()}, known

    @staticmethod
    def _functions_of(package):
        """Each file's functions by place, and all of them by file."""
        root = os.path.dirname(os.path.abspath(package.__file__))
        parent = os.path.dirname(root)
        starts, known = {}, {}
        for folder, _, names in os.walk(root):
            for name in sorted(names):
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    short = os.path.relpath(path, parent).replace(os.sep, "/")
                    starts[path] = short, qualified_names(path)
                    if starts[path][1]:
                        known[short] = sorted(set(starts[path][1].values()))
        return starts, known


def qualified_names(path):
    """{(first line, name): qualified name} of every function of a file."""
    with open(path, "rb") as file:
        source = file.read()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    found = {}

    def walk(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([child.lineno] + [d.lineno for d in child.decorator_list])
                name = prefix + child.name
                # Versions of Python differ in whether decorators count as the first line.
                found[first, child.name] = found[child.lineno, child.name] = name
                walk(child, name + ".")
            elif isinstance(child, ast.ClassDef):
                walk(child, prefix + child.name + ".")
            else:
                walk(child, prefix)

    walk(tree, "")
    return found


def imported_files(package):
    """Files of the package's modules that were imported, below the package's parent."""
    parent = os.path.dirname(os.path.dirname(os.path.abspath(package.__file__)))
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py"):
            short = os.path.relpath(os.path.abspath(path), parent).replace(os.sep, "/")
            if not short.startswith(".."):
                found.add(short)
    name = package.__name__ + "/"
    return sorted(short for short in found if short.startswith(name))


def built_in_names(package):
    """The names of built-in functions and methods in the package's extension modules."""
    found = set()
    for name, module in list(sys.modules.items()):
        inside = name == package.__name__ or name.startswith(package.__name__ + ".")
        file = getattr(module, "__file__", None)
        if not inside or not (file is None or str(file).endswith(".so")):
            continue
        for attribute, value in list(vars(module).items()):
            found.add(attribute)
            if isinstance(value, type):
                found.update(vars(value))
    return sorted(name for name in found if not name.startswith("__"))


class Tracer:
    """The part that is the same for every framework."""

    package = ""

    def __init__(self, device):
        self.device = device
        self.python = PythonCalls()
        self.module = None

    def start(self, package):
        """Begins to record; called again, does nothing."""
        if self.module is None:
            self.module = package
            self.begin()

    def begin(self):
        """Begins to record what the framework itself knows."""

    def stop(self):
        """Ends it."""

    def renew(self):
        """Forgets what was recorded; `start` begins anew."""
        self.python.codes.clear()
        self.python.builtins.clear()
        self.module = None

    def result(self):
        """The recorded part of the trace."""
        executed, known = self.python.functions(self.module)
        operators, nodes, dispatched, complete, all_operators = self.recorded()
        return {
            "version": str(getattr(self.module, "__version__", "unknown")),
            "operators": sorted(operators), "nodes": sorted(nodes), "kernels": sorted(dispatched),
            "complete": complete, "functions": executed,
            "builtins": sorted({name for home, name in self.python.builtins
                                if home.lstrip("_") == self.package or home == "None"}),
            "modules": imported_files(self.module),
            "known": {"operators": sorted(all_operators), "functions": known,
                      "builtins": built_in_names(self.module),
                      "kernels": sorted(self.known_kernels())},
        }

    def known_kernels(self):
        """The kernels that the framework's libraries bring, by their own names."""
        return set()

    def recorded(self):
        """(operators, autograd nodes, kernels, whether nothing is missing, known operators)."""
        raise NotImplementedError


EVALUATE = "autograd::engine::evaluate_function: "


class PyTorch(Tracer):
    """The autograd profiler hears every operator that goes through the dispatcher, and since 1.8
    the kernels that a GPU ran.

    Before 1.7 it heard those alone that are called with gradients in mind; such a trace says
    that it is not complete. The profiler then also had no `aten::` before the names.
    """

    package = "torch"

    def begin(self):
        torch = self.module
        self._walked = set()
        self._backward = torch.Tensor.backward
        seen = self._walked

        def backward(tensor, *arguments, **options):
            waiting = [tensor.grad_fn]
            visited = set()
            while waiting:
                node = waiting.pop()
                if node is None or node in visited:
                    continue
                visited.add(node)
                seen.add(node.name())
                waiting += [following for following, _ in node.next_functions]
            return original(tensor, *arguments, **options)

        original = self._backward
        torch.Tensor.backward = backward
        profile = torch.autograd.profiler.profile
        self._profile = profile(**kernels.options(profile, self.device))
        self._profile.__enter__()

    def stop(self):
        self._profile.__exit__(None, None, None)
        self.module.Tensor.backward = self._backward

    def recorded(self):
        operators, nodes = set(), set(self._walked)
        events = self._profile.function_events
        prefixed = any(event.name.startswith("aten::") for event in events)
        for event in events:
            name = event.name
            if name.startswith(EVALUATE):
                nodes.add(name[len(EVALUATE):])
            elif "::" not in name and "Backward" in name:
                nodes.add(name)
            elif "::" in name:
                operators.add(name)
            elif not prefixed:
                operators.add("aten::" + name)
        schemas = getattr(self.module._C, "_jit_get_all_schemas", None)
        known = {schema.name for schema in schemas()} if schemas is not None else set()
        heard = kernels.dispatched(events) if self.device == "cuda" else set()
        return operators, nodes, heard, prefixed and bool(known), known

    def known_kernels(self):
        return kernels.known(self.module) if self.device == "cuda" else set()


class TinyNN(Tracer):
    """Every C function that Python calls is an operator."""

    package = "tinynn"

    def __init__(self, device):
        Tracer.__init__(self, device)
        called, known = set(), set()
        self._called, self._known, self._running = called, known, []
        running = self._running

        class Recording:
            """A function of the library that tells when it is called."""

            def __init__(self, name, function):
                self.__dict__.update(name=name, function=function)
                known.add(name)

            def __call__(self, *arguments):
                if running:
                    called.add(self.name)
                return self.function(*arguments)

            def __setattr__(self, name, value):
                setattr(self.function, name, value)

            def __getattr__(self, name):
                return getattr(self.function, name)

        plain = ctypes.CDLL

        class Library(plain):
            """A library whose functions are recorded."""

            def __getattr__(self, name):
                found = plain.__getattr__(self, name)
                if name.startswith("__"):
                    return found
                setattr(self, name, Recording(name, found))
                return self.__dict__[name]

        # Functions are looked up when the package is imported, so this must come before.
        ctypes.CDLL = Library

    def begin(self):
        self._running.append(True)

    def stop(self):
        del self._running[:]

    def renew(self):
        Tracer.renew(self)
        self._called.clear()

    def recorded(self):
        return self._called, set(), set(), True, self._known


TRACERS = {"pytorch": PyTorch, "tinynn": TinyNN}
