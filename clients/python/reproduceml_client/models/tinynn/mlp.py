"""A network with one hidden layer."""

import tinynn

from ...model import Model

HIDDEN = 64


class Mlp(Model):
    """inputs -> 64 -> classes, ReLU, log-softmax.

    The constructors draw the weights: for each linear layer, first to last, the weights
    row by row and then the biases, uniformly in +-1/sqrt(inputs).
    """

    def build(self, shape, classes):
        inputs = 1
        for size in shape:
            inputs *= size
        nn = tinynn.nn
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, HIDDEN), nn.ReLU(),
                             nn.Linear(HIDDEN, classes), nn.LogSoftmax())
