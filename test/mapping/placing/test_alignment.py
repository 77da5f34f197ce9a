from dataclasses import replace

import numpy as np
import pytest
from street_maker import DriveOptions, make_drive, make_street, moved, scaled

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.placing.alignment import align, unit_of
from seg2d3d_ros.mapping.state import MapState


@pytest.fixture(scope="module")
def clusters():
    return make_drive(make_street(3), DriveOptions()).clusters


@pytest.fixture
def state(clusters):
    state = MapState()
    state.add(clusters[0], np.eye(4))
    return state


def test_align_cluster_in_its_place_stays(state, clusters):
    T, residual = align(state, clusters[1], np.eye(4))
    assert np.array_equal(T, np.eye(4))
    assert residual == pytest.approx(0.0, abs=0.05)


def test_align_cluster_in_another_frame_is_carried_back(state, clusters):
    away = transforms.exp([0.02, -0.03, 1.2, 40.0, -7.0, 2.0])
    T, residual = align(state, moved(clusters[1], away), np.eye(4))
    assert T == pytest.approx(transforms.invert(away), abs=0.05)
    assert residual < 0.05


def test_align_unknown_scale_is_found(clusters):
    small = scaled(clusters[0], 0.1)
    state = MapState()
    state.unit = unit_of(small)
    state.add(small, np.eye(4))
    T, residual = align(state, scaled(clusters[1], 0.3), np.eye(4))
    assert np.cbrt(np.linalg.det(T[:3, :3])) == pytest.approx(1 / 3, rel=0.01)
    assert residual < 0.01


@pytest.mark.parametrize(("has_other_unit", "found"), [(False, 1.0), (True, 1 / 1.01)])
def test_align_small_change_of_unit_is_found_where_there_is_one(
    state, clusters, has_other_unit, found
):
    T, _ = align(state, scaled(clusters[1], 1.01), np.eye(4), has_other_unit)
    assert np.cbrt(np.linalg.det(T[:3, :3])) == pytest.approx(found, abs=1e-3)


def test_align_nothing_shared_tells_nothing(state, clusters):
    ids = clusters[1].landmarks.ids + 100_000
    other = replace(clusters[1], landmarks=replace(clusters[1].landmarks, ids=ids))
    T, residual = align(state, other, np.eye(4))
    assert residual is None and np.array_equal(T, np.eye(4))


@pytest.mark.parametrize("factor", [0.02, 1.0, 30.0])
def test_unit_of_grows_with_the_cluster(clusters, factor):
    one = unit_of(clusters[0])
    assert 0.3 < one < 3.0
    assert unit_of(scaled(clusters[0], factor)) == pytest.approx(factor * one)
