import numpy as np
import pytest

from seg2d3d_ros.geometry.geodesy import between_origins, enu_to_geodetic, geodetic_to_enu
from seg2d3d_ros.types import Origin

ORIGIN = Origin(48.1, 11.6, 520.0)


def test_geodetic_to_enu_origin_is_zero_and_axes_point_east_north_up():
    found = geodetic_to_enu(
        np.array([[48.1, 11.6, 520.0], [48.1, 11.601, 520.0], [48.101, 11.6, 520.0]]), ORIGIN
    )
    np.testing.assert_allclose(found[0], 0.0, atol=1e-6)
    # one degree: 111.2 km to the north, cos(48.1) = 0.668 of 111.3 km to the east
    assert found[1, 0] == pytest.approx(74.5, abs=0.1)
    assert found[2, 1] == pytest.approx(111.2, abs=0.1)
    up = geodetic_to_enu(np.array([[48.1, 11.6, 523.0]]), ORIGIN)
    np.testing.assert_allclose(up, [[0.0, 0.0, 3.0]], atol=1e-6)


def test_enu_to_geodetic_and_back_is_the_identity():
    points = np.random.default_rng(0).uniform(-5000, 5000, (20, 3))
    back = geodetic_to_enu(enu_to_geodetic(points, ORIGIN), ORIGIN)
    np.testing.assert_allclose(back, points, atol=1e-5)


def test_geodetic_to_enu_origin_of_numpy_floats_is_the_same():
    place = np.array([[48.11, 11.61, 500.0]])
    origin = Origin(*(np.float64(x) for x in (48.1, 11.6, 520.0)))
    np.testing.assert_array_equal(geodetic_to_enu(place, origin), geodetic_to_enu(place, ORIGIN))


def test_between_origins_same_origin_is_identity():
    here = Origin(49.0, 8.4, 115.0)
    assert between_origins(here, here) == pytest.approx(np.eye(4), abs=1e-8)


def test_between_origins_a_step_north_and_up_lies_there():
    here = Origin(49.0, 8.4, 115.0)
    # One second of arc of latitude is 30.9 m here.
    T = between_origins(here, Origin(49.0 + 1 / 3600, 8.4, 120.0))
    assert T[:3, 3] == pytest.approx([0, 30.9, 5.0], abs=0.02)
