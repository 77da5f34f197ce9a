"""Loops as relative similarities: what they ask for, and what the map's units do to them."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_drive_maker import pose

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.loops.loop import Loop, supports

NONE = np.zeros(0, dtype=np.int64)


@pytest.fixture
def poses():
    return np.stack([pose(3.0 * k, 0.1 * k, 0.05 * k) for k in range(12)])


def loop(poses, old, new, scale=1.0):
    """Return the loop that two poses satisfy if the later part counts in another unit."""
    S = transforms.invert(poses[old]) @ poses[new]
    S[:3, :3] *= scale
    return Loop(old, new, S, NONE, NONE)


def test_motion_satisfied_loop_is_identity(poses):
    np.testing.assert_allclose(loop(poses, 1, 9).motion(poses), np.eye(4), atol=1e-12)


def test_rescaled_after_the_map_followed_asks_for_nothing_more(poses):
    # The later part counts in units of 0.7: the loop asks it to grow by 1 / 0.7 where it is seen.
    asking = loop(poses, 1, 9, scale=1 / 0.7)
    S = asking.motion(poses)
    moved = poses.copy()
    moved[9] = S @ poses[9]
    moved[9][:3, :3] *= 0.7
    np.testing.assert_allclose(asking.rescaled(1.0, 1 / 0.7).motion(moved), np.eye(4), atol=1e-12)
    # Forgetting the unit would make it ask again.
    assert transforms.angle_rad(asking.motion(moved)) < 1e-6
    assert np.cbrt(np.linalg.det(asking.motion(moved)[:3, :3])) == pytest.approx(1 / 0.7)


def test_rescaled_whole_map_still_agrees(poses):
    grown = poses.copy()
    grown[:, :3, 3] *= 2.5
    np.testing.assert_allclose(
        loop(poses, 2, 8).rescaled(2.5, 2.5).motion(grown), np.eye(4), atol=1e-12
    )


def test_supports_counts_loops_that_ask_for_the_same(poses):
    bent = poses.copy()
    bent[6:] = pose(4.0, -1.0, 0.1) @ poses[6:]
    same = [loop(poses, k - 6, k) for k in (7, 8, 9, 10)]
    other = loop(poses, 0, 11)
    off = replace(other, S_old_new=other.S_old_new @ pose(5.0, 0.0))
    counts = supports([*same, off], bent, range(5))
    np.testing.assert_array_equal(counts, [3, 3, 3, 3, 0])


def test_supports_same_keyframe_twice_is_no_support(poses):
    twice = [loop(poses, 0, 9), loop(poses, 1, 9)]
    np.testing.assert_array_equal(supports(twice, poses, range(2)), [0, 0])
