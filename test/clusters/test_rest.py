import numpy as np
import pytest

from seg2d3d_ros.clusters import rest
from seg2d3d_ros.clusters.rest import Rest
from seg2d3d_ros.clusters.window import LocalFrame, Seen
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import transforms

NOTHING = Seen(*(np.zeros(0, np.int64),) * 2, *(np.zeros((0, 2)),) * 2)


@pytest.fixture
def resting(monkeypatch):
    """Keeps 20 moments of a rest and one in five of the others; 1.8 m or 6 deg make a keyframe."""
    monkeypatch.setattr(rest, "_ALL_KEPT", 20)
    monkeypatch.setattr(rest, "_KEPT_EVERY", 5)
    return Rest(ClustersConfig())


def frame(k, T=None, is_keyframe=False):
    return LocalFrame(k, np.eye(4) if T is None else T, is_keyframe, (0,), (k,), NOTHING)


def test_rest_keeps_its_first_moments_and_few_of_the_others(resting):
    kept = [k for k in range(1, 61) if not resting.is_superfluous(frame(k))]
    assert kept == [*range(1, 21), *range(25, 61, 5)]


def test_rest_keyframe_is_kept_and_does_not_begin_it_anew(resting):
    for k in range(1, 31):
        resting.is_superfluous(frame(k))
    assert not resting.is_superfluous(frame(31, is_keyframe=True))
    assert resting.is_superfluous(frame(32))


@pytest.mark.parametrize(
    ("motion", "begins_anew"),
    [
        ([0, 0, 0, 0.29, 0, 0], False),
        ([0, 0, 0, 0.31, 0, 0], True),
        ([0, 0, np.deg2rad(0.9), 0, 0, 0], False),
        ([0, 0, np.deg2rad(1.1), 0, 0, 0], True),
    ],
)
def test_rest_ends_with_a_sixth_of_a_keyframe_of_motion(resting, motion, begins_anew):
    for k in range(1, 23):
        resting.is_superfluous(frame(k))
    assert resting.is_superfluous(frame(23, transforms.exp(motion))) is not begins_anew


def test_rest_slow_creep_is_motion(resting):
    step = transforms.exp([0, 0, 0, 0.02, 0, 0])
    creep = [frame(k, np.linalg.matrix_power(step, k)) for k in range(200)]
    assert not any(resting.is_superfluous(f) for f in creep)
