"""SciPy's and pandas' part of the benchmark: speed.py METHOD FILE."""

import resource
import sys
import time

import numpy
import pandas
import scipy
from scipy.stats import mannwhitneyu


def best(work):
    times = []
    for _ in range(5):
        start = time.process_time()
        p = work()
        times.append(time.process_time() - start)
    return min(times), p


def tests(method, file):
    values = numpy.fromfile(file, dtype="<f8").reshape(-1, 2, 50)
    x, y = values[:, 0], values[:, 1]
    if method == "exact-ties":
        print("  scipy    has no exact test with ties (but for random permutations)")
        return
    seconds, p = best(lambda: mannwhitneyu(x, y, axis=1, method=method).pvalue)
    print(f"  scipy    {len(x) / seconds:12.0f} tests/s   sum of p {p.sum():.9f}   "
          f"(vectorised, SciPy {scipy.__version__}, NumPy {numpy.__version__})")


def whole(file):
    start = time.perf_counter()
    frame = pandas.read_csv(file)
    read = time.perf_counter() - start
    metrics = ["accuracy", "precision", "recall", "f1"]
    total = 0.0
    for _, bug in frame.groupby("bug", sort=False):
        x = bug.loc[bug["evaluation"] == "buggy", metrics].to_numpy()
        y = bug.loc[bug["evaluation"] == "corrected", metrics].to_numpy()
        total += mannwhitneyu(x, y, axis=0, method="asymptotic").pvalue.sum()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"  pandas   {seconds:.1f} s ({read:.1f} s reading), peak {peak} MiB, "
          f"p-values alone, sum of p {total:.9f}   "
          f"(pandas {pandas.__version__}, SciPy {scipy.__version__})")


if sys.argv[1] == "file":
    whole(sys.argv[2])
else:
    tests(sys.argv[1], sys.argv[2])
