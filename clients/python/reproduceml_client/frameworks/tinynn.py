"""tinynn, the small library of the tests."""

import array

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
        self._network.backward(self._loss.backward(), need_input=False)
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
            x, _ = data.batch(range(start, min(start + size, len(data))))
            parts.append(self._network(x).tobytes())
        return b"".join(parts), (len(data), self.job["challenge"]["classes"]), "f4"

    def version(self):
        return {"tinynn": self._tinynn.__version__}

    def threads(self):
        return {"tinynn": 1}
