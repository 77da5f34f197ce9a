import numpy as np
import pytest

from seg2d3d_ros.mapping.surface.lines import Scatter, find_headed_line, find_line

REACH_M = 0.2


def scatter(xy):
    xy = np.asarray(xy, dtype=float).reshape(-1, 2)
    return Scatter(xy, np.full(len(xy), REACH_M), np.full(len(xy), 0.04))


def along(angle_deg, num=200, length=10.0, noise=0.03, seed=0, start=(0.0, 0.0)):
    """Points of a segment from `start` at an angle to the first axis."""
    rng = np.random.default_rng(seed)
    angle = np.deg2rad(angle_deg)
    line = np.array([np.cos(angle), np.sin(angle)])
    off = np.array([-line[1], line[0]]) * noise
    return start + rng.uniform(0, length, (num, 1)) * line + rng.standard_normal((num, 1)) * off


def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize("angle_deg", [0.0, 35.0, 90.0, 140.0])
def test_find_line_is_that_of_most_points_among_others(angle_deg):
    others = np.random.default_rng(5).uniform(-6, 6, (80, 2))
    line = find_line(scatter(np.r_[along(angle_deg), others]), 3.0, rng())
    wanted = np.deg2rad(angle_deg + 90.0)
    # 3 cm over 10 m, 200 points: 0.04 degrees; some of the others count, too
    assert abs(line.normal @ [np.cos(wanted), np.sin(wanted)]) > np.cos(np.deg2rad(0.5))
    assert abs(line.offset_m) < 0.05
    assert 0.04 * 195 < line.area_m2 < 0.04 * 225


def test_find_line_is_none_below_the_least_area():
    points = scatter(along(20.0, num=60))
    assert find_line(points, 2.3, rng()) is not None
    assert find_line(points, 2.5, rng()) is None
    assert find_line(scatter([]), 0.0, rng()) is None


def test_find_line_with_slopes_passes_over_larger_lines_of_other_slopes():
    flat, steep = along(0.0, num=400), along(88.0, num=400, start=(3.0, 0.0))
    roof = along(40.0, num=100, start=(0.0, 4.0))
    line = find_line(scatter(np.r_[flat, steep, roof]), 3.0, rng(), slopes=(0.25, 1.5))
    assert -line.normal[0] / line.normal[1] == pytest.approx(np.tan(np.deg2rad(40.0)), abs=0.02)
    assert find_line(scatter(np.r_[flat, steep]), 6.0, rng(), slopes=(0.25, 1.5)) is None


@pytest.mark.parametrize("heading_deg", [90.0, 0.0, -90.0, 180.0])
def test_find_headed_line_keeps_its_heading_and_finds_where_the_line_lies(heading_deg):
    points = along(5.0, num=40, length=4.0, noise=0.05, start=(0.0, 3.0))
    toward = np.tile([0.0, -1.0], (40, 1))
    line = find_headed_line(scatter(points), toward, np.deg2rad(heading_deg), 0.5)
    assert abs(line.normal[1]) == pytest.approx(1.0)
    # 4 m of 5 degrees rise by 0.35 m
    assert line.offset_m * line.normal[1] == pytest.approx(3.17, abs=0.1)
    assert find_headed_line(scatter(points), toward, 0.0, 1.7) is None
    assert find_headed_line(scatter([]), np.zeros((0, 2)), 0.0, 0.0) is None


@pytest.mark.parametrize(("toward", "offset_m"), [((-0.97, 0.24), 0.0), ((0.0, 1.0), 0.49)])
def test_find_headed_line_seen_at_an_angle_is_that_of_most_points(toward, offset_m):
    """Few points that are known well stand before a wall whose points scatter along their rays."""
    rays = np.random.default_rng(2).normal(0.0, 0.7, (16, 1)) * [0.97, -0.24]
    wall = np.c_[np.linspace(2, 12, 16), np.zeros(16)] + rays
    known = np.c_[np.full(10, 1.0), np.full(10, 0.6)]
    reach = np.r_[np.full(16, 0.8), np.full(10, 0.2)]
    points = Scatter(np.r_[wall, known], reach, np.full(26, 0.16))
    line = find_headed_line(points, np.tile(toward, (26, 1)), 0.0, 0.5)
    assert abs(line.normal[1]) == pytest.approx(1.0)
    # seen at an angle they scatter by 0.17 m across the wall; from the front they reach as far as
    # those known well, and weigh 16 / 0.8^2 against 10 / 0.3^2: 0.6 * 111 / 136
    assert line.offset_m * line.normal[1] == pytest.approx(offset_m, abs=0.1)


def test_find_line_large_scatter_is_thinned_and_gives_the_same_line():
    many = find_line(scatter(along(30.0, num=6000)), 3.0, rng())
    few = find_line(scatter(along(30.0, num=500)), 3.0, rng())
    assert abs(many.normal @ few.normal) > np.cos(np.deg2rad(0.2))
    assert many.area_m2 == pytest.approx(240.0, rel=0.01)
