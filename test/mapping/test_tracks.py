import numpy as np
import pytest
from test_filling import LABEL, OTHER, OWN, landmarks, mask_of, street

from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.mapping.archive import FrameContent
from seg2d3d_ros.mapping.tracks import TrackFinder
from seg2d3d_ros.types import MaskAssignment

# In the mask OWN of every picture of four; the last one outside.
POINTS = np.array([[6.0, 0.0, 3.0], [7.0, 0.0, 4.0], [6.5, 0.0, 2.0], [6.0, 0.0, 7.5]])


def drive(num=4, known=POINTS, shown=(OWN,), step_m=1.0):
    """A street of that many pictures, one a metre, that see four points with ids 10 to 13."""
    state = street(*[shown] * num)
    state._reserve(20)
    ids, none = 10 + np.arange(len(POINTS)), np.zeros(len(POINTS), dtype=np.int64)
    state.set_points(ids, known)
    for k, frame in enumerate(state.frames):
        frame.T_world_base = transforms.rigid(np.eye(3), [5.0 + step_m * k, -10.0, 3.0])
        T_world_cam = frame.T_world_base @ state.cameras[0].T_base_cam
        p_cam = transforms.apply(transforms.invert(T_world_cam), POINTS)
        uv, inside = cameras.project(state.cameras[0], p_cam)
        assert inside.all()
        frame.held = FrameContent(ids, none, uv.astype(np.float32), frame.masks)
    return state


def names(state, owner=None):
    owner = owner or {LABEL: 7, OTHER: 8}
    return {
        (k, 0): [
            MaskAssignment(k, "c", m.label, owner.get(m.label, 0), 1.0, 9) for m in f.masks[0]
        ]
        for k, f in enumerate(state.frames)
    }


def cloud(instances):
    """The four landmarks with their instances."""
    made = landmarks(POINTS)
    made.ids[:] = 10 + np.arange(len(POINTS))
    made.instances[:] = instances
    return made


def misses(tracks, point):
    """By how much the rays miss a point, in metres, by track."""
    away = point - tracks.centers
    beside = np.linalg.norm(np.cross(tracks.rays, away), axis=1)
    return np.maximum.reduceat(beside, tracks.first)


def test_by_landmark_gives_the_rays_of_each_in_stamp_order():
    state = drive()
    found = TrackFinder(state, cloud([7, 8, 7, 0]), names(state)).by_landmark([7])
    assert set(found) == {7}
    assert found[7].num_views.tolist() == [4, 4]
    for k, point in enumerate(POINTS[[0, 2]]):
        assert misses(found[7], point)[k] < 1e-5
    np.testing.assert_allclose(found[7].centers[:4, 0], [5.0, 6.0, 7.0, 8.0])
    np.testing.assert_allclose(np.linalg.norm(found[7].rays, axis=1), 1.0)
    assert (found[7].focal_px == state.cameras[0].K[0, 0]).all()


def test_by_landmark_two_rays_are_no_track_and_only_keyframes_count():
    state = drive()
    assert TrackFinder(drive(2), cloud([7] * 4), {}).by_landmark([7]) == {}
    state.frames[1].is_keyframe = False
    found = TrackFinder(state, cloud([7] * 4), names(state)).by_landmark([7])
    assert found[7].num_views.tolist() == [3, 3, 3, 3]


def test_by_landmark_long_tracks_are_thinned_evenly_from_first_to_last():
    state = drive(30, step_m=0.1)
    found = TrackFinder(state, cloud([7, 0, 0, 0]), names(state)).by_landmark([7])
    x = found[7].centers[:, 0]
    assert len(x) == 10
    assert x[[0, -1]].tolist() == pytest.approx([5.0, 5.0 + 2.9])
    assert np.diff(x) == pytest.approx(np.full(9, 2.9 / 9), abs=0.11)


def test_by_mask_takes_what_lies_in_it_with_a_position_or_without():
    state = drive(known=np.full((4, 3), np.nan))
    found = TrackFinder(state, landmarks(), names(state)).by_mask([7])
    assert found[7].num_views.tolist() == [4, 4, 4]
    assert misses(found[7], POINTS[1])[1] < 1e-5


@pytest.mark.parametrize("owner", [{LABEL: 8}, {LABEL: 0}])
def test_by_mask_of_another_or_of_nobody_has_none(owner):
    state = drive()
    assert TrackFinder(state, landmarks(), names(state, owner)).by_mask([7]) == {}


def test_by_mask_what_mostly_lies_in_masks_of_others_is_theirs():
    state = drive()
    finder = TrackFinder(state, landmarks(), _named_after(state, [7, 8, 8, 8]))
    assert set(finder.by_mask([7, 8])) == {8}
    finder = TrackFinder(state, landmarks(), _named_after(state, [7, 7, 7, 8]))
    assert set(finder.by_mask([7, 8])) == {7}


def _named_after(state, owners):
    """Name the mask of each picture after another building."""
    made = names(state)
    return {(k, 0): [MaskAssignment(k, "c", LABEL, owners[k], 1.0, 9)] for k in range(len(made))}


@pytest.mark.parametrize(("left_px", "num"), [(340, 3), (358, 2)])
def test_by_mask_leaves_out_what_lies_at_its_edge(left_px, num):
    # the first point lies in column 359.5, others farther right
    state = drive(shown=(mask_of(LABEL, (left_px, 600), (120, 360)),), step_m=0.0)
    found = TrackFinder(state, landmarks(), names(state)).by_mask([7])
    assert len(found[7].first) == num
