"""The mapping stage with loops: what goes out when the map bends, and going on after a pause."""

import numpy as np
import pytest
from landmark_drive_maker import RIG, Drive, facades, line, pose, ring

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.archive import MemoryStore
from seg2d3d_ros.mapping.loops.mask_witness import MaskWitness
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import Camera, Rig

RADIUS_M = 30.0
LAP_M = 2 * np.pi * RADIUS_M
# Without refinement what is left is what the loops did.
CONFIG = override(Config(), {"mapping.refine": False})


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(12)
    drive = Drive(*facades(ring(LAP_M, RADIUS_M), rng), drift_deg_per_m=0.02)
    return drive.clusters(ring(1.3 * LAP_M, RADIUS_M))


def test_push_that_closes_a_loop_tells_the_whole_map(clusters):
    stage = MappingStage(CONFIG)
    updates = [stage.push(c) for c in clusters]
    bent = [u for u in updates if u.is_full]
    assert bent
    assert bent[0].counts["loops_kept"] > 0
    assert bent[0].counts["loop_correction_m"] > 1.0
    # No update tells of a landmark that was merged away, and none is told twice.
    gone, _ = stage._state._aliases.table()
    assert len(gone) > 100
    after = updates[updates.index(bent[-1]) :]
    assert not any(np.isin(u.cloud.ids, gone).any() for u in after)
    assert all(len(np.unique(u.cloud.ids)) == len(u.cloud.ids) for u in updates)
    # Where clusters go on after the bend they meet what they share with the map.
    assert stage.counts["alignment_residual_m"] < 0.5


def test_take_closes_a_loop_as_push_does(clusters):
    pushed, taken = MappingStage(CONFIG), MappingStage(CONFIG)
    for cluster in clusters:
        pushed.push(cluster)
        taken.take(cluster)
    a, b = pushed.finish(), taken.finish()
    assert b.counts["loop_correction_m"] > 1.0
    assert b.counts == a.counts
    np.testing.assert_array_equal(a.trajectory.T_map_base, b.trajectory.T_map_base)
    np.testing.assert_array_equal(a.cloud.points_map, b.cloud.points_map)
    assert a.events == b.events


def test_push_second_lap_that_is_known_drifts_no_more_and_bends_nothing(clusters):
    stage = MappingStage(CONFIG)
    updates = [stage.push(c) for c in clusters]
    # Odometry drifts by 0.08 m and 0.3 degrees from cluster to cluster.
    centers = np.stack([f.T_world_base[:3, 3] for f in stage._state.frames])
    lap = round(LAP_M / 1.2)
    behind = np.linalg.norm(centers[lap:] - centers[:-lap], axis=1)
    # a lap is no whole number of steps: keyframes of two laps lie up to half a step apart
    true = abs(2 * RADIUS_M * np.sin((lap * 1.2 / RADIUS_M - 2 * np.pi) / 2))
    assert np.abs(behind - true).max() < 0.2
    (bent,) = (u for u in updates if u.is_full)
    # One place in eight asks, where each second one did.
    assert 4 <= stage.counts["loops_tried"] - bent.counts["loops_tried"] <= 8


def test_push_loops_that_find_the_map_closed_read_no_masks(clusters, monkeypatch):
    asked = []
    monkeypatch.setattr(
        MaskWitness, "agreement", lambda self, old, new, *ids: asked.append(new) or np.nan
    )
    stage = MappingStage(CONFIG)
    updates = [stage.push(c) for c in clusters]
    (bent,) = (u for u in updates if u.is_full)
    assert len(asked) == bent.counts["loops_verified"]
    assert stage.counts["loops_verified"] >= bent.counts["loops_verified"] + 3


def test_restore_before_the_loop_closes_it_all_the_same(clusters):
    whole, store = MappingStage(CONFIG), MemoryStore()
    parted = MappingStage(CONFIG, store)
    half = len(clusters) // 2
    for cluster in clusters:
        whole.push(cluster)
    for cluster in clusters[:half]:
        parted.push(cluster)
    parted.keep()
    parted = MappingStage.restore(store)
    for cluster in clusters[half:]:
        parted.push(cluster)
    a, b = whole.finish(), parted.finish()
    assert a.counts["loops_kept"] > 0
    np.testing.assert_array_equal(a.trajectory.T_map_base, b.trajectory.T_map_base)
    np.testing.assert_array_equal(a.cloud.ids, b.cloud.ids)
    np.testing.assert_array_equal(a.cloud.points_map, b.cloud.points_map)


def test_second_vehicle_with_another_camera_finds_its_place_on_the_map():
    rng = np.random.default_rng(21)
    street = line(120.0)
    points, descriptors = facades(street, rng)
    first = Drive(points, descriptors)
    # A van: its camera is wider, sits higher and looks 15 degrees to the left. It joins the street
    # in the middle of it, crosswise of where its own odometry begins.
    K = np.array([[400.0, 0.0, 480.0], [0.0, 400.0, 300.0], [0.0, 0.0, 1.0]])
    T_base_cam = pose(0.5, 0.3, np.deg2rad(15.0)) @ RIG.cameras[0].T_base_cam
    T_base_cam[2, 3] = 2.4
    rig = Rig((Camera("van", 960, 600, K, T_base_cam),))
    van = Drive(points, descriptors, rig=rig, seed=5, stamp=10**12)
    way = [pose(40.0 + s, 1.2) for s in np.arange(0.0, 60.0, 1.2)]
    store = MemoryStore()
    stage = MappingStage(CONFIG, store)
    for cluster in first.clusters(street):
        stage.push(cluster)
    stage.finish()
    stage.keep()
    stage = MappingStage.restore(store)
    for cluster in van.clusters(way, T_local_start=pose(-70.0, 15.0, 1.6)):
        stage.push(cluster)
    full = stage.finish()
    assert full.counts["parts"] == 1
    assert not any("parts" in remark for remark in stage.remarks)
    assert [c.name for c in stage._state.rig.cameras] == ["front", "van"]
    est = full.trajectory.T_map_base
    T_street_map = street[0] @ transforms.invert(est[0])
    # The map's landmarks are exact, pixels noisy by 0.3: what is left is the loops' own sigma.
    found = (T_street_map @ est[len(street) :])[:, :3, 3]
    np.testing.assert_allclose(found, np.stack(way)[:, :3, 3], atol=0.3)
