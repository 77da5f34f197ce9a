import numpy as np
import pytest

from seg2d3d_ros.mapping.surface.fusion import (
    FIRST_ID,
    PlacedSamples,
    add_up,
    fuse,
    name_voxels,
    sum_up,
)

EDGE_M = 0.2


def samples(points, keyframe, sigma=0.02, instance=7, color=100):
    n = len(points)
    return PlacedSamples(
        points=np.array(points, dtype=float),
        sigma_m=np.broadcast_to(np.asarray(sigma, dtype=float), n),
        keyframe=np.broadcast_to(np.asarray(keyframe), n),
        instance=np.broadcast_to(np.asarray(instance), n),
        class_id=np.where(np.broadcast_to(np.asarray(instance), n) > 0, 11, 0),
        colors_rgb=np.full((n, 3), color, dtype=np.uint8),
        toward=np.tile([0.0, -1.0, 0.0], (n, 1)),
    )


@pytest.fixture(scope="module")
def wall():
    """A wall of 8 x 4 m in the plane y = 5.1 seen by six keyframes with 3 cm of noise."""
    rng = np.random.default_rng(2)
    n = 18000
    xyz = np.c_[rng.uniform(-4, 4, n), 5.1 + 0.03 * rng.standard_normal(n), rng.uniform(0, 4, n)]
    return samples(xyz, np.repeat(np.arange(6), n // 6), 0.03)


def test_fuse_wall_becomes_one_point_per_voxel_nearer_to_it_than_its_samples(wall):
    fused = fuse(sum_up(wall, EDGE_M), 2)
    off = np.abs(fused.points[:, 1] - 5.1)
    # half of their noise: 22 in a voxel make 0.6 cm, the few beyond its faces stay alone
    assert np.sqrt(np.mean(off**2)) < 0.015
    assert len(fused.ids) == pytest.approx(8 * 4 / EDGE_M**2, rel=0.1)
    assert (np.diff(fused.ids) > 0).all()
    assert fused.ids.min() >= FIRST_ID
    assert (fused.instances == 7).all()
    assert (fused.classes == 11).all()
    assert (fused.colors_rgb == 100).all()
    np.testing.assert_allclose(fused.toward, np.tile([0.0, -1.0, 0.0], (len(fused.ids), 1)))


def test_fuse_sigma_tells_the_error_of_a_fused_point(wall):
    fused = fuse(sum_up(wall, EDGE_M), 2)
    ratio = (fused.points[:, 1] - 5.1) / fused.sigma_m
    # samples of one keyframe count as one, since they err together; here they do not
    assert 0.2 < np.sqrt(np.mean(ratio**2)) < 1.2


def test_fuse_what_a_single_keyframe_saw_is_left_out():
    here, there = [[1.05, 0.05, 0.05]] * 5, [[9.05, 0.05, 0.05]] * 5
    alone = samples(here, 3)
    agreed = samples(there, [1, 1, 2, 2, 2])
    fused = fuse(add_up([sum_up(alone, EDGE_M), sum_up(agreed, EDGE_M)]), 2)
    np.testing.assert_allclose(fused.points, [[9.05, 0.05, 0.05]])
    assert fused.num_views.tolist() == [2]


def test_fuse_neighbours_in_the_voxel_twice_as_large_agree():
    pair = samples([[0.15, 0.1, 0.1], [0.25, 0.1, 0.1]], [1, 2])
    apart = samples([[4.35, 0.1, 0.1], [4.45, 0.1, 0.1]], [1, 2])
    fused = fuse(sum_up(pair, EDGE_M), 2)
    np.testing.assert_allclose(fused.points, [[0.15, 0.1, 0.1], [0.25, 0.1, 0.1]])
    assert len(fuse(sum_up(apart, EDGE_M), 2).ids) == 0  # 4.4 is where two large ones meet


def test_fuse_chunks_give_what_all_at_once_give(wall):
    whole = sum_up(wall, EDGE_M)
    parts = [
        sum_up(PlacedSamples(**{n: v[wall.keyframe % 3 == k] for n, v in vars(wall).items()}), 0.2)
        for k in range(3)
    ]
    one, many = fuse(whole, 2), fuse(add_up(parts), 2)
    np.testing.assert_array_equal(one.ids, many.ids)
    np.testing.assert_array_equal(one.num_views, many.num_views)
    np.testing.assert_allclose(one.points, many.points, atol=1e-9)


def test_fuse_uncertain_samples_fill_larger_voxels_and_give_way_to_certain_ones():
    rng = np.random.default_rng(0)
    near = rng.uniform(0.0, 0.8, (400, 3)) * [1, 0.1, 1]
    vague = samples(near + [0, 0.3, 0], rng.integers(0, 4, 400), sigma=0.35)
    far_off = samples(near + [8, 0.3, 0], rng.integers(0, 4, 400), sigma=0.35)
    sharp = samples(near, rng.integers(4, 8, 400))
    fused = fuse(add_up([sum_up(s, EDGE_M) for s in (vague, far_off, sharp)]), 2)
    first = fused.points[:, 0] < 4
    assert fused.points[first, 1].max() < 0.1
    assert first.sum() == 16
    assert 1 <= (~first).sum() <= 2
    assert (fused.sigma_m[~first] > fused.sigma_m[first].max()).all()


def test_fuse_samples_too_uncertain_for_the_largest_voxel_are_left_out():
    points = [[1.0, 1.0, 1.0]] * 4
    assert len(fuse(sum_up(samples(points, [0, 1, 2, 3], sigma=0.81), EDGE_M), 2).ids) == 0
    assert len(fuse(sum_up(samples(points, [0, 1, 2, 3], sigma=0.79), EDGE_M), 2).ids) == 1


@pytest.mark.parametrize(
    ("votes", "winner"),
    [([3, 3, 5], 3), ([3, 5, 5], 5), ([0, 0, 5], 5), ([0, 0, 0], 0), ([4, 3, 9], 3)],
)
def test_fuse_instance_is_the_one_with_most_votes_any_before_none(votes, winner):
    fused = fuse(sum_up(samples([[0.1, 0.1, 0.1]] * 3, [0, 1, 2], instance=votes), EDGE_M), 2)
    assert fused.instances.tolist() == [winner]


def test_fuse_points_on_both_sides_of_the_origin_keep_apart():
    rng = np.random.default_rng(5)
    xyz = rng.uniform(-60, 60, (300, 3))
    both = samples(np.repeat(xyz, 2, axis=0), np.tile([0, 1], 300))
    fused = fuse(sum_up(both, EDGE_M), 2)
    order = np.lexsort(fused.points.T)
    np.testing.assert_allclose(fused.points[order], xyz[np.lexsort(xyz.T)], atol=1e-9)


def test_fuse_nothing_gives_nothing():
    assert len(fuse(sum_up(samples(np.zeros((0, 3)), []), EDGE_M), 2).ids) == 0


def test_name_voxels_gives_ids_that_no_measured_voxel_has():
    points = np.random.default_rng(0).uniform(-20, 20, (300, 3))
    sigma = np.repeat([0.02, 0.15, 0.3, 0.7], 75)
    measured = fuse(sum_up(samples(points, 1, sigma), EDGE_M), 1)
    assert len(np.unique(measured.edge_m)) == 4
    ids = name_voxels(points, 2 * EDGE_M)
    assert not np.isin(ids, measured.ids).any()
    assert (ids >= FIRST_ID).all()
    cells = np.unique(np.floor(points / (2 * EDGE_M)), axis=0)
    assert len(np.unique(ids)) == len(cells)
