import dataclasses

import drive_maker
import numpy as np
import pytest

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.segmentation.classes import BUILDING, VEGETATION
from seg2d3d_ros.simulation.drawn.sight import Sight, build_surfaces, nearest_depth
from seg2d3d_ros.simulation.drawn.survey import Scan

TREE_ID = 5


@pytest.fixture(scope="module")
def frame(survey):
    return next(f for f, _ in survey.frames() if f.camera == "image_02")


def true_objects(frame):
    """Return what a picture of the maker shows, by its flat colours; -1 for the sky."""
    colors = np.vstack([drive_maker.BGR, [[60, 120, 20]]])
    is_equal = (frame.image[..., None, :] == colors).all(axis=-1)
    return np.where(is_equal.any(axis=-1), is_equal.argmax(axis=-1), -1)


def test_sight_shows_the_houses_that_the_picture_shows(survey, drawing, frame):
    seen = Sight(drawing, survey).see(frame, survey.poses([frame.stamp_ns])[0])
    true = true_objects(frame)
    for house in (1, 2, 3, 4, TREE_ID):
        area = (true == house).sum()
        assert area > 50
        # edges: half a pixel of pose, and the lidar's swelling around the tree and the ground
        assert ((seen == house) & (true == house)).sum() > 0.85 * area
        assert ((seen == house) & (true != house)).sum() < 0.08 * area


def test_sight_behind_a_wall_of_no_house_is_nothing(survey, drawing, frame):
    seen = Sight(drawing, survey).see(frame, survey.poses([frame.stamp_ns])[0])
    assert (true_objects(frame) == 0).sum() > 50
    assert not seen[true_objects(frame) == 0].any()


def test_sight_lidar_before_a_facade_hides_it_and_on_it_does_not(survey, drawing, frame):
    T = survey.poses([frame.stamp_ns])[0]
    plain = Sight(drawing, dataclasses.replace(survey, scans=())).see(frame, T)
    y, z = np.meshgrid(np.arange(2, 6, 0.05), np.arange(-0.9, 3, 0.05))
    board = np.column_stack([np.full(y.size, 10.0), y.ravel(), z.ravel()])
    hidden = Sight(drawing, dataclasses.replace(survey, scans=(Scan(0, board),))).see(frame, T)
    camera = survey.camera("image_02")
    T_cam_map = transforms.invert(T @ camera.T_base_cam)
    p = transforms.apply(T_cam_map, np.array([[10.0, 4.0, 1.0]]))[0]
    u, v = (camera.K @ (p / p[2]))[:2].round().astype(int)
    assert plain[v, u] > 0 and hidden[v, u] == 0
    assert (hidden != plain).mean() < 0.1  # only behind the board
    on_wall = np.column_stack([y.ravel() * 5 + 4, np.full(y.size, 8.0), z.ravel()])
    same = Sight(drawing, dataclasses.replace(survey, scans=(Scan(0, on_wall),))).see(frame, T)
    np.testing.assert_array_equal(same, plain)


def test_nearest_depth_fills_the_gap_between_beams_and_not_the_picture(survey):
    camera = survey.camera("image_02")
    T_map_cam = survey.poses([drive_maker.START_NS])[0] @ camera.T_base_cam
    points_cam = np.array([[0.0, 0.0, 10.0], [0.0, 0.0, 4.0], [0.0, 0.0, -3.0]])
    scan = Scan(0, transforms.apply(T_map_cam, points_cam))
    depth = nearest_depth([scan], camera, T_map_cam)
    # the point between four pixels falls on one, the kernel adds one row above and below
    assert depth[50, 100] == pytest.approx(4.0, abs=1e-5)
    assert 1 <= np.isfinite(depth).sum() <= 9


def test_surfaces_classes_are_houses_then_trees(drawing):
    surfaces = build_surfaces(drawing)
    assert surfaces.class_of.tolist() == [0, BUILDING, BUILDING, BUILDING, BUILDING, VEGETATION]
    assert set(surfaces.object_id.tolist()) == {0, 1, 2, 3, 4, TREE_ID}
