"""Models of PyTorch: name, then module and class, in models.json.

All take (N, channels, height, width) and return log-probabilities. Their `initialise`
draws the weights in the order in which the layers are listed, each layer's weight by
one call (`normal_` or `uniform_`), and sets biases to zero unless it says otherwise.
"""

from .. import listed

MODELS = listed(__file__)
