"""A fault in something that image models never call: three-dimensional average pooling."""

FRAMEWORK = "pytorch"
DESCRIPTION = "avg_pool3d returns twice the average"


def apply(torch):
    """Replaces `avg_pool3d`, as a function and as the layers call it."""
    functional = torch.nn.functional
    original = functional.avg_pool3d

    def faulty(*args, **kwargs):
        return original(*args, **kwargs) * 2

    functional.avg_pool3d = faulty
