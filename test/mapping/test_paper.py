import numpy as np
import pytest
from scipy import sparse
from street_maker import DriveOptions, MaskErrors, assigned, make_drive, make_street
from test_stage import assert_consistent

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.geometry.masks import contains
from seg2d3d_ros.mapping.paper import associate_as_paper
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind


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


PAPER = {"mapping.association": "seg2d3d_paper"}


@pytest.fixture(scope="module")
def drive():
    errors = MaskErrors(missed=0.1, split=0.05, merged=0.05)
    return make_drive(make_street(3), DriveOptions(errors=errors))


@pytest.fixture(scope="module")
def mapped(drive):
    stage = MappingStage(override(Config(), PAPER))
    updates = [stage.push(c) for c in drive.clusters]
    return stage, updates, stage.finish()


def test_preset_names_masks_by_the_rules_over_all_that_came(drive, mapped):
    *_, full = mapped
    keys, sets = [], []
    found = {}
    for cluster in drive.clusters:
        ids = cluster.landmarks.ids
        for s in cluster.segmentations:
            frame = [f.stamp_ns for f in cluster.frames].index(s.stamp_ns)
            camera = cluster.rig.index(s.camera)
            rows = (cluster.observations.frame == frame) & (cluster.observations.camera == camera)
            for mask in s.masks:
                inside = contains(mask.bbox_px, mask.runs, cluster.observations.uv_px[rows])
                seen = set(ids[cluster.observations.landmark[rows]][inside].tolist())
                if seen:
                    keys.append((s.stamp_ns, s.camera, mask.label))
                    sets.append(seen)
    pictures = sorted({k[:2] for k in keys})
    ids = associate_as_paper(incidence(sets), np.array([pictures.index(k[:2]) for k in keys]))
    found = {k: i for k, i in zip(keys, ids.tolist(), strict=True) if i}
    named = {k: i for k, i in assigned(full).items() if i}
    assert named.keys() == found.keys()
    # the same partition, whatever the numbers
    assert len({(named[k], found[k]) for k in named}) == len(set(named.values()))
    assert len(set(named.values())) == len(set(found.values())) >= 3


def test_preset_makes_a_map_that_is_consistent_in_itself(mapped):
    stage, updates, full = mapped
    assert_consistent(full)
    assert_consistent(stage.snapshot())
    created = [e.instance for e in full.events if e.kind == EventKind.CREATED]
    assert len(created) == len(set(created))
    assert {i.id for i in full.instances} <= set(created)
    assert updates[-1].instances or updates[-2].instances


def test_preset_is_poorer_than_the_votes_on_fallible_masks(drive, mapped):
    votes = MappingStage(Config())
    for cluster in drive.clusters:
        votes.push(cluster)

    def share(update):
        """Masks of a house that its best id has, mean over houses."""
        of = {}
        for key, i in assigned(update).items():
            if len(drive.houses[key]) == 1:
                of.setdefault(drive.houses[key], []).append(i)
        best = [max(v.count(i) for i in set(v) - {0}) / len(v) for v in of.values()]
        return np.mean(best)

    assert share(votes.finish()) > share(mapped[2])


def test_preset_takes_edits_by_hand_and_undoes_them(mapped):
    stage, _, full = mapped
    a, b = [i.id for i in full.instances][:2]
    _, merged = stage.merge([a, b])
    assert {v for k, v in assigned(merged).items() if assigned(full)[k] in (a, b)} == {a}
    _, undone = stage.undo()
    assert assigned(undone) == assigned(full)


def test_association_of_another_name_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match="one of votes, seg2d3d_paper"):
        MappingStage(override(Config(), {"mapping.association": "sorcery"}))
