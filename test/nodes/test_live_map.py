import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

from seg2d3d_ros.nodes.live_map import LiveMap, thin
from seg2d3d_ros.types import MapUpdate, PointCloud, Trajectory


def cloud(points):
    """Return a cloud of points by id: {id: (x, y, z)}."""
    n = len(points)
    return PointCloud(
        ids=np.array(list(points), dtype=np.int64),
        points_map=np.array(list(points.values()), dtype=float).reshape(n, 3),
        colors_rgb=np.zeros((n, 3), dtype=np.uint8),
        labels=np.zeros(n, dtype=np.uint32),
        instances=np.zeros(n, dtype=np.uint32),
        sigma_m=np.zeros(n, dtype=np.float32),
        num_views=np.zeros(n, dtype=np.uint32),
    )


def trajectory(*stamps_x):
    T = np.tile(np.eye(4), (len(stamps_x), 1, 1))
    T[:, 0, 3] = [x for _, x in stamps_x]
    stamps = np.array([s for s, _ in stamps_x], dtype=np.int64)
    return Trajectory(stamps, T, np.ones(len(stamps), dtype=bool))


def update(points, poses=(), removed=(), is_full=False):
    return MapUpdate(
        sequence=0,
        stamp_ns=0,
        is_full=is_full,
        scale="metric",
        origin=None,
        T_map_local=np.eye(4),
        trajectory=trajectory(*poses),
        cloud=cloud(points),
        removed_points=np.array(removed, dtype=np.int64),
        instances=(),
        removed_instances=(),
        events=(),
        assignments=(),
    )


def test_apply_point_in_one_tile_returns_all_points_of_that_tile_only():
    live = LiveMap(tile_m=50.0)
    live.apply(update({1: (1, 1, 0), 2: (2, 2, 0), 3: (60, 1, 0)}))
    changed = live.apply(update({4: (49, 49, 0)}))
    assert changed.ids.tolist() == [1, 2, 4]


def test_apply_point_that_moved_out_of_a_tile_returns_both_tiles():
    live = LiveMap(tile_m=50.0)
    live.apply(update({1: (1, 1, 0), 2: (2, 2, 0), 3: (60, 1, 0), 4: (-200, 0, 0)}))
    changed = live.apply(update({2: (61, 2, 0)}))
    assert changed.ids.tolist() == [1, 2, 3]
    assert live.cloud.points_map[live.cloud.ids == 2].tolist() == [[61, 2, 0]]


def test_apply_removed_point_is_gone_and_its_tile_returned():
    live = LiveMap(tile_m=50.0)
    live.apply(update({1: (1, 1, 0), 2: (2, 2, 0)}))
    assert live.apply(update({}, removed=[1])).ids.tolist() == [2]


def everything(live):
    return [getattr(live.cloud, f.name) for f in dataclasses.fields(PointCloud)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_apply_any_updates_give_the_map_that_one_full_update_gives(seed):
    rng = np.random.default_rng(seed)
    live, points = LiveMap(tile_m=50.0), {}
    for _ in range(6):
        new = {int(i): tuple(rng.uniform(-120, 120, 3)) for i in rng.integers(0, 12, 4)}
        gone = [i for i in points if i not in new and rng.random() < 0.3]
        touched = {_tile(points[i]) for i in (*new, *gone) if i in points}
        touched |= {_tile(p) for p in new.values()}
        points = {i: p for i, p in {**points, **new}.items() if i not in gone}
        changed = live.apply(update(new, removed=gone))
        assert changed.ids.tolist() == sorted(i for i, p in points.items() if _tile(p) in touched)
    whole = LiveMap(tile_m=50.0)
    whole.apply(update(points, is_full=True))
    for a, b in zip(everything(live), everything(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    live.apply(update({}, is_full=True))
    assert len(live.cloud.ids) == 0


def _tile(p):
    return (p[0] // 50.0, p[1] // 50.0)


def test_apply_negative_coordinates_do_not_share_the_tile_of_the_origin():
    live = LiveMap(tile_m=50.0)
    live.apply(update({1: (1, 1, 0), 2: (-1, 1, 0)}))
    assert live.apply(update({3: (-2, 1, 0)})).ids.tolist() == [2, 3]


def test_apply_full_update_replaces_everything():
    live = LiveMap(tile_m=50.0)
    live.apply(update({1: (1, 1, 0)}, poses=[(10, 0.0), (20, 1.0)]))
    live.apply(update({7: (5, 5, 0)}, poses=[(10, 0.5)], is_full=True))
    assert live.cloud.ids.tolist() == [7]
    assert live.trajectory.stamps_ns.tolist() == [10]


def test_apply_pose_again_takes_the_new_one_and_keeps_stamp_order():
    live = LiveMap(tile_m=50.0)
    live.apply(update({}, poses=[(10, 0.0), (30, 3.0)]))
    live.apply(update({}, poses=[(20, 2.0), (30, 3.5)]))
    assert live.trajectory.stamps_ns.tolist() == [10, 20, 30]
    assert live.trajectory.T_map_base[:, 0, 3].tolist() == [0.0, 2.0, 3.5]


def test_thin_keeps_one_point_per_voxel_the_oldest():
    thinned = thin(cloud({5: (0.1, 0.1, 0.1), 6: (0.15, 0.1, 0.1), 7: (0.3, 0.1, 0.1)}), 0.2)
    assert thinned.ids.tolist() == [5, 7]


def test_thin_voxel_of_zero_keeps_all():
    assert thin(cloud({5: (0, 0, 0), 6: (0, 0, 0)}), 0.0).ids.tolist() == [5, 6]
