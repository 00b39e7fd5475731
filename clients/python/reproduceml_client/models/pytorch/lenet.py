"""LeNet, the MNIST network of the paper's system."""

import torch
from torch import nn
from torch.nn import functional

from ...errors import JobError
from ...model import Model


class LeNet(Model):
    """Two convolutions (20 and 50 of 5x5), each with ReLU and max-pooling, and two linear layers.

    431,080 parameters for (1, 28, 28) and 10 classes. Weights of conv1, conv2, fc1, fc2
    from N(0, 1 / fan-in), in this order; biases zero.
    """

    def build(self, shape, classes):
        return Network(shape, classes)

    def initialise(self, network):
        for layer in (network.conv1, network.conv2, network.fc1, network.fc2):
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0.0, fan_in ** -0.5)
            layer.bias.zero_()


class Network(nn.Module):
    """The network itself."""

    def __init__(self, shape, classes):
        super().__init__()
        channels, height, width = shape
        rows, columns = ((size - 4) // 2 for size in (height, width))
        rows, columns = ((size - 4) // 2 for size in (rows, columns))
        if rows < 1 or columns < 1:
            raise JobError("lenet takes images of at least 16 x 16, not %d x %d"
                           % (height, width))
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * rows * columns, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(x.reshape(x.shape[0], -1)))
        return functional.log_softmax(self.fc2(x), dim=1)
