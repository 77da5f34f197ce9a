import drive_maker
import numpy as np
import pytest

from seg2d3d_ros.simulation.drawn.samples import DrawnSamples, describe_house


def test_samples_nothing_seen_is_nothing(drawing):
    points, house = DrawnSamples(drawing).points()
    assert len(points) == len(house) == 0


def test_samples_seen_lie_on_their_walls_in_the_part_that_was_seen(survey, drawing):
    samples = DrawnSamples(drawing)
    camera = survey.camera("image_02")
    T_map_cam = survey.poses([drive_maker.START_NS])[0] @ camera.T_base_cam
    everywhere = np.full((camera.height_px, camera.width_px), 1)
    samples.see(everywhere, camera, T_map_cam)
    points, house = samples.points()
    assert set(house.tolist()) == {1}
    assert len(points) > 500
    np.testing.assert_allclose(points[:, 1], 8.0)
    assert points[:, 0].max() < 16.0 and points[:, 2].max() < drive_maker.GROUND_M + 6
    assert points[:, 0].min() > 0.5  # ahead of the camera
    step = np.unique(np.round(points[:, 0], 6))
    np.testing.assert_allclose(np.diff(step).min(), 0.2, atol=1e-6)


def test_samples_seen_once_stay_seen(survey, drawing):
    samples = DrawnSamples(drawing)
    camera = survey.camera("image_02")
    T = survey.poses([drive_maker.START_NS])[0] @ camera.T_base_cam
    shape = (camera.height_px, camera.width_px)
    samples.see(np.full(shape, 3), camera, T)
    num = len(samples.points()[0])
    samples.see(np.zeros(shape, int), camera, T)
    assert len(samples.points()[0]) == num > 0


def test_describe_house_outline_is_its_wall_and_roof(drawing):
    record = describe_house(drawing, 2)
    corners = np.array(record["footprint_map"])
    assert sorted(map(tuple, corners)) == [(16, 8), (16, 12), (50, 8), (50, 12)]
    x, y = corners.T
    area = 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))
    assert area == pytest.approx(34 * 4)  # counter-clockwise
    assert record["height_m"] == pytest.approx(11 + 2)
    assert record["base_m"] == pytest.approx(drive_maker.GROUND_M)
