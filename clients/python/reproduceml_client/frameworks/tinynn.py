"""tinynn, the small library of the tests."""

import array
import struct

from ..controls import attempt
from ..errors import JobError
from ..model import draws_own_weights
from .base import Framework


class Adapter(Framework):
    """Runs on one thread of the CPU and has one generator: there is little to control."""

    name = "tinynn"

    def load(self):
        if self.job["device"] != "cpu":
            raise JobError("tinynn runs on device cpu, not %s" % self.job["device"])
        import tinynn
        self._tinynn = tinynn
        self._splits = {}
        return tinynn

    def seed(self, seed):
        return [attempt("seed tinynn", seed, lambda: self._tinynn.manual_seed(seed))]

    def build(self, model, shape, classes, reseed):
        tinynn = self._tinynn
        self._network = model.build(shape, classes)
        if draws_own_weights(model):
            reseed()
            model.initialise(self._network)
        self._loss = tinynn.nn.NLLLoss()
        self._optimizer = tinynn.optim.SGD(self._network.parameters(),
                                           lr=self.job["learning_rate"],
                                           momentum=self.job["momentum"])

    def parameters(self):
        for name, parameter in self._network.named_parameters():
            yield name, "f4", parameter.value.shape, parameter.value.tobytes()

    def add_split(self, split, x, y):
        tinynn = self._tinynn
        targets = None if y is None else tinynn.data.Targets.from_bytes(bytes(y.data))
        samples = tinynn.Tensor.from_bytes(bytes(x.data), x.shape)
        self._splits[split] = tinynn.data.Dataset(samples, targets)

    def begin_epoch(self, order):
        self._network.train()
        self._order = array.array("I", bytes(order.data))
        self._sum, self._seen = 0.0, 0

    def train_batch(self, start, stop):
        x, y = self._splits["train"].batch(self._order[start:stop])
        self._optimizer.zero_grad()
        loss = self._loss(self._network(x), y)
        if self.tell is not None:
            self.tell("loss", "", "f8", (), struct.pack("<d", loss))
        self._network.backward(self._loss.backward(), need_input=False)
        if self.tell is not None:
            for name, parameter in reversed(list(self._network.named_parameters())):
                self._tell("parameter gradient", name, parameter.grad)
        self._optimizer.step()
        self._sum += loss * (stop - start)
        self._seen += stop - start
        return loss

    def end_epoch(self):
        return self._sum / self._seen

    def predict(self, split):
        self._network.eval()
        data, size = self._splits[split], self.job["batch_size"]
        parts = []
        for start in range(0, len(data), size):
            stop = min(start + size, len(data))
            x, _ = data.batch(range(start, stop))
            parts.append(self.predicting(split, start, stop, lambda: self._network(x).tobytes()))
        return b"".join(parts), (len(data), self.job["challenge"]["classes"]), "f4"

    # Trace

    def watch(self, tell):
        self.tell = tell
        self._watched = []
        self._wrap("", self._network)

    def _wrap(self, name, module):
        """Puts a listener around both passes of a module and of those inside it."""
        forward, backward = module.forward, module.backward

        def told_forward(x):
            if not name:
                self._tell("input", name, x)
            y = forward(x)
            self._tell("output", name, y)
            return y

        def told_backward(grad, *args, **kwargs):
            self._tell("output gradient", name, grad)
            return backward(grad, *args, **kwargs)

        module.forward, module.backward = told_forward, told_backward
        self._watched.append(module)
        for child_name, child in module.children():
            self._wrap(name + "." * bool(name) + child_name, child)

    def unwatch(self):
        self.tell = None
        for module in self._watched:
            del module.forward, module.backward

    def _tell(self, stage, name, tensor):
        self.tell(stage, name, "f4", tensor.shape, tensor.tobytes())

    # Manifest

    def version(self):
        return {"tinynn": self._tinynn.__version__}

    def threads(self):
        return {"tinynn": 1}
