from dataclasses import replace

import cv2
import numpy as np
import pytest

from seg2d3d_ros.clusters.shrunk import ShrunkCamera
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.types import Distortion

BENT = {
    Distortion.NONE: np.zeros(0),
    Distortion.PLUMB_BOB: np.array([-0.25, 0.08, 0.001, -0.001, 0.0]),
    Distortion.EQUIDISTANT: np.array([0.02, -0.01, 0.003, 0.0]),
}


@pytest.fixture(params=BENT)
def camera(request, make_camera):
    straight = make_camera(zoom=2)
    return replace(straight, distortion=request.param, D=BENT[request.param])


def test_shrink_blob_on_a_lattice_pixel_lies_where_the_lattice_says(camera):
    shrunk = ShrunkCamera(camera)
    columns = shrunk.lattice_shape[1]
    for k in (columns * 10 + 12, columns * 30 + 50):
        picture = np.zeros((camera.height_px, camera.width_px), np.uint8)
        picture[tuple(shrunk.lattice_px[k][::-1])] = 255
        small = shrunk.shrink(cv2.GaussianBlur(picture, (0, 0), 3.0) * 4).astype(float)
        v, u = np.mgrid[: small.shape[0], : small.shape[1]]
        center = np.array([(u * small).sum(), (v * small).sum()]) / small.sum()
        # grey values are rounded to 1/255 of a blob some 6 px wide
        np.testing.assert_allclose(center, shrunk.lattice_small_px[k], atol=0.1)


def test_lattice_ideal_coordinates_are_those_of_the_camera(camera):
    shrunk = ShrunkCamera(camera)
    back = models.distort(camera, shrunk.lattice_xy)
    np.testing.assert_allclose(back, shrunk.lattice_px, atol=1e-3)
    small = shrunk.lattice_xy * shrunk.focal_px + shrunk.center_px
    np.testing.assert_allclose(small, shrunk.lattice_small_px, atol=1e-3)


@pytest.mark.parametrize(("width", "small"), [(480, 240), (640, 320), (1241, 620), (1920, 640)])
def test_shrunk_size_is_half_and_at_most_640_wide(make_camera, width, small):
    camera = replace(make_camera(), width_px=width, height_px=width // 2)
    assert ShrunkCamera(camera).size[0] == small


def test_fill_plane_of_inverse_depths_is_met_at_the_nodes_between(make_camera):
    shrunk = ShrunkCamera(make_camera(zoom=2))
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.8, 0.8, (400, 2)) * [1.0, 0.6]
    plane = lambda at: 0.1 + 0.04 * at[..., 0] - 0.02 * at[..., 1]  # noqa: E731
    filled = shrunk.fill(xy, plane(xy))
    inner = (np.abs(shrunk.nodes_xy) < [0.6, 0.4]).all(axis=-1)
    off = np.abs(filled - plane(shrunk.nodes_xy))[inner]
    # neighbours some 0.05 apart on a slope of 0.045 differ by 0.002
    assert np.median(off) < 0.002
    assert off.max() < 0.01
    assert np.isfinite(filled).all()
