"""Clusters of a node that was started again lie where the vehicle probably is."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.nodes.restarts import Restarts
from seg2d3d_ros.types import Camera, Cluster, Keyframe, Landmarks, Observations, Rig

S = 1_000_000_000
NONE = np.zeros(0, dtype=np.int64)
RIG = Rig((Camera("cam", 4, 4, np.eye(3), np.eye(4)),))


def turned(yaw_deg, x, y):
    return transforms.rigid(Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix(), [x, y, 0])


def cluster(sequence, poses, points=((0.0, 0.0, 0.0),)):
    """A cluster with frames of given stamps (s) and poses, and with landmarks."""
    num = len(points)
    return Cluster(
        sequence=sequence,
        session=0,
        is_last=False,
        scale="metric",
        num_overlap=0,
        rig=RIG,
        frames=tuple(Keyframe(round(t * S), T, True, (0,), (0,)) for t, T in poses),
        landmarks=Landmarks(
            np.arange(num),
            np.array(points),
            np.zeros((num, 3), np.uint8),
            np.zeros((num, 0), np.uint8),
            np.zeros(num, np.float32),
        ),
        observations=Observations(NONE, NONE, NONE, np.zeros((0, 2), np.float32)),
    )


def heading_north(first_s):
    """Frames of a vehicle that goes north at 5 m/s and looks there; it ends at (2, 10)."""
    return [(first_s + k / 10, turned(90, 2.0, 10.0 - 0.5 * (10 - k))) for k in range(11)]


def test_clusters_without_a_restart_pass_unchanged():
    restarts = Restarts()
    for made in (cluster(0, heading_north(0)), cluster(1, heading_north(1)), cluster(5, [])):
        assert restarts.follow(made) is made
    assert restarts.num == 0


def test_restart_begins_where_the_vehicle_went_on_at_its_speed():
    restarts = Restarts()
    restarts.follow(cluster(0, heading_north(0)))
    ahead = [(4.0 + k, turned(0, 5.0 * k, 0.0)) for k in range(3)]  # its own frame: x ahead
    moved = restarts.follow(cluster(0, ahead, [(10.0, 1.0, 2.0)]))
    assert restarts.num == 1
    # three seconds at 5 m/s north of (2, 10), looking north
    assert np.allclose(moved.frames[0].T_local_base, turned(90, 2.0, 25.0))
    assert np.allclose(moved.frames[2].T_local_base, turned(90, 2.0, 35.0))
    assert np.allclose(moved.landmarks.points_local, [[1.0, 35.0, 2.0]])
    later = restarts.follow(cluster(1, [(7.0, turned(0, 15.0, 0.0))]))
    assert np.allclose(later.frames[0].T_local_base, turned(90, 2.0, 40.0))
    assert restarts.num == 1


def test_second_restart_goes_on_from_the_first():
    restarts = Restarts()
    restarts.follow(cluster(0, heading_north(0)))
    restarts.follow(cluster(0, [(2.0, np.eye(4)), (3.0, turned(0, 5.0, 0.0))]))
    moved = restarts.follow(cluster(0, [(4.0, np.eye(4))]))
    assert np.allclose(moved.frames[0].T_local_base, turned(90, 2.0, 25.0))
    assert restarts.num == 2


@pytest.mark.parametrize("first_s", [0.5, 100.0])  # a bag from its start; another drive
def test_restart_at_another_time_is_not_placed(first_s):
    restarts = Restarts()
    restarts.follow(cluster(0, heading_north(0)))
    made = cluster(0, [(first_s, np.eye(4))])
    assert restarts.follow(made) is made
    assert restarts.num == 1
