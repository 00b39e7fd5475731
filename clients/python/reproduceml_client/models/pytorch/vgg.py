"""VGG-11 and VGG-16 with the shapes of Torchvision's `vgg11` and `vgg16`.

Images are enlarged to 224 x 224 by repeating pixels (nearest neighbour). There the
features are 7 x 7 already, and Torchvision's adaptive pooling to 7 x 7 changes nothing;
it is left out, since its backward pass is not deterministic on CUDA.
"""

from torch import nn
from torch.nn import functional

from ...model import Model

SIDE = 224


class _Vgg(Model):
    """Weights in the order of the layers: convolutions from N(0, 2 / fan-out), linear
    layers from N(0, 0.01^2); biases zero, as in Torchvision."""

    plan = ()

    def build(self, shape, classes):
        layers, channels = [], shape[0]
        for outputs in self.plan:
            if outputs is None:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            channels = outputs
        classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(4096, classes))
        return Enlarged(nn.Sequential(*layers), classifier)

    def initialise(self, network):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.out_channels * 9
                layer.weight.normal_(0.0, (2.0 / fan_out) ** 0.5)
                layer.bias.zero_()
            elif isinstance(layer, nn.Linear):
                layer.weight.normal_(0.0, 0.01)
                layer.bias.zero_()


class Vgg11(_Vgg):
    """128,807,306 parameters for 3 channels and 10 classes."""

    plan = (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None)


class Vgg16(_Vgg):
    """134,301,514 parameters for 3 channels and 10 classes."""

    plan = (64, 64, None, 128, 128, None, 256, 256, 256, None,
            512, 512, 512, None, 512, 512, 512, None)


class Enlarged(nn.Module):
    """Enlarges to 224 x 224, then features, classifier, log-softmax."""

    def __init__(self, features, classifier):
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x):
        x = self.features(functional.interpolate(x, size=(SIDE, SIDE), mode="nearest"))
        return functional.log_softmax(self.classifier(x.reshape(x.shape[0], -1)), dim=1)
