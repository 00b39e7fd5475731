"""A fault that every model with torch.relu feels, and only in its numbers: relu leaks."""

FRAMEWORK = "pytorch"
DESCRIPTION = "relu lets a thousandth of negative values through"


def apply(torch):
    """Replaces `torch.relu` by one with a slope of 0.001 below zero."""
    functional = torch.nn.functional

    def faulty(x):
        return functional.leaky_relu(x, 0.001)

    torch.relu = faulty
