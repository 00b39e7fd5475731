"""SciPy's and pandas' part of the benchmark: speed.py METHOD FILE."""

import resource
import sys
import time

import numpy
import pandas
import scipy
from scipy.stats import brunnermunzel, fligner, mannwhitneyu, norm, wilcoxon


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


def read(file):
    if file.endswith(".parquet"):
        return pandas.read_parquet(file)
    return pandas.read_csv(file)


def sides(frame, metrics):
    for name, bug in frame.groupby("bug", sort=False):
        side = bug.set_index("evaluation")
        yield name, side.loc["buggy"], side.loc["corrected"]


def order_statistic(count, place, low, high):
    """The smallest number with `count` at least `place`, by bisection."""
    while high - low > 1e-13:
        middle = 0.5 * (low + high)
        if count(middle) >= place:
            high = middle
        else:
            low = middle
    return high


def shift(x, y, level=0.95):
    """The Hodges-Lehmann shift with its interval; all differences would need 20 GB."""
    x, y = numpy.sort(x), numpy.sort(y)
    pairs = len(x) * len(y)

    def count(bound):
        return len(y) * len(x) - numpy.searchsorted(y, x - bound, side="left").sum()

    ends = x[0] - y[-1] - 1e-9, x[-1] - y[0] + 1e-9
    sigma = numpy.sqrt(pairs / 12 * (len(x) + len(y) + 1))
    place = int(numpy.ceil(pairs / 2 - 0.5 + norm.ppf((1 - level) / 2) * sigma))
    return [order_statistic(count, k, *ends) for k in (place, pairs // 2, pairs + 1 - place)]


def pseudomedian(d):
    d = numpy.sort(d)
    pairs = len(d) * (len(d) + 1) // 2

    def count(bound):
        reach = numpy.searchsorted(d, 2 * bound - d, side="right")
        return (reach.sum() + (2 * d <= 2 * bound).sum()) // 2

    return order_statistic(count, pairs // 2, d[0] - 1e-9, d[-1] + 1e-9)


def cliff(x, y):
    """Cliff's delta with the variance of the dominance matrix."""
    n, m = len(x), len(y)
    a, b = numpy.sort(x), numpy.sort(y)
    rows = (numpy.searchsorted(b, x, "left") + numpy.searchsorted(b, x, "right") - m) / m
    columns = (numpy.searchsorted(a, y, "left") + numpy.searchsorted(a, y, "right") - n) / -n
    delta = rows.mean()
    return delta, ((rows - delta) ** 2).sum() / n**2 + ((columns - delta) ** 2).sum() / m**2


def everything(x, y, margin=0.005):
    """What stands beside each p-value, as far as SciPy has it, else by hand."""
    greater = mannwhitneyu(x + margin, y, alternative="greater", method="asymptotic").pvalue
    less = mannwhitneyu(x - margin, y, alternative="less", method="asymptotic").pvalue
    for side in (x, y):
        numpy.median(side), side.mean(), side.std(ddof=1), side.min(), side.max()
    return (mannwhitneyu(x, y, method="asymptotic").pvalue, shift(x, y), cliff(x, y),
            brunnermunzel(x, y).pvalue, fligner(x, y).pvalue, max(greater, less),
            wilcoxon(x, y, method="approx", correction=True).pvalue, pseudomedian(x - y))


def whole(file, what, bugs):
    start, wall = time.process_time(), time.perf_counter()
    frame = read(file)
    reading = time.process_time() - start
    metrics = ["accuracy", "precision", "recall", "f1"]
    total, seen = 0.0, 0
    for _, x, y in sides(frame, metrics):
        if seen == bugs:
            break
        seen += 1
        x, y = x[metrics].to_numpy(), y[metrics].to_numpy()
        if what == "p-values":
            total += mannwhitneyu(x, y, axis=0, method="asymptotic").pvalue.sum()
        else:
            total += sum(everything(x[:, i].copy(), y[:, i].copy())[0] for i in range(4))
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"  pandas   {seconds:7.1f} s ({reading:.1f} s reading), {wall:.1f} s passed, "
          f"peak {peak} MiB, {what} of {seen} bugs, sum of p {total:.9f}   "
          f"(pandas {pandas.__version__}, SciPy {scipy.__version__})")


if sys.argv[1] == "file":
    whole(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    tests(sys.argv[1], sys.argv[2])
