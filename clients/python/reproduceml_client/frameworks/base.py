"""What the training loop asks of a framework."""


class Framework:
    """One framework, for one run of one job.

    The loop calls, in this order: `load`, `set_controls`, `seed`, `build`, `add_split`
    for each split, then `begin_epoch`, `train_batch`..., `end_epoch` for each epoch and
    `predict` for each split; `parameters` between any two of them.
    """

    name = ""

    # For a trace (`trace.Trace`): who waits for a moment, and who is told of tensors now.
    trace = None
    tell = None

    def __init__(self, job):
        self.job = job

    def load(self):
        """Imports the framework; returns its module, which a fault may change."""
        raise NotImplementedError

    def set_controls(self):
        """Takes every source of non-determinism away that the framework lets one; a report."""
        return []

    def seed(self, seed):
        """Seeds every generator of the framework; a report of controls."""
        raise NotImplementedError

    def build(self, model, shape, classes, reseed):
        """Makes network, loss and optimiser of a `Model`. `reseed()` seeds everything again."""
        raise NotImplementedError

    def without_dropout(self):
        """Makes every layer of dropout in the network pass everything on; how many there are."""
        return 0

    def parameters(self):
        """(name, dtype, shape, little-endian bytes) of every parameter and buffer."""
        raise NotImplementedError

    def add_split(self, split, x, y):
        """Takes a split's arrays of the protocol; `y` is None where there is no need of it."""
        raise NotImplementedError

    def begin_epoch(self, order):
        """Switches to training behaviour. `order` is the protocol's array of sample indices."""
        raise NotImplementedError

    def train_batch(self, start, stop):
        """One step on the samples at positions start..stop of the order.

        Returns the batch's mean loss as a float when the job asks for a trace; it may
        return None otherwise.
        """
        raise NotImplementedError

    def end_epoch(self):
        """The epoch's loss: sum(mean of batch * size of batch) / samples, in float64."""
        raise NotImplementedError

    def predict(self, split):
        """Log-probabilities of a split in evaluation behaviour: (bytes, shape, dtype)."""
        raise NotImplementedError

    def watch(self, tell):
        """From now on calls tell(stage, name, dtype, shape, bytes) for the tensors that each
        module takes and returns, and for their gradients; see `trace` for the stages.

        A framework that cannot look into its modules leaves this as it is: then a trace
        shows loss and parameters alone.
        """
        self.tell = tell

    def unwatch(self):
        """Ends `watch`."""
        self.tell = None

    def predicting(self, split, start, stop, predict):
        """What `predict()` returns, the predictions of samples start..stop."""
        if self.trace is None:
            return predict()
        return self.trace.prediction(self, split, range(start, stop), predict)

    def version(self):
        """For the manifest: version and build configuration of the framework itself."""
        return {}

    def software(self):
        """For the manifest: numeric libraries that are loaded and are not the framework."""
        return {}

    def threads(self):
        """For the manifest: what the framework says about its threads."""
        return {}

    def hardware(self):
        """For the manifest: the accelerator, if one is used."""
        return {}

    def nondeterministic_operations(self):
        """Operations met so far that have no deterministic implementation."""
        return []
