import numpy as np
import pytest
from scipy import sparse

from seg2d3d_ros.evaluation.paper import associate_as_paper, build_incidence
from seg2d3d_ros.geometry.masks import encode
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Keyframe,
    Landmarks,
    Mask,
    Observations,
    Rig,
    Segmentation,
)


def incidence(sets: list[set[int]], num_points: int = 400) -> sparse.csr_array:
    dense = np.zeros((len(sets), num_points), dtype=bool)
    for row, points in enumerate(sets):
        dense[row, sorted(points)] = True
    return sparse.csr_array(dense)


def associate_by_sets(sets: list[set[int]], picture: list[int]) -> list[set[int]]:
    """The published rules as plain set operations (stage 1 and filter)."""
    free = {m for m, points in enumerate(sets) if points}
    groups = []
    while free:
        reference = max(free, key=lambda m: (len(sets[m]), -m))
        group = {
            m
            for m in free
            if len(sets[m] & sets[reference]) > 0.05 * len(sets[m] | sets[reference])
        }
        free -= group
        points = set().union(*(sets[m] for m in group))
        if len(points) >= 10 and len({picture[m] for m in group}) >= 4:
            groups.append(group)
    return groups


def test_associate_as_paper_two_houses_in_five_pictures() -> None:
    sets = [set(range(40)), set(range(100, 130))] * 5
    picture = np.repeat(np.arange(5), 2)
    assert associate_as_paper(incidence(sets), picture).tolist() == [1, 2] * 5


def test_associate_as_paper_small_view_of_large_reference_never_attaches() -> None:
    # The ceiling of Jaccard: 19 points of a 400-point reference are 4.75 %, contained or not.
    sets = [set(range(400))] * 4 + [set(range(19))] + [set(range(21))]
    ids = associate_as_paper(incidence(sets), np.arange(6))
    assert ids.tolist() == [1, 1, 1, 1, 0, 1]


def test_associate_as_paper_three_pictures_or_nine_points_are_dropped() -> None:
    three_pictures = [set(range(40))] * 4
    assert (
        associate_as_paper(incidence(three_pictures), np.array([0, 1, 2, 2])).tolist() == [0] * 4
    )
    nine_points = [set(range(9))] * 5
    assert associate_as_paper(incidence(nine_points), np.arange(5)).tolist() == [0] * 5


@pytest.mark.parametrize(("num_strips", "num_buildings"), [(24, 1), (10, 2)])
def test_associate_as_paper_merges_from_four_fifths_of_points_in_common(
    num_strips: int, num_buildings: int
) -> None:
    # A: reference 0..100 and three masks tied to it by 11 points (J = 5.8 %) that reach to 189.
    # B: 101..185 lies beside it; strips of 4 points of A (J = 3.3 %) tie its set to that of A:
    # all 24 give J = 182 / 190, ten only 126 / 190.
    group_a = [set(range(101))] + [set(range(90, 190))] * 3
    strips = [{4 * i + k for k in range(4)} | set(range(101, 122)) for i in range(num_strips)]
    group_b = [set(range(101, 186))] + strips
    sets = group_a + group_b
    ids = associate_as_paper(incidence(sets), np.arange(len(sets)))
    assert len(set(ids.tolist())) == num_buildings
    assert set(ids[:4].tolist()) == {1}


def test_associate_as_paper_random_sets_equal_plain_set_rules() -> None:
    rng = np.random.default_rng(3)
    sets, picture = [], []
    for t in range(12):
        for house in range(6):
            base = 50 * house + rng.integers(0, 20)
            size = int(rng.integers(0, 30))
            sets.append({int(p) for p in rng.integers(base, base + 35, size)})
            picture.append(t)
    ids = associate_as_paper(incidence(sets), np.array(picture))
    groups = [set(np.flatnonzero(ids == i).tolist()) for i in range(1, ids.max() + 1)]
    expected = associate_by_sets(sets, picture)
    assert len(expected) >= 4
    assert groups == expected


def test_associate_as_paper_no_masks_gives_no_ids() -> None:
    assert associate_as_paper(incidence([]), np.zeros(0, np.int64)).tolist() == []


@pytest.fixture
def cluster() -> Cluster:
    """Two stamps; landmark 70 inside the house at both, 71 on the car, 72 beside everything."""
    camera = Camera("front", 40, 30, np.eye(3), np.eye(4))
    house = np.zeros((30, 40), bool)
    house[5:20, 5:20] = True
    box, runs = encode(house)
    car_box, car_runs = encode(np.roll(house, 20, axis=1))
    masks = (Mask(11001, 11, 1.0, box, runs), Mask(26001, 26, 1.0, car_box, car_runs))
    frames = tuple(Keyframe(100 * i, np.eye(4), True, (0,), (100 * i,)) for i in range(2))
    uv = np.array([[6, 6], [27, 6], [1, 1], [10, 10]], dtype=np.float32)
    return Cluster(
        sequence=0,
        session=0,
        is_last=True,
        scale="metric",
        num_overlap=0,
        rig=Rig((camera,)),
        frames=frames,
        landmarks=Landmarks(
            np.array([70, 71, 72]),
            np.zeros((3, 3)),
            np.zeros((3, 3), np.uint8),
            np.zeros((3, 0), np.uint8),
            np.zeros(3, np.float32),
        ),
        observations=Observations(
            np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1]), np.zeros(4, np.int64), uv
        ),
        segmentations=tuple(Segmentation("front", 100 * i, 40, 30, masks) for i in range(2)),
    )


def test_build_incidence_landmarks_inside_building_masks_alone(cluster: Cluster) -> None:
    matrix, keys = build_incidence([cluster])
    assert keys == [(0, "front", 11001), (100, "front", 11001)]
    assert matrix.toarray().tolist() == [[True], [True]]


def test_build_incidence_overlapping_clusters_count_once(cluster: Cluster) -> None:
    matrix, _ = build_incidence([cluster, cluster])
    assert matrix.sum() == 2
