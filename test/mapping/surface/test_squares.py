import numpy as np
import pytest

from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.mapping.archive import MemoryStore
from seg2d3d_ros.mapping.surface.fusion import PlacedSamples, add_up, by_id, fuse, sum_up
from seg2d3d_ros.mapping.surface.squares import SquareSums

EDGE_M = 0.2
SQUARE_M = 51.2


def chunks(num=6, reach_m=130.0):
    """Samples of all uncertainties on both sides of the origin, crowded where squares meet."""
    rng = np.random.default_rng(4)
    corners = np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), axis=-1).reshape(-1, 2)
    out = []
    for k in range(num):
        n = 4000
        xy = SQUARE_M * corners[rng.integers(0, len(corners), n)] + rng.normal(0.0, 2.0, (n, 2))
        points = np.c_[np.clip(xy, -reach_m, reach_m), rng.uniform(0.0, 3.0, n)]
        instance = rng.integers(0, 4, n)
        samples = PlacedSamples(
            points=points,
            sigma_m=rng.uniform(0.01, 0.8, n),
            keyframe=np.full(n, k),
            instance=instance,
            class_id=np.where(instance > 0, 11, 0),
            colors_rgb=rng.integers(0, 255, (n, 3)).astype(np.uint8),
            toward=np.tile([0.0, -1.0, 0.0], (n, 1)),
        )
        out.append(sum_up(samples, EDGE_M))
    return out


def test_squares_fused_one_by_one_give_what_everything_at_once_gives():
    made = chunks()
    at_once = fuse(add_up(made), 2)
    with SquareSums(MemoryStore()) as sums:
        for chunk in made:
            sums.add(chunk)
        squares = list(sums)
    fused = by_id([fuse(square, 2) for square in squares])
    assert len(squares) > 15
    assert len(np.unique(at_once.edge_m)) == 4
    for name in ("ids", "edge_m", "num_views", "instances", "classes", "colors_rgb"):
        np.testing.assert_array_equal(getattr(fused, name), getattr(at_once, name), name)
    np.testing.assert_allclose(fused.points, at_once.points, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fused.sigma_m, at_once.sigma_m, rtol=1e-9)


def test_squares_each_reach_51_m_and_no_farther():
    with SquareSums(MemoryStore()) as sums:
        for chunk in chunks():
            sums.add(chunk)
        for square in sums:
            low = np.floor(fuse(square, 1).points[:, :2] / SQUARE_M)
            assert (low == low[0]).all()


def test_squares_may_be_asked_again_after_more_has_come():
    first, *rest = chunks(3)
    with SquareSums(MemoryStore()) as sums:
        sums.add(first)
        assert sum(len(s.voxels["key"]) for s in sums) == len(first.voxels["key"])
        for chunk in rest:
            sums.add(chunk)
        total = add_up([first, *rest])
        assert sum(len(s.voxels["key"]) for s in sums) == len(total.voxels["key"])


def test_squares_leave_nothing_in_the_store_also_after_an_error(tmp_path):
    store = FolderStore(tmp_path)
    store.put("frames/000000", {"a": np.arange(3)})
    with pytest.raises(ZeroDivisionError), SquareSums(store) as sums:
        sums.add(chunks(1)[0])
        assert len(store.names()) > 10
        _ = 1 / 0
    assert store.names() == ["frames/000000"] == list(store.digests)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["000000.npz", "frames"]


def test_squares_without_chunks_are_none():
    with SquareSums(MemoryStore()) as sums:
        assert list(sums) == []
