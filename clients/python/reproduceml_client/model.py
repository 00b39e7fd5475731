"""The base class of models, the built-in ones and users' own."""


class Model:
    """A model of one framework, made anew for every run.

    `build` is required. `initialise` draws the initial weights; when a model has one,
    the framework's generators are seeded again right before it is called, so that the
    weights do not depend on what constructors drew. Without one the weights are those
    that the framework's constructors drew after seeding.
    """

    def build(self, shape, classes):
        """The framework's own network object.

        `shape` is that of one sample: (channels, height, width). The network takes
        batches (N, channels, height, width) of float32 and returns log-probabilities
        (N, classes).
        """
        raise NotImplementedError("%s has no method build" % type(self).__name__)

    def initialise(self, network):
        """Draws the initial weights of what `build` returned, in an order worth stating."""


def draws_own_weights(model):
    """Whether the model's class brings its own `initialise`."""
    return type(model).initialise is not Model.initialise
