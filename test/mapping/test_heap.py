import subprocess
import sys

# What lives on (2 KB) lies between what is freed (2 MiB), after an array that was larger still.
_WORK = """
import numpy as np, psutil
{begin}
resident = lambda: psutil.Process().memory_info().rss / 2**20
del [np.ones(30 << 17)][0]
before = resident()
large, small = [], []
for _ in range(60):
    large.append(np.ones(1 << 18))
    small.append(bytearray(2000))
large.clear()
{end}
print(resident() - before)
"""


def grown_mib(begin="", end=""):
    run = [sys.executable, "-c", _WORK.format(begin=begin, end=end)]
    return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


def test_keep_little_gives_back_arrays_between_which_small_things_live_on():
    assert grown_mib("from seg2d3d_ros.mapping.heap import keep_little; keep_little()") < 10.0


def test_give_back_returns_what_is_free_between_small_things_that_live_on():
    kept = grown_mib()
    given_back = grown_mib(end="from seg2d3d_ros.mapping.heap import give_back; give_back()")
    assert given_back < 10.0 < kept
