from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from street_maker import (
    START_NS,
    TURNED,
    DriveOptions,
    MaskErrors,
    agreement,
    assigned,
    later,
    make_cluster,
    make_drive,
    make_street,
    moved,
    observe,
)

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.geodesy import enu_to_geodetic
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind, Fix, InstanceState, MapUpdate, Origin

CONFIG = Config()
UNREFINED = override(Config(), {"mapping.refine": False})
ORIGIN = Origin(48.1, 11.6, 520.0)


@pytest.fixture(scope="module")
def drive():
    return make_drive(
        make_street(3), DriveOptions(errors=MaskErrors(missed=0.1, split=0.05, merged=0.05))
    )


def run(clusters, config=CONFIG):
    stage = MappingStage(config)
    return stage, [stage.push(c) for c in clusters]


@pytest.fixture(scope="module")
def mapped(drive):
    stage, updates = run(drive.clusters)
    return stage, updates, stage.snapshot(), stage.finish()


def assert_equal(a, b):
    """Compare two updates value by value."""
    for name in MapUpdate.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if name in ("trajectory", "cloud"):
            for part in vars(x):
                np.testing.assert_array_equal(getattr(x, part), getattr(y, part))
        elif name == "instances":
            assert [repr(i) for i in x] == [repr(i) for i in y]
        elif isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y)
        else:
            assert x == y, name


def assert_consistent(update):
    """What every update that holds the whole map promises."""
    shown = {i.id for i in update.instances}
    assert len(shown) == len(update.instances)
    assert {a.instance for a in update.assignments} - {0} <= shown
    assert set(update.cloud.instances.tolist()) - {0} <= shown
    assert np.isfinite(update.cloud.points_map).all()
    assert len(np.unique(update.cloud.ids)) == len(update.cloud.ids)
    assert (np.diff(update.trajectory.stamps_ns) > 0).all()
    views = Counter(a.instance for a in update.assignments)
    points = Counter(update.cloud.instances.tolist())
    for i in update.instances:
        assert (i.num_views, i.num_points) == (views[i.id], points[i.id])
        stamps = [a.stamp_ns for a in update.assignments if a.instance == i.id]
        assert (i.first_stamp_ns, i.last_stamp_ns) == (min(stamps), max(stamps))


# ----------------------------------------------------------------------------------- the map


def test_finish_holds_every_pose_every_landmark_and_every_mask_once(drive, mapped):
    *_, full = mapped
    street = drive.street
    assert full.is_full
    np.testing.assert_array_equal(full.trajectory.stamps_ns, street.stamps_ns)
    np.testing.assert_array_equal(full.trajectory.is_keyframe, np.arange(60) % 2 == 0)
    np.testing.assert_allclose(full.trajectory.T_map_base, street.T_world_base, atol=1e-3)
    keys = [(a.stamp_ns, a.camera, a.label) for a in full.assignments]
    assert sorted(keys) == sorted(drive.houses)
    assert full.sequence == len(drive.clusters) - 1
    assert full.stamp_ns == street.stamps_ns[-1]
    assert full.counts["clusters"] == len(drive.clusters)
    assert full.counts["keyframes"] == 30
    assert full.counts["landmarks"] == len(full.cloud.ids)


def test_finish_and_snapshot_are_consistent_in_themselves(mapped):
    _, _, snapshot, full = mapped
    assert_consistent(snapshot)
    assert_consistent(full)
    assert len(full.instances) == 6


def test_finish_holds_all_events_in_order(mapped):
    _, updates, _, full = mapped
    assert [e.sequence for e in full.events] == list(range(len(full.events)))
    pushed = [e for u in updates for e in u.events]
    assert list(full.events[: len(pushed)]) == pushed
    assert Counter(e.kind for e in full.events)[EventKind.CREATED] >= 6


def test_finish_twice_returns_the_same(mapped):
    stage, _, _, full = mapped
    assert_equal(stage.finish(), full)


def test_snapshot_does_not_change_the_map(drive):
    stage, plain = MappingStage(CONFIG), MappingStage(CONFIG)
    for cluster in drive.clusters:
        stage.push(cluster)
        plain.push(cluster)
        assert_equal(stage.snapshot(), stage.snapshot())
    assert_equal(stage.finish(), plain.finish())


def test_same_clusters_twice_give_equal_maps(drive, mapped):
    stage, updates = run(drive.clusters)
    for a, b in zip(updates, mapped[1], strict=True):
        assert_equal(a, b)


def test_take_ends_in_the_same_map_as_push(drive, mapped):
    stage = MappingStage(CONFIG)
    for cluster in drive.clusters:
        stage.take(cluster)
    assert_equal(stage.finish(), mapped[3])


def test_push_after_finish_goes_on(drive, mapped):
    stage, _ = run(drive.clusters[:-1])
    half = stage.finish()
    stage.push(drive.clusters[-1])
    full = stage.finish()
    assert len(half.trajectory.stamps_ns) < len(full.trajectory.stamps_ns) == 60
    assert_consistent(full)
    assert agreement(assigned(full), assigned(mapped[3])) > 0.98


# ------------------------------------------------------------------------------------ updates


def test_push_updates_put_together_are_the_snapshot(mapped):
    _, updates, snapshot, _ = mapped
    instances, poses, masks = {}, {}, {}
    for u in updates:
        assert not u.is_full
        for gone in u.removed_instances:
            del instances[gone]
        instances |= {i.id: i for i in u.instances}
        pairs = zip(u.trajectory.stamps_ns.tolist(), u.trajectory.T_map_base, strict=True)
        poses |= dict(pairs)
        masks |= assigned(u)
    assert instances.keys() == {i.id for i in snapshot.instances}
    for i in snapshot.instances:
        assert instances[i.id].num_points == i.num_points
    assert sorted(poses) == snapshot.trajectory.stamps_ns.tolist()
    np.testing.assert_array_equal(
        [poses[s] for s in sorted(poses)], snapshot.trajectory.T_map_base
    )
    assert masks.keys() == assigned(snapshot).keys()


def test_push_update_speaks_of_the_frames_of_its_cluster(drive, mapped):
    for cluster, update in zip(drive.clusters, mapped[1], strict=True):
        stamps = [f.stamp_ns for f in cluster.frames]
        assert update.sequence == cluster.sequence
        assert update.stamp_ns == stamps[-1]
        assert update.trajectory.stamps_ns.tolist() == stamps
        assert {a.stamp_ns for a in update.assignments} <= set(stamps)
        np.testing.assert_array_equal(np.sort(update.cloud.ids), cluster.landmarks.ids)


def test_push_instance_seen_at_too_few_moments_is_tentative(drive, mapped):
    few = override(Config(), {"mapping.min_instance_views": 50})
    stage, updates = run(drive.clusters, few)
    shown = {i.id for i in updates[0].instances}
    assert {i.state for i in updates[0].instances} == {InstanceState.TENTATIVE}
    assert {a.instance for a in updates[0].assignments} - {0} == shown
    assert EventKind.CONFIRMED not in {e.kind for e in updates[0].events}
    # what was not confirmed is gone in the end
    assert all(i.state == InstanceState.CONFIRMED for i in stage.finish().instances)


# -------------------------------------------------------------------------------- odd clusters


def empty_cluster(street, sequence):
    none = tuple(a[:0] for a in observe(street))
    return replace(make_cluster(street, none, range(1)), frames=(), sequence=sequence)


def test_push_empty_last_cluster_is_harmless(drive, mapped):
    num = len(drive.clusters)
    stage, updates = run([*drive.clusters, empty_cluster(drive.street, num)])
    assert len(updates[-1].trajectory.stamps_ns) == len(updates[-1].assignments) == 0
    assert updates[-1].removed_instances == ()
    full = stage.finish()
    assert_consistent(full)
    assert assigned(full) == assigned(mapped[3])


def test_finish_without_any_cluster_gives_an_empty_map():
    full = MappingStage(CONFIG).finish()
    assert full.is_full
    assert len(full.trajectory.stamps_ns) == len(full.cloud.ids) == 0
    assert full.instances == full.events == full.assignments == ()
    assert full.stamp_ns == 0


def test_only_an_empty_cluster_gives_an_empty_map(drive):
    stage, _ = run([replace(empty_cluster(drive.street, 0), is_last=True)])
    full = stage.finish()
    assert len(full.trajectory.stamps_ns) == len(full.cloud.ids) == 0


def test_no_masks_at_all_give_poses_and_points_without_instances(drive):
    stage, _ = run([replace(c, segmentations=()) for c in drive.clusters])
    full = stage.finish()
    assert full.instances == full.assignments == full.events == ()
    assert len(full.trajectory.stamps_ns) == 60
    assert len(full.cloud.ids) > 300
    assert not full.cloud.labels.any() and not full.cloud.instances.any()


def test_no_odometry_gives_the_same_buildings(drive, mapped):
    stage, _ = run([replace(c, odometry=()) for c in drive.clusters])
    full = stage.finish()
    assert "odometry_scale" not in full.counts
    assert agreement(assigned(full), assigned(mapped[3])) > 0.98


def test_local_frame_that_jumps_is_aligned_by_shared_landmarks(drive, mapped):
    # a correction by loop closure or a new gauge: the second half speaks of another frame
    T = transforms.exp([0.0, 0.0, 0.5, 20.0, 5.0, 1.0])
    clusters = [moved(c, T) if k >= 2 else c for k, c in enumerate(drive.clusters)]
    stage, updates = run(clusters)
    np.testing.assert_allclose(updates[-1].T_map_local @ T, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(
        stage.snapshot().trajectory.T_map_base, drive.street.T_world_base, atol=1e-6
    )
    assert agreement(assigned(stage.finish()), assigned(mapped[3])) > 0.98


def second_session(cluster, num_landmarks, offset_s, T):
    """The same pictures later on, with landmarks and a local frame of their own."""
    landmarks = replace(cluster.landmarks, ids=cluster.landmarks.ids + num_landmarks)
    changed = later(cluster, int(offset_s * 1e9))
    return moved(replace(changed, session=1, landmarks=landmarks), T)


def test_two_sessions_far_apart_are_two_streets(drive):
    away = transforms.exp([0.0, 0.0, 0.0, 500.0, 0.0, 0.0])
    num = len(drive.clusters)
    second = [
        replace(second_session(c, 360, 100, away), sequence=num + c.sequence)
        for c in drive.clusters
    ]
    stage, _ = run([*drive.clusters, *second])
    full = stage.finish()
    assert_consistent(full)
    assert len(full.trajectory.stamps_ns) == 120
    assert len(full.instances) == 12
    assert full.counts["sessions"] == 2
    assert "the map is in 2 parts" in stage.remarks[-1]
    of_session = [
        {a.instance for a in full.assignments if (a.stamp_ns > START_NS + 50e9) == later} - {0}
        for later in (False, True)
    ]
    assert not of_session[0] & of_session[1]


def test_two_sessions_past_the_same_street_find_the_same_buildings(drive):
    num = len(drive.clusters)
    second = [
        replace(second_session(c, 360, 100, np.eye(4)), sequence=num + c.sequence)
        for c in drive.clusters
    ]
    stage, _ = run([*drive.clusters, *second])
    full = stage.finish()
    assert len(full.instances) == 6
    assert all(i.last_stamp_ns - i.first_stamp_ns > 90e9 for i in full.instances)


# --------------------------------------------------------------------------------------- GNSS


def with_fixes(clusters, street, T_enu_world, sigma_m=0.3):
    rng = np.random.default_rng(0)
    out, done = [], -1
    for c in clusters:
        fixes = []
        for f in c.frames:
            if f.stamp_ns > done and (f.stamp_ns - START_NS) % 300_000_000 == 0:
                enu = (T_enu_world @ street.T_world_base[(f.stamp_ns - START_NS) // 10**8])[:3, 3]
                noise = sigma_m * rng.standard_normal(3)
                lat, lon, alt = enu_to_geodetic(enu + noise, ORIGIN)[0]
                fixes.append(Fix(f.stamp_ns, lat, lon, alt, np.eye(3) * sigma_m**2))
        done = c.frames[-1].stamp_ns
        out.append(replace(c, fixes=tuple(fixes)))
    return out


@pytest.fixture(scope="module")
def georeferenced(drive):
    """Updates, finished map and true poses; the first fixes come with the second cluster."""
    T_enu_world = transforms.exp([0, 0, 1.2, 40.0, -30.0, 2.0])
    first, *others = with_fixes(drive.clusters, drive.street, T_enu_world)
    stage, updates = run([replace(first, fixes=()), *others])
    return updates, stage.finish(), T_enu_world @ drive.street.T_world_base


def test_gnss_places_the_map_on_the_earth(georeferenced):
    _, full, truth = georeferenced
    assert full.scale == "metric"
    p = enu_to_geodetic(full.trajectory.T_map_base[:, :3, 3], full.origin)
    q = enu_to_geodetic(truth[:, :3, 3], ORIGIN)
    error_m = np.abs(p - q) * [111_000.0, 74_000.0, 1.0]
    # 12 fixes of 0.3 m along half of the way
    assert error_m.max() < 0.6
    turn = transforms.invert(truth) @ full.trajectory.T_map_base
    assert np.rad2deg(max(transforms.angle_rad(T) for T in turn)) < 3.0


def test_gnss_update_that_moves_the_map_tells_all_that_moved(georeferenced):
    updates, full, _ = georeferenced
    (first,) = [k for k, u in enumerate(updates) if u.origin and not (k and updates[k - 1].origin)]
    assert first > 0
    told = updates[first]
    seen = np.unique(np.concatenate([u.trajectory.stamps_ns for u in updates[: first + 1]]))
    np.testing.assert_array_equal(told.trajectory.stamps_ns, seen)
    seen = np.unique(np.concatenate([u.cloud.ids for u in updates[: first + 1]]))
    np.testing.assert_array_equal(np.sort(told.cloud.ids), seen)
    assert_consistent(told)


def test_gnss_keeps_buildings_and_counts_all_events(georeferenced, mapped):
    updates, full, _ = georeferenced
    assert agreement(assigned(full), assigned(mapped[3])) > 0.98
    assert [e.sequence for e in full.events] == list(range(len(full.events)))


def test_gnss_too_short_a_drive_stays_where_it_is(drive):
    clusters = with_fixes(drive.clusters[:1], drive.street, np.eye(4), sigma_m=3.0)
    stage, _ = run(clusters)
    full = stage.finish()
    assert full.origin is None
    np.testing.assert_allclose(full.trajectory.T_map_base[0], np.eye(4), atol=1e-6)


def test_gnss_on_a_drive_that_saw_nothing_still_places_it(drive):
    street = make_street(3, TURNED)
    none = tuple(a[:0] for a in observe(street))
    cluster = make_cluster(street, none, range(60))
    T_enu_world = transforms.exp([0, 0, 1.2, 40.0, -30.0, 2.0])
    stage, _ = run(with_fixes([cluster], street, T_enu_world))
    full = stage.finish()
    assert full.origin is not None
    assert len(full.trajectory.stamps_ns) == 60


def test_unknown_scale_is_said_until_gnss_tells_it(drive):
    bare = [replace(c, scale="unknown", odometry=()) for c in drive.clusters]
    stage, _ = run(bare)
    assert stage.finish().scale == "unknown"
    S = 0.25
    small = [
        replace(
            c,
            frames=tuple(replace(f, T_local_base=_shrunk(f.T_local_base, S)) for f in c.frames),
            landmarks=replace(
                c.landmarks,
                points_local=c.landmarks.points_local * S,
                sigma_m=c.landmarks.sigma_m * np.float32(S),
            ),
        )
        for c in bare
    ]
    stage, _ = run(with_fixes(small, drive.street, np.eye(4), sigma_m=0.05), UNREFINED)
    full = stage.finish()
    assert full.scale == "metric"
    way = np.linalg.norm(np.diff(full.trajectory.T_map_base[:, :3, 3], axis=0), axis=1).sum()
    assert way == pytest.approx(29.5, rel=0.02)
    assert len(full.instances) == 6


def _shrunk(T, scale):
    T = T.copy()
    T[:3, 3] *= scale
    return T
