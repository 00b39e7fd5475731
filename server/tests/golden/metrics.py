"""Makes metrics.json: what scikit-learn computes from scores, odd cases among them.

Run where scikit-learn is installed: python3 metrics.py > metrics.json
"""

import json
import warnings

import numpy
import sklearn
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

warnings.filterwarnings("ignore")


def case(name, scores, targets, classes):
    predicted = numpy.argmax(scores, axis=1)
    p, r, f, _ = precision_recall_fscore_support(
        targets, predicted, average="macro", zero_division=0
    )
    pc, rc, fc, support = precision_recall_fscore_support(
        targets, predicted, labels=list(range(classes)), average=None, zero_division=0
    )
    return {
        "name": name,
        "classes": classes,
        # JSON has no NaN: text stands for it.
        "scores": [[float(v) if numpy.isfinite(v) else str(v) for v in row] for row in scores],
        "targets": [int(t) for t in targets],
        "accuracy": accuracy_score(targets, predicted),
        "precision": float(p),
        "recall": float(r),
        "f1": float(f),
        "class_precision": [float(v) for v in pc],
        "class_recall": [float(v) for v in rc],
        "class_f1": [float(v) for v in fc],
        "support": [int(v) for v in support],
        "confusion": confusion_matrix(targets, predicted, labels=list(range(classes))).tolist(),
    }


def main():
    rng = numpy.random.RandomState(0)
    cases = []

    def add(name, scores, targets, classes):
        cases.append(case(name, numpy.asarray(scores, dtype=numpy.float32), targets, classes))

    add("random", rng.randn(60, 10), rng.randint(0, 10, 60), 10)
    good = rng.randint(0, 10, 80)
    add("mostly right", numpy.eye(10)[good] * 2 + rng.randn(80, 10), good, 10)
    add("all right", numpy.eye(4)[[0, 1, 2, 3]], [0, 1, 2, 3], 4)
    add("all wrong", numpy.eye(3)[[1, 2, 0]], [0, 1, 2], 3)
    add("a class that does not occur", rng.randn(30, 5), rng.randint(0, 4, 30), 5)
    add("a class never predicted", numpy.c_[rng.randn(30, 3), numpy.full(30, -9)],
        rng.randint(0, 4, 30), 4)
    add("a class neither true nor predicted", numpy.c_[rng.randn(20, 3), numpy.full(20, -9)],
        rng.randint(0, 3, 20), 4)
    add("one class always", numpy.tile([0, 1, 0], (9, 1)), [0, 1, 2] * 3, 3)
    add("ties", numpy.zeros((6, 3)), [0, 1, 2, 0, 1, 2], 3)
    odd = rng.randn(12, 4)
    odd[0, 2] = odd[3, 1] = odd[3, 3] = numpy.nan
    odd[5, 0], odd[6], odd[7, 1] = numpy.inf, -numpy.inf, -numpy.inf
    odd[8] = numpy.nan
    add("not a number and infinite", odd, rng.randint(0, 4, 12), 4)
    print(json.dumps({"scikit-learn": sklearn.__version__, "cases": cases}))


if __name__ == "__main__":
    main()
