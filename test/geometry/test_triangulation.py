import numpy as np
import pytest

from seg2d3d_ros.geometry.triangulation import triangulate

PIXEL_RAD = 1.0 / 700.0


def rays_to(points, centers, sigma_rad=0.0, seed=0):
    """Tracks, origins and unit rays from all centers (c, 3) to all points (k, 3), with noise."""
    track = np.repeat(np.arange(len(points)), len(centers))
    origin = np.tile(centers, (len(points), 1))
    rays = points[track] - origin
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    noise = sigma_rad * np.random.default_rng(seed).standard_normal(rays.shape)
    rays = rays + noise - rays * np.einsum("ni,ni->n", rays, noise)[:, None]
    return track, origin, rays / np.linalg.norm(rays, axis=1, keepdims=True)


@pytest.fixture
def drive():
    """Eight centres along a street."""
    return np.c_[np.arange(8.0), 0.05 * np.arange(8.0) ** 2, np.full(8, 1.6)]


def test_triangulate_without_noise_is_exact(drive):
    points = np.random.default_rng(1).uniform((5, -20, 0), (60, 20, 10), (200, 3))
    found = triangulate(*rays_to(points, drive), 200, PIXEL_RAD)
    np.testing.assert_allclose(found.points, points, atol=1e-8)
    assert found.is_front.all()


def test_triangulate_order_of_rays_does_not_matter(drive):
    points = np.random.default_rng(1).uniform((5, -20, 0), (60, 20, 10), (20, 3))
    track, origin, rays = rays_to(points, drive, PIXEL_RAD)
    order = np.random.default_rng(2).permutation(len(track))
    a = triangulate(track, origin, rays, 20, PIXEL_RAD)
    b = triangulate(track[order], origin[order], rays[order], 20, PIXEL_RAD)
    np.testing.assert_allclose(a.points, b.points, atol=1e-8)
    np.testing.assert_allclose(a.parallax_rad, b.parallax_rad, atol=1e-12)


@pytest.mark.parametrize("point", [(12.0, 4.0, 3.0), (25.0, -8.0, 2.0), (3.5, 10.0, 4.0)])
def test_triangulate_sigma_is_the_spread_that_noise_makes(drive, point):
    # 2000 draws of one pixel: the standard deviation along the worst axis is known to 2 %, and
    # the first-order model holds to about 10 % here
    trials = 2000
    points = np.tile(point, (trials, 1))
    found = triangulate(*rays_to(points, drive, PIXEL_RAD), trials, PIXEL_RAD)
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(found.points.T))[-1])
    assert spread == pytest.approx(float(np.median(found.sigma_m)), rel=0.15)
    assert np.linalg.norm(found.points.mean(axis=0) - point) < 0.3 * spread


def test_triangulate_near_and_far_views_weigh_by_angle():
    # a far view with the same angular noise must not spoil what a near one knows
    point = np.array([[0.0, 5.0, 0.0]])
    near = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    far = np.array([[-80.0, -60.0, 0.0]])
    trials = np.repeat(point, 500, axis=0)
    both = triangulate(*rays_to(trials, np.r_[near, far], PIXEL_RAD), 500, PIXEL_RAD)
    alone = triangulate(*rays_to(trials, near, PIXEL_RAD), 500, PIXEL_RAD)
    error_both = np.linalg.norm(both.points - point, axis=1).mean()
    assert error_both < 1.05 * np.linalg.norm(alone.points - point, axis=1).mean()


def test_triangulate_coincident_centres_reports_no_parallax_and_no_point():
    point = np.array([[10.0, 2.0, 1.0]])
    found = triangulate(*rays_to(point, np.zeros((4, 3))), 1, PIXEL_RAD)
    assert found.parallax_rad[0] < 1e-7
    assert np.isnan(found.points[0]).all() or found.sigma_m[0] > 1e3
    assert not found.is_front[0] or found.sigma_m[0] > 1e3


def test_triangulate_point_on_the_line_of_centres_has_no_position():
    centers = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    found = triangulate(*rays_to(np.array([[10.0, 0.0, 0.0]]), centers), 1, PIXEL_RAD)
    assert np.isnan(found.points[0]).all()
    assert not found.is_front[0]
    assert found.parallax_rad[0] < 1e-7


def test_triangulate_one_view_has_no_position(drive):
    found = triangulate(*rays_to(np.array([[10.0, 2.0, 1.0]]), drive[:1]), 1, PIXEL_RAD)
    assert np.isnan(found.points[0]).all()
    assert not found.is_front[0]


def test_triangulate_rays_that_part_meet_behind():
    centers = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    rays = np.array([[1.0, -0.2, 0.0], [1.0, 0.2, 0.0]])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    found = triangulate(np.array([0, 0]), centers, rays, 1, PIXEL_RAD)
    np.testing.assert_allclose(found.points[0], [-5.0, 0.0, 0.0], atol=1e-8)
    assert not found.is_front[0]


def test_triangulate_degenerate_tracks_leave_their_neighbours_alone(drive):
    point = np.array([[10.0, 2.0, 1.0]])
    track, origin, rays = rays_to(point, drive)
    track = np.r_[track * 2, 1]  # track 1 has one ray, track 3 none
    origin, rays = np.r_[origin, drive[:1]], np.r_[rays, rays[:1]]
    found = triangulate(track, origin, rays, 4, PIXEL_RAD)
    np.testing.assert_allclose(found.points[0], point[0], atol=1e-8)
    assert np.isnan(found.points[[1, 2, 3]]).all()


def test_triangulate_parallax_is_the_angle_between_two_rays():
    centers = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    found = triangulate(*rays_to(np.array([[10.0, 0.0, 0.0]]), centers), 1, PIXEL_RAD)
    assert found.parallax_rad[0] == pytest.approx(2 * np.arctan2(1.0, 10.0))
