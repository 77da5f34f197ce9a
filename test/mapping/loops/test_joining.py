"""A session that joins the map: the updates tell what was carried, at the cost of that."""

import numpy as np
import pytest
from landmark_drive_maker import Drive, facades, line, pose

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.mapping.surface.surface import SurfaceMap
from seg2d3d_ros.types import EventKind

CONFIG = override(Config(), {"mapping.refine": False})
HOUSE_M = 12.0
AGAIN_M = 24.0


@pytest.fixture(scope="module")
def clusters():
    """Return clusters of a street, and of its second half again in a session of its own."""
    street = line(72.0)
    points, descriptors = facades(street, np.random.default_rng(21))
    houses = 2 * (points[:, 0] // HOUSE_M).astype(int) + (points[:, 1] > 0)
    drive = Drive(points, descriptors, houses=houses)
    again = [pose(AGAIN_M, 1.0) @ T for T in line(48.0)]
    return [
        *drive.clusters(street, is_last=False),
        *drive.clusters(again, session=1, T_local_start=pose(-70.0, 15.0, 1.6)),
    ]


def decisions(events):
    """Return what was decided about identities; states of instances are told by other updates."""
    kinds = (EventKind.CREATED, EventKind.MERGED, EventKind.SPLIT, EventKind.GONE)
    return [(e.kind, e.instance, e.other) for e in events if e.kind in kinds]


def pushed(clusters):
    stage = MappingStage(CONFIG)
    return stage, [stage.push(c) for c in clusters]


def test_push_session_that_joins_tells_where_all_of_it_lies_now(clusters):
    stage, updates = pushed(clusters)
    joined = [u.counts["parts"] for u in updates].index(1, len(updates) // 2 + 1)
    assert updates[joined - 1].counts["parts"] == 2
    assert not any(u.is_full for u in updates)
    poses, points, instances = {}, {}, {}
    for u in updates:
        poses |= dict(zip(u.trajectory.stamps_ns.tolist(), u.trajectory.T_map_base, strict=True))
        points |= dict(zip(u.cloud.ids.tolist(), u.cloud.points_map, strict=True))
        for gone in u.removed_points.tolist():
            points.pop(gone, None)
        instances |= {i.id: i for i in u.instances}
        for gone in u.removed_instances:
            instances.pop(gone)
    whole = stage.snapshot(is_filled=False)
    assert sorted(poses) == whole.trajectory.stamps_ns.tolist()
    told = np.stack([poses[s] for s in sorted(poses)])
    np.testing.assert_array_equal(told, whole.trajectory.T_map_base)
    assert sorted(points) == whole.cloud.ids.tolist()
    np.testing.assert_array_equal(
        np.stack([points[i] for i in sorted(points)]), whole.cloud.points_map
    )
    assert [e.sequence for u in updates for e in u.events] == list(range(len(whole.events)))
    assert sorted(instances) == [i.id for i in whole.instances]
    for i in whole.instances:
        np.testing.assert_array_equal(instances[i.id].centroid_map, i.centroid_map)
    # pixels are noisy by 0.3: what is left is the loops' own sigma
    second = (
        told[-len(line(48.0)) :, :3, 3] - (pose(AGAIN_M, 1.0) @ np.stack(line(48.0)))[:, :3, 3]
    )
    assert np.abs(second).max() < 0.3


def test_push_session_that_joins_is_decided_about_as_if_the_whole_map_had_moved(
    clusters, monkeypatch
):
    part, updates = pushed(clusters)
    monkeypatch.setattr(SurfaceMap, "is_recent", lambda *_: False)
    whole, told = pushed(clusters)
    assert sum(u.is_full for u in told) == 1 + sum(u.is_full for u in updates)
    a, b = part.snapshot(), whole.snapshot()
    assert len(a.instances) >= 8
    assert [i.id for i in a.instances] == [i.id for i in b.instances]
    assert a.assignments == b.assignments
    np.testing.assert_array_equal(a.cloud.instances, b.cloud.instances)
    assert decisions(a.events) == decisions(b.events)
    # The houses of the second half were seen by both sessions, and are one each.
    assert len(a.instances) <= 2 * 72.0 / HOUSE_M
    assert transforms.angle_rad(a.trajectory.T_map_base[-1]) < np.deg2rad(1.0)
