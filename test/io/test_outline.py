from dataclasses import replace

import numpy as np
import pytest
from map_maker import make_map

from seg2d3d_ros.io.outline import is_bare, is_rough, outline


@pytest.fixture
def house():
    found = make_map().instances[0]
    return replace(found, num_points=40, footprint_sigma_m=0.3, centroid_map=np.array([3.0, 4, 1]))


def test_outline_of_a_known_house_is_its_footprint(house):
    square = np.array([[0.0, 0], [9, 0], [9, 5], [0, 5]])
    np.testing.assert_array_equal(outline(replace(house, footprint_map=square)), square)


def test_outline_without_footprint_is_that_of_the_turned_box(house):
    box = replace(
        house,
        footprint_map=np.zeros((0, 2)),
        box_center_map=np.array([1.0, 2, 3]),
        box_size_m=np.array([4.0, 2, 6]),
        box_yaw_rad=np.pi / 2,
    )
    corners = {tuple(c) for c in outline(box).round(9).tolist()}
    assert corners == {(0, 0), (2, 0), (0, 4), (2, 4)}


@pytest.mark.parametrize(
    ("num_points", "sigma_m", "rough", "bare"),
    [
        (40, 0.3, False, False),
        (40, 9.0, True, False),
        (0, 0.3, False, False),
        (0, 9.0, True, True),
    ],
)
def test_only_what_no_landmark_tells_and_is_rough_is_bare(house, num_points, sigma_m, rough, bare):
    found = replace(house, num_points=num_points, footprint_sigma_m=sigma_m)
    assert (is_rough(found), is_bare(found)) == (rough, bare)


@pytest.mark.parametrize(("sigma_m", "radius_m"), [(9.0, 9.0), (np.inf, 100.0)])
def test_outline_of_masks_alone_is_the_circle_of_their_sigma(house, sigma_m, radius_m):
    found = outline(replace(house, num_points=0, footprint_sigma_m=sigma_m))
    np.testing.assert_allclose(np.hypot(*(found - [3.0, 4.0]).T), radius_m)
