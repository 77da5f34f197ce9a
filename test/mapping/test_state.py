from dataclasses import replace

import numpy as np
import pytest
from street_maker import DriveOptions, make_cluster, make_drive, make_street, moved, observe

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.state import MapState

SHIFT = transforms.exp([0.0, 0.0, 0.3, 5.0, -2.0, 0.5])


@pytest.fixture(scope="module")
def street():
    return make_street(2, num_points=20)


@pytest.fixture(scope="module")
def clusters(street):
    return make_drive(street, DriveOptions(size=16, overlap=6)).clusters


def filled(clusters):
    state = MapState()
    increments = [state.add(c, np.eye(4)) for c in clusters]
    return state, increments


def test_cameras_none_before_the_first_cluster_then_those_of_the_rig(street, clusters):
    assert MapState().cameras == ()
    assert filled(clusters[:1])[0].cameras == street.rig.cameras


def test_add_every_frame_is_kept_once_in_stamp_order(street, clusters):
    state, increments = filled(clusters)
    assert [f.stamp_ns for f in state.frames] == street.stamps_ns.tolist()
    assert [k for i in increments for k in i.new_frames] == list(range(len(state.frames)))
    assert increments[1].frames == list(range(10, 26))
    np.testing.assert_array_equal([f.T_world_base for f in state.frames], street.T_world_base)


def test_add_poses_and_points_are_carried_into_the_world(street, clusters):
    state = MapState()
    state.add(moved(clusters[0], transforms.invert(SHIFT)), SHIFT)
    ids = clusters[0].landmarks.ids
    np.testing.assert_allclose(state.points(ids), street.points[ids], atol=1e-9)
    np.testing.assert_allclose(
        [f.T_world_base for f in state.frames], street.T_world_base[:16], atol=1e-9
    )


def test_add_overlap_replaces_poses_points_and_observations(clusters):
    first, second = clusters[:2]
    state, _ = filled([first])
    state.add(second, SHIFT)
    np.testing.assert_allclose(
        state.frames[10].T_world_base, SHIFT @ second.frames[0].T_local_base, atol=1e-12
    )
    np.testing.assert_array_equal(state.frames[9].T_world_base, first.frames[9].T_local_base)
    shared = np.intersect1d(first.landmarks.ids, second.landmarks.ids)
    assert len(shared) > 10
    rows = np.isin(second.landmarks.ids, shared)
    expected = transforms.apply(SHIFT, second.landmarks.points_local[rows])
    np.testing.assert_allclose(state.points(second.landmarks.ids[rows]), expected, atol=1e-12)
    rows = second.observations.frame == 0
    seen = second.landmarks.ids[second.observations.landmark[rows]]
    assert sorted(state.frames[10].ids) == sorted(seen)


def test_add_observations_keep_landmark_camera_and_pixel_together(street, clusters):
    state, _ = filled(clusters)
    frame, camera, point, uv = observe(street)
    rows = zip(frame.tolist(), camera.tolist(), point.tolist(), strict=True)
    truth = {key: uv[k] for k, key in enumerate(rows)}
    for k in (0, 7, 20, 39):
        f = state.frames[k]
        assert len(f.ids) > 5
        expected = [truth[k, c, i] for c, i in zip(f.camera.tolist(), f.ids.tolist(), strict=True)]
        np.testing.assert_allclose(f.uv_px, expected, atol=1e-3)


def test_add_masks_of_every_picture_arrive_at_its_frame(street, clusters):
    state, _ = filled(clusters)
    given = {(s.stamp_ns, s.camera): s.masks for c in clusters for s in c.segmentations}
    for f in state.frames:
        for c, camera in enumerate(street.rig.cameras):
            want = {m.label for m in given[f.stamp_ns, camera.name]}
            assert {m.label for m in f.masks[c]} == want


def test_add_masks_of_pictures_without_a_pose_are_left_out(clusters):
    first = clusters[0]
    stray = replace(first.segmentations[0], stamp_ns=first.segmentations[0].stamp_ns + 1)
    state, _ = filled([replace(first, segmentations=(stray,))])
    assert all(not f.masks for f in state.frames)


def test_add_odometry_is_known_by_position_in_the_map(clusters):
    state, _ = filled(clusters)
    assert sorted(state.odometry) == [(k, k + 2) for k in range(0, len(state.frames) - 2, 2)]
    for r in state.odometry.values():
        assert r.T_i_j[0, 3] == pytest.approx(1.0)


def test_add_landmark_without_a_position_is_unknown(clusters):
    first = clusters[0]
    points = first.landmarks.points_local.copy()
    points[:5] = np.nan
    state, (increment,) = filled(
        [replace(first, landmarks=replace(first.landmarks, points_local=points))]
    )
    assert not np.isin(first.landmarks.ids[:5], state.landmark_ids()).any()
    assert sorted(increment.landmark_ids) == sorted(first.landmarks.ids[5:])


def test_add_large_ids_are_reserved_without_losing_the_old(street, clusters):
    far = clusters[1].landmarks.ids + 1_000_000
    later = replace(clusters[1], landmarks=replace(clusters[1].landmarks, ids=far))
    state, _ = filled([clusters[0], later])
    ids = clusters[0].landmarks.ids
    np.testing.assert_array_equal(state.points(ids), street.points[ids])
    np.testing.assert_array_equal(state.points(far), street.points[far - 1_000_000])
    assert np.isnan(state.points(np.array([500_000, 90_000_000]))).all()
    assert state.colors(far)[0].tolist() == [90, 80, 70]


def test_add_empty_last_cluster_changes_nothing(street, clusters):
    state, _ = filled(clusters)
    before = len(state.frames), state.landmark_ids()
    empty = make_cluster(street, tuple(a[:0] for a in observe(street)), range(0, 1))
    increment = state.add(replace(empty, frames=(), sequence=9), np.eye(4))
    assert increment.frames == increment.new_frames == []
    assert len(state.frames) == before[0]
    np.testing.assert_array_equal(state.landmark_ids(), before[1])


def test_add_same_stamp_in_another_session_is_another_frame(clusters):
    other = replace(clusters[0], session=1, sequence=1)
    state, increments = filled([clusters[0], other])
    assert len(state.frames) == 32
    assert increments[1].new_frames == list(range(16, 32))
    # no frame of the new session hangs on one of the old
    assert all(f.reference >= 16 for f in state.frames[16:])


def test_settle_frames_between_keyframes_follow_theirs(street, clusters):
    state, _ = filled(clusters)
    before = [f.T_world_base.copy() for f in state.frames]
    for f in state.frames:
        if f.is_keyframe:
            f.T_world_base = SHIFT @ f.T_world_base
    state.settle()
    for T, f in zip(before, state.frames, strict=True):
        np.testing.assert_allclose(f.T_world_base, SHIFT @ T, atol=1e-9)


def test_settle_way_between_keyframes_that_stretched_carries_frames_by_their_share(clusters):
    state, _ = filled(clusters)
    before = [f.T_world_base.copy() for f in state.frames]
    for f in state.frames:
        if f.is_keyframe:
            f.T_world_base = f.T_world_base.copy()
            f.T_world_base[:3, 3] *= 1.1
    state.settle(before)
    last = max(k for k, f in enumerate(state.frames) if f.is_keyframe)
    between = [k for k in range(last) if not state.frames[k].is_keyframe]
    assert between
    for k in between:
        # the way is straight to a centimetre or so between two keyframes
        np.testing.assert_allclose(
            state.frames[k].T_world_base[:3, 3], 1.1 * before[k][:3, 3], atol=0.02
        )


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_transform_carries_frames_points_and_what_hangs_on_keyframes(street, clusters, scale):
    state, _ = filled(clusters)
    S = SHIFT.copy()
    S[:3, :3] *= scale
    state.transform(S, scale)
    ids = state.landmark_ids()
    np.testing.assert_allclose(
        state.points(ids), transforms.apply(S, street.points[ids]), atol=1e-9
    )
    np.testing.assert_allclose(state.sigma(ids), 0.03 * scale, rtol=1e-6)
    poses = [f.T_world_base for f in state.frames]
    mount = np.mean([c.T_base_cam[None, :3, 3] for c in street.rig.cameras], axis=0)
    state.settle()
    for f, T, truth in zip(state.frames, poses, street.T_world_base, strict=True):
        np.testing.assert_allclose(T[:3, :3], SHIFT[:3, :3] @ truth[:3, :3], atol=1e-9)
        # what saw the points goes where they go; its distance from base_link is in metres
        np.testing.assert_allclose(
            transforms.apply(T, mount),
            transforms.apply(S, transforms.apply(truth, mount)),
            atol=1e-9,
        )
        np.testing.assert_allclose(f.T_world_base, T, atol=1e-9)


def test_add_cluster_of_another_scale_has_rigid_poses(street, clusters):
    S = np.diag([2.5, 2.5, 2.5, 1.0])
    state = MapState()
    state.add(clusters[0], S)
    for f, truth in zip(state.frames, street.T_world_base, strict=False):
        np.testing.assert_allclose(f.T_world_base[:3, :3], truth[:3, :3], atol=1e-9)


def test_num_views_is_the_number_of_pictures_each_landmark_was_seen_in(clusters):
    state, _ = filled(clusters)
    ids, count = np.unique(np.concatenate([f.ids for f in state.frames]), return_counts=True)
    assert count.max() > 5
    np.testing.assert_array_equal(state.num_views(ids), count)
