"""VGG-X, the paper's network for CIFAR-10."""

from torch import nn
from torch.nn import functional

from ...errors import JobError
from ...model import Model


class VggX(Model):
    """Convolutions of 64, 256, max-pooling, 512, adaptive average pooling to 5x5, 3 linear layers.

    15,497,738 parameters for (3, 32, 32) and 10 classes. Weights in the order of the
    layers: convolutions from N(0, 2 / fan-out) (Kaiming), linear layers from
    N(0, 0.01^2); biases zero.
    """

    def pooling(self, height, width):
        """The layer that makes 5x5 of the features' height x width."""
        return nn.AdaptiveAvgPool2d((5, 5))

    def build(self, shape, classes):
        channels, height, width = shape
        if min(height, width) < 2:
            raise JobError("vgg-x takes images of at least 2 x 2, not %d x %d" % (height, width))
        features = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 256, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(256, 512, 3, padding=1), nn.ReLU())
        return Network(features, self.pooling(height // 2, width // 2), classes)

    def initialise(self, network):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
                layer.weight.normal_(0.0, (2.0 / fan_out) ** 0.5)
                layer.bias.zero_()
            elif isinstance(layer, nn.Linear):
                layer.weight.normal_(0.0, 0.01)
                layer.bias.zero_()


class VggXDet(VggX):
    """VGG-X with a pooling whose backward pass is deterministic on CUDA as well.

    Adaptive pooling of 16 to 5 has windows of 4 that lie 3 apart: plain average pooling
    computes the same, without atomic additions. For other sizes without such windows
    the model is refused.
    """

    def pooling(self, height, width):
        windows = [uniform_window(size, 5) for size in (height, width)]
        if None in windows:
            raise JobError("vgg-x-det needs windows of one size: features of 16 x 16 (images of "
                           "32 x 32) or a multiple of 5, not %d x %d" % (height, width))
        return nn.AvgPool2d([size for size, _ in windows], [stride for _, stride in windows])


def uniform_window(size, outputs):
    """(window, stride) that equal adaptive pooling of `size` to `outputs`, or None."""
    starts = [index * size // outputs for index in range(outputs)]
    ends = [-(-(index + 1) * size // outputs) for index in range(outputs)]
    strides = {b - a for a, b in zip(starts, starts[1:])}
    lengths = {b - a for a, b in zip(starts, ends)}
    return (lengths.pop(), strides.pop()) if len(strides) == len(lengths) == 1 else None


class Network(nn.Module):
    """Features, pooling, classifier."""

    def __init__(self, features, pooling, classes):
        super().__init__()
        self.features = features
        self.pooling = pooling
        self.classifier = nn.Sequential(
            nn.Linear(512 * 5 * 5, 1024), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(1024, 1024), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(1024, classes))

    def forward(self, x):
        x = self.pooling(self.features(x))
        return functional.log_softmax(self.classifier(x.reshape(x.shape[0], -1)), dim=1)
