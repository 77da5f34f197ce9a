import dataclasses

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.simulation.atlas import Atlas
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.render import Mover, Renderer, camera_rays
from seg2d3d_ros.simulation.rig import build_rig
from seg2d3d_ros.simulation.scene import Paint, SceneBuilder

SQUARE_M = 0.5
WALL_M = 8.0
DISTORTIONS = ["none", "plumb_bob", "rational_polynomial", "equidistant"]


def make_camera(distortion="none", **options):
    options = SimulationOptions(cameras="front", distortion=distortion, **options)
    return dataclasses.replace(build_rig(options).cameras[0], T_base_cam=np.eye(4))


def checkerboard():
    cells = np.indices((16, 16)).sum(axis=0) % 2 * 180 + 40
    image = np.kron(cells, np.ones((32, 32))).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2)


def add_wall(builder, depth_m, paint, object_id):
    """Add an upright square wall across the optical axis of a camera at the origin."""
    half = WALL_M / 2
    corners = [(-half, half), (half, half), (half, -half), (-half, -half)]
    builder.quad([(x, y, depth_m) for x, y in corners], paint, object_id)


def make_wall_renderer():
    builder = SceneBuilder()
    add_wall(builder, 5.0, Paint(0, is_lit=False), 1)
    return Renderer(builder.build(), [], Atlas([(checkerboard(), False)]))


def oblique_pose():
    return transforms.rigid(
        Rotation.from_euler("yxz", [25, -8, 4], degrees=True).as_matrix(), [-1.5, 0.2, 0.3]
    )


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_render_checkerboard_corners_lie_where_camera_projects_them(distortion):
    camera = make_camera(distortion)
    T_map_cam = oblique_pose()
    image = make_wall_renderer().render(camera, camera_rays(camera), T_map_cam, []).image
    grid = np.arange(1, 16) * SQUARE_M - WALL_M / 2
    corners_map = np.array([(x, y, 5.0) for x in grid for y in grid])
    corners_cam = transforms.apply(transforms.invert(T_map_cam), corners_map)
    uv_px = cameras.distort(camera, corners_cam[:, :2] / corners_cam[:, 2:])
    size = [camera.width_px, camera.height_px]
    uv_px = uv_px[np.all((uv_px > 12) & (uv_px < np.subtract(size, 13)), axis=1)]
    assert len(uv_px) > 60
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    start = uv_px.astype(np.float32)[:, None].copy()
    found = cv2.cornerSubPix(image.astype(np.uint8)[..., 0], start, (4, 4), (-1, -1), criteria)
    error_px = np.linalg.norm(found[:, 0] - uv_px, axis=1)
    # the corner detector itself is good to some hundredths of a pixel
    assert np.median(error_px) < 0.04
    assert np.percentile(error_px, 95) < 0.12
    assert np.linalg.norm(np.median(found[:, 0] - uv_px, axis=0)) < 0.02


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_camera_rays_of_all_pixels_project_back_to_them(distortion):
    camera = make_camera(distortion, width_px=160, height_px=96)
    uv_px = cameras.distort(camera, camera_rays(camera).directions[:, :2].astype(float))
    u, v = np.meshgrid(np.arange(160), np.arange(96))
    np.testing.assert_allclose(uv_px, np.column_stack([u.ravel(), v.ravel()]), atol=2e-3)


def test_render_wall_depth_is_exact_along_the_optical_axis():
    camera = make_camera()
    rendering = make_wall_renderer().render(camera, camera_rays(camera), np.eye(4), [])
    is_wall = rendering.object_id == 1
    assert is_wall.mean() > 0.9
    np.testing.assert_allclose(rendering.depth_m[is_wall], 5.0, atol=1e-4)


def test_render_mover_in_front_hides_wall_only_where_it_is():
    camera = make_camera()
    builder, small = SceneBuilder(), SceneBuilder()
    add_wall(builder, 5.0, Paint(0), 1)
    small.quad([(-0.5, 0.5, 0), (0.5, 0.5, 0), (0.5, -0.5, 0), (-0.5, -0.5, 0)], Paint(0), 2)
    movers = [Mover(small.build(), 0.8)]
    renderer = Renderer(builder.build(), movers, Atlas([(checkerboard(), False)]))
    rays = camera_rays(camera)
    at = transforms.rigid(np.eye(3), [0.4, -0.2, 2.0])
    object_id = renderer.render(camera, rays, np.eye(4), [at]).object_id
    points_cam = rays.directions * 2.0
    inside = np.all(np.abs(points_cam[:, :2] - [0.4, -0.2]) < 0.5, axis=1).reshape(object_id.shape)
    np.testing.assert_array_equal(object_id == 2, inside)
    behind = transforms.rigid(np.eye(3), [0.4, -0.2, 7.0])
    assert not (renderer.render(camera, rays, np.eye(4), [behind]).object_id == 2).any()


def test_render_far_fine_texture_does_not_alias():
    # 512 texels across 40 pixels: without shrinking, single pixels would be black or white
    camera = make_camera()
    fine = np.repeat(
        (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2
    )
    builder = SceneBuilder()
    add_wall(builder, 80.0, Paint(0, is_lit=False), 1)
    renderer = Renderer(builder.build(), [], Atlas([(fine, False)]))
    rendering = renderer.render(camera, camera_rays(camera), np.eye(4), [])
    inside = cv2.erode((rendering.object_id == 1).astype(np.uint8), np.ones((5, 5))) > 0
    assert inside.sum() > 500
    assert np.abs(rendering.image[inside] - 127.5).max() < 12


def test_render_edge_pixels_are_the_mean_of_both_sides():
    camera = make_camera()
    builder = SceneBuilder()
    white = np.full((8, 8, 3), 200, np.uint8)
    builder.quad(
        [(-90, 90, 20), (90, 90, 20), (90, -90, 20), (-90, -90, 20)], Paint(0, is_lit=False), 1
    )
    tilt = Rotation.from_euler("z", 7, degrees=True).as_matrix()
    corners = np.array([(-9, 0, 5), (9, 0, 5), (9, -9, 5), (-9, -9, 5)]) @ tilt.T
    builder.quad(corners, Paint(0, tint=(0, 0, 0), is_lit=False), 2)
    renderer = Renderer(builder.build(), [], Atlas([(white, True)]))
    image = renderer.render(camera, camera_rays(camera), np.eye(4), []).image[..., 0]
    grey = (image > 10) & (image < 190)
    assert grey.sum() > 300
    assert 80 < image[grey].mean() < 120
