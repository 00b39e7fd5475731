"""Models of PyTorch: name, then module and class.

All take (N, channels, height, width) and return log-probabilities. Their `initialise`
draws the weights in the order in which the layers are listed, each layer's weight by
one call (`normal_` or `uniform_`), and sets biases to zero unless it says otherwise.
"""

MODELS = {
    "alexnet": ("alexnet", "AlexNet"),
    "lenet": ("lenet", "LeNet"),
    "vgg-x": ("vgg_x", "VggX"),
    "vgg-x-det": ("vgg_x", "VggXDet"),
    "vgg11": ("vgg", "Vgg11"),
    "vgg16": ("vgg", "Vgg16"),
}
