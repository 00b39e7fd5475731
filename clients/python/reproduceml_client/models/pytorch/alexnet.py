"""AlexNet with the shapes of Torchvision's `alexnet`."""

from torch import nn

from ...model import Model
from .vgg import Enlarged


class AlexNet(Model):
    """57,044,810 parameters for 3 channels and 10 classes.

    Images are enlarged to 224 x 224 by repeating pixels. Torchvision's pooling to 6 x 6
    is left out: the features are of that size. In the order of the layers each draws its
    weight, then its bias, uniformly in +-1/sqrt(fan-in), which is PyTorch's own default.
    """

    def build(self, shape, classes):
        features = nn.Sequential(
            nn.Conv2d(shape[0], 64, 11, stride=4, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2))
        classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
            nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, classes))
        return Enlarged(features, classifier)

    def initialise(self, network):
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                bound = layer.weight[0].numel() ** -0.5
                layer.weight.uniform_(-bound, bound)
                layer.bias.uniform_(-bound, bound)
