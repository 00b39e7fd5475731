"""PyTorch, from 1.1 to the newest.

Tensors are filled and read through their addresses: that works in every version, with
and without NumPy.
"""

import ctypes
import subprocess
import sys
import warnings

from .. import controls
from ..controls import FAILED, SET, attempt, control
from ..errors import JobError
from ..model import draws_own_weights
from .base import Framework

NO_DETERMINISTIC = "does not have a deterministic implementation"
EVALUATION_BATCH = 256  # the same for every job, so that predictions do not depend on it


class Adapter(Framework):
    """One network, its loss and SGD; all splits lie on the device."""

    name = "pytorch"

    def load(self):
        import torch
        self._torch = torch
        if sys.byteorder != "little":
            raise JobError("the PyTorch layer is written for little-endian machines")
        if self.job["device"] == "cuda" and not torch.cuda.is_available():
            raise JobError("the job asks for device cuda, and this PyTorch finds no GPU")
        self._cuda = self.job["device"] == "cuda"
        self._device = torch.device(self.job["device"])
        self._splits = {}
        self._operations = []
        self._strict = False  # whether an operation may end the run for not being deterministic
        self._names = {torch.float32: "f4", torch.float64: "f8", torch.float16: "f2",
                       torch.int64: "i8", torch.int32: "i4", torch.int16: "i2",
                       torch.int8: "i1", torch.uint8: "u1"}
        if hasattr(torch, "bfloat16"):
            self._names[torch.bfloat16] = "bf2"
        if hasattr(torch, "bool"):
            self._names[torch.bool] = "b1"
        self._types = {name: dtype for dtype, name in self._names.items()}
        return torch

    # Controls

    def set_controls(self):
        torch = self._torch
        backends = torch.backends
        wanted, count = controls.DETERMINISTIC, controls.THREADS
        if wanted:
            report = [self._deterministic_algorithms()]
        else:
            report = [control("deterministic algorithms", False, SET, "left off as asked for")]
        report += [
            _flag("cudnn deterministic", backends.cudnn, "deterministic", wanted),
            _flag("cudnn benchmark", backends.cudnn, "benchmark", not wanted),
            _flag("tf32 in matmul", getattr(getattr(backends, "cuda", None), "matmul", None),
                  "allow_tf32", False),
            _flag("tf32 in cudnn", backends.cudnn, "allow_tf32", False),
            attempt("float32 matmul precision", "highest",
                    lambda: torch.set_float32_matmul_precision("highest"),
                    lambda: torch.get_float32_matmul_precision() == "highest"),
            attempt("threads intra-op", count, lambda: torch.set_num_threads(count),
                    lambda: torch.get_num_threads() == count),
            attempt("threads inter-op", count, lambda: torch.set_num_interop_threads(count),
                    lambda: torch.get_num_interop_threads() == count),
            _flag("fill uninitialised memory",
                  getattr(getattr(torch, "utils", None), "deterministic", None),
                  "fill_uninitialized_memory", wanted),
        ]
        return report

    def _deterministic_algorithms(self):
        """Switches deterministic algorithms on, under the name this version has for them.

        An operation without one is named in the manifest. From 1.11 on it warns; before, it
        is an error, and the switch is given up in the first batch (`_first_batch`).
        """
        torch = self._torch
        name = "deterministic algorithms"
        if hasattr(torch, "use_deterministic_algorithms"):
            try:
                torch.use_deterministic_algorithms(True, warn_only=True)
                self._collect_warnings()
                detail = "use_deterministic_algorithms, warning"
            except TypeError:
                torch.use_deterministic_algorithms(True)
                self._strict = True
                detail = "use_deterministic_algorithms"
            if not torch.are_deterministic_algorithms_enabled():
                return control(name, True, FAILED, "it reads back differently")
            return control(name, True, SET, detail)
        entry = attempt(name, True, lambda: torch.set_deterministic(True),
                        lambda: torch.is_deterministic())
        if entry["status"] == SET:
            entry["detail"] = "set_deterministic"
            self._strict = True
        return entry

    def _first_batch(self, start, stop):
        """The first step, where an error may say that an operation is not deterministic.

        Then deterministic algorithms are switched off, the generators put back to where
        they were, and the step taken again.
        """
        torch = self._torch
        self._strict = False
        states = (torch.get_rng_state(), torch.cuda.get_rng_state() if self._cuda else None)
        try:
            return self._step(start, stop)
        except RuntimeError as error:
            if NO_DETERMINISTIC not in str(error):
                raise
            self._operations.append(str(error).split(" " + NO_DETERMINISTIC)[0].split()[-1])
        if self.tell is not None:
            self.trace.restart()
        getattr(torch, "use_deterministic_algorithms",
                getattr(torch, "set_deterministic", None))(False)
        torch.set_rng_state(states[0])
        if self._cuda:
            torch.cuda.set_rng_state(states[1])
        return self._step(start, stop)

    def _collect_warnings(self):
        """Keeps the names of operations that PyTorch warns about; shows other warnings."""
        show = warnings.showwarning

        def keep(message, category, filename, lineno, file=None, line=None):
            text = str(message)
            if NO_DETERMINISTIC not in text:
                show(message, category, filename, lineno, file, line)
                return
            operation = text.split(" " + NO_DETERMINISTIC)[0].split()[-1]
            if operation not in self._operations:
                self._operations.append(operation)

        warnings.showwarning = keep
        warnings.filterwarnings("always", message=".*" + NO_DETERMINISTIC)

    def seed(self, seed):
        torch = self._torch
        report = [attempt("seed torch cpu", seed, lambda: torch.manual_seed(seed),
                          lambda: torch.initial_seed() == seed)]
        if self._cuda:
            report.append(attempt("seed torch cuda", seed,
                                  lambda: torch.cuda.manual_seed_all(seed)))
        return report

    # Network

    def build(self, model, shape, classes, reseed):
        torch = self._torch
        self._network = model.build(shape, classes)
        if not isinstance(self._network, torch.nn.Module):
            raise JobError("%s.build returned %s, no torch.nn.Module"
                           % (type(model).__name__, type(self._network).__name__))
        if draws_own_weights(model):
            reseed()
            with torch.no_grad():
                model.initialise(self._network)
        self._network.to(self._device)
        self._optimizer = torch.optim.SGD(self._network.parameters(),
                                          lr=self.job["learning_rate"],
                                          momentum=self.job["momentum"])

    def without_dropout(self):
        found = 0
        for layer in self._network.modules():
            if "Dropout" in type(layer).__name__ and hasattr(layer, "p"):
                layer.p = 0.0
                found += 1
        return found

    def parameters(self):
        for name, value in self._network.state_dict().items():
            if value.dtype not in self._names:
                raise JobError("parameter %s has dtype %s, which has no digest"
                               % (name, value.dtype))
            yield name, self._names[value.dtype], tuple(value.shape), self._bytes(value)

    # Data

    def _tensor(self, array):
        """A tensor of the protocol's array, on the device. u4 becomes int64."""
        torch = self._torch
        data = bytes(array.data)
        if array.dtype == "u4":
            values = memoryview(data).cast("I").tolist()
            return torch.tensor(values, dtype=torch.int64).reshape(array.shape).to(self._device)
        tensor = torch.empty(tuple(array.shape), dtype=self._types[array.dtype])
        if tensor.numel() * tensor.element_size() != len(data):
            raise JobError("%d bytes do not fill shape %s of %s"
                           % (len(data), tuple(array.shape), array.dtype))
        ctypes.memmove(tensor.data_ptr(), data, len(data))
        return tensor.to(self._device)

    @staticmethod
    def _bytes(tensor):
        """The elements of a tensor in C order."""
        tensor = tensor.detach().cpu().contiguous()
        return ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size())

    def add_split(self, split, x, y):
        self._splits[split] = (self._tensor(x), None if y is None else self._tensor(y))

    # Training

    def begin_epoch(self, order):
        torch = self._torch
        self._network.train()
        self._order = self._tensor(order)
        self._sum = torch.zeros((), dtype=torch.float64, device=self._device)
        self._seen = 0

    def train_batch(self, start, stop):
        loss = (self._first_batch if self._strict else self._step)(start, stop)
        self._sum += loss.double() * (stop - start)
        self._seen += stop - start
        return loss.item() if self.job.get("trace") else None

    def _step(self, start, stop):
        """Trains on one batch; returns its mean loss, still on the device."""
        x, y = self._splits["train"]
        chosen = self._order[start:stop]
        self._optimizer.zero_grad()
        output = self._network(x.index_select(0, chosen))
        loss = self._torch.nn.functional.nll_loss(output, y.index_select(0, chosen))
        if self.tell is not None:
            self._tell("loss", "", loss)
        loss.backward()
        if self.tell is not None:
            for name, parameter in reversed(list(self._network.named_parameters())):
                if parameter.grad is not None:
                    self._tell("parameter gradient", name, parameter.grad)
        self._optimizer.step()
        return loss.detach()

    def end_epoch(self):
        return self._sum.item() / self._seen

    def predict(self, split):
        torch = self._torch
        self._network.eval()
        x = self._splits[split][0]
        parts = []
        with torch.no_grad():
            for start in range(0, x.shape[0], EVALUATION_BATCH):
                stop = min(start + EVALUATION_BATCH, x.shape[0])
                parts.append(self.predicting(split, start, stop,
                                             lambda: self._network(x[start:stop])))
            output = torch.cat(parts)
        expected = (x.shape[0], self.job["challenge"]["classes"])
        if tuple(output.shape) != expected or output.dtype != torch.float32:
            raise JobError("the network returned shape %s of %s for %s; expected %s of float32"
                           % (tuple(output.shape), output.dtype, split, expected))
        return self._bytes(output), expected, "f4"

    # Trace

    def watch(self, tell):
        self.tell = tell
        self._hooks = []
        for name, module in self._network.named_modules():
            self._hooks.append(module.register_forward_hook(self._told_forward(name)))
        self._hooks.append(self._network.register_forward_pre_hook(self._told_input))

    def _told_input(self, module, inputs):
        self._tell_all("input", "", inputs)

    def _told_forward(self, name):
        """A hook that tells of a module's output, and of its gradient once there is one.

        The gradient is that by the output as a tensor, which every version can listen to;
        hooks on a module's whole backward pass came with 1.8.
        """
        def hook(module, inputs, output):
            for tensor in self._tell_all("output", name, output):
                if tensor.requires_grad:
                    self._hooks.append(tensor.register_hook(
                        lambda gradient: self._tell("output gradient", name, gradient)))
        return hook

    def _tell_all(self, stage, name, value):
        """Tells of each tensor in a value, which may be nested; returns them."""
        if isinstance(value, self._torch.Tensor):
            self._tell(stage, name, value)
            return [value]
        if isinstance(value, dict):
            value = value.values()
        elif not isinstance(value, (list, tuple)):
            return []
        return [tensor for part in value for tensor in self._tell_all(stage, name, part)]

    def _tell(self, stage, name, tensor):
        self.tell(stage, name, self._names.get(tensor.dtype, "?"), tuple(tensor.shape),
                  self._bytes(tensor))

    def unwatch(self):
        self.tell = None
        for hook in self._hooks:
            hook.remove()

    # Manifest

    def version(self):
        torch = self._torch
        config = getattr(torch, "__config__", None)
        return {"name": "torch", "version": str(torch.__version__),
                "git": getattr(torch.version, "git_version", None),
                "build": config.show() if config is not None else None}

    def software(self):
        torch = self._torch
        found = {"cuda": torch.version.cuda, "cudnn": None, "mkl": None, "openmp": None}
        if self._cuda:
            found["cudnn"] = torch.backends.cudnn.version()
        for name in ("mkl", "mkldnn", "openmp"):
            backend = getattr(torch.backends, name, None)
            found[name] = bool(backend.is_available()) if backend is not None else None
        capability = getattr(getattr(torch.backends, "cpu", None), "get_cpu_capability", None)
        found["cpu_capability"] = capability() if capability is not None else None
        return found

    def threads(self):
        torch = self._torch
        interop = getattr(torch, "get_num_interop_threads", None)
        config = getattr(torch, "__config__", None)
        info = getattr(config, "parallel_info", None)
        return {"intra_op": torch.get_num_threads(),
                "inter_op": interop() if interop is not None else None,
                "parallel_info": info() if info is not None else None}

    def hardware(self):
        if not self._cuda:
            return {}
        torch = self._torch
        properties = torch.cuda.get_device_properties(self._device)
        return {"name": properties.name, "memory_bytes": properties.total_memory,
                "multiprocessors": properties.multi_processor_count,
                "capability": "%d.%d" % (properties.major, properties.minor),
                "settings": _gpu_settings()}

    def nondeterministic_operations(self):
        return sorted(self._operations)


def _flag(name, owner, attribute, value):
    """Sets an attribute that exists already; one that does not is unavailable."""
    def assign():
        if not hasattr(owner, attribute):
            raise NotImplementedError("this version has no such setting")
        setattr(owner, attribute, value)
    return attempt(name, value, assign, lambda: getattr(owner, attribute) == value)


def _gpu_settings():
    """What `nvidia-smi` says about the driver and the GPU's settings; None without it."""
    fields = ["driver_version", "ecc.mode.current", "clocks.max.sm", "clocks.max.memory",
              "power.limit", "persistence_mode", "mig.mode.current"]
    try:
        text = subprocess.check_output(
            ["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader"],
            stderr=subprocess.DEVNULL, timeout=20, universal_newlines=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return [dict(zip(fields, line.split(", "))) for line in text.splitlines()]
