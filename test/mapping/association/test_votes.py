import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.association import votes as votes_module
from seg2d3d_ros.mapping.association.votes import (
    PictureVotes,
    VoteGraph,
    _neighbours,
    picture_votes,
    place_keys,
)
from seg2d3d_ros.mapping.packed_rows import PackedRows


def votes(x, mask, reach_m=8.0, sigma_m=0.01, keys=None):
    """Votes of places on a line."""
    points = np.c_[np.array(x, dtype=float), np.zeros((len(x), 2))]
    keys = np.arange(len(x)) if keys is None else np.array(keys)
    sigma = np.broadcast_to(np.asarray(sigma_m, dtype=float), len(x))
    found = picture_votes(keys, points, sigma, np.array(mask), reach_m)
    pairs = found.places[found.pairs].tolist()
    return {tuple(p): w for p, w in zip(pairs, found.weight.tolist(), strict=True)}


def test_place_keys_certain_landmarks_of_a_voxel_share_it():
    points = np.array([[0.1, 0.1, 0.1], [0.4, 0.4, 0.4], [0.6, 0.1, 0.1], [-0.1, 0.1, 0.1]])
    keys = place_keys(np.array([7, 3, 9, 4]), points, np.full(4, 0.1), 0.5)
    assert keys[0] == keys[1]
    assert len(set(keys.tolist())) == 3


def test_place_keys_do_not_depend_on_ids_of_certain_landmarks():
    points = np.random.default_rng(0).uniform(-300, 300, (50, 3))
    sigma = np.full(50, 0.2)
    a = place_keys(np.arange(50), points, sigma, 0.5)
    np.testing.assert_array_equal(a, place_keys(np.arange(50) + 1000, points, sigma, 0.5))


@pytest.mark.parametrize("sigma_m", [0.51, np.inf, np.nan])
def test_place_keys_uncertain_landmarks_are_places_of_their_own(sigma_m):
    points = np.zeros((3, 3))
    keys = place_keys(np.array([1, 2, 3]), points, np.array([sigma_m, sigma_m, 0.5]), 0.5)
    assert len(set(keys.tolist())) == 3
    assert (keys >= 0).all()


def test_votes_are_plus_one_within_a_mask_and_minus_one_across():
    assert votes([0.0, 1.0, 2.0], [0, 0, 1]) == {(0, 1): 1.0, (0, 2): -1.0, (1, 2): -1.0}


def test_votes_place_counts_in_the_mask_of_most_of_its_landmarks():
    # place 5 has two landmarks in mask 1 and one in mask 0
    found = votes([0.0, 0.1, 0.2, 1.0], [1, 0, 1, 1], keys=[5, 5, 5, 6])
    assert found == {(5, 6): 1.0}


def test_votes_beyond_reach_are_not_counted():
    assert votes([0.0, 7.9, 16.0], [0, 0, 0], reach_m=8.0) == {(0, 1): 1.0}


def test_votes_uncertain_places_reach_ten_sigmas():
    assert votes([0.0, 16.0], [0, 0], reach_m=8.0) == {}
    assert votes([0.0, 16.0], [0, 0], reach_m=8.0, sigma_m=[2.0, 0.1]) == {(0, 1): 1.0}


def test_votes_number_grows_linearly_with_places():
    rng = np.random.default_rng(0)
    for n in (200, 400):
        found = votes(rng.uniform(0, 8, n), np.zeros(n, dtype=int))
        # six near ones and four further ones for each
        assert 3 * n < len(found) <= 10 * n


@pytest.mark.parametrize("x", [[], [1.0]])
def test_votes_of_less_than_two_places_are_none(x):
    assert votes(x, [0] * len(x)) == {}


def test_votes_coincident_places_do_not_vote_about_themselves():
    found = votes([3.0] * 5, [0, 0, 0, 1, 1])
    assert all(a != b for a, b in found)
    assert found[0, 1] == 1.0


def sums(graph, places):
    """Votes between some places and all others as {(a, b): sum}."""
    votes, beyond = graph.around(np.array(places))
    names = np.concatenate([places, beyond])
    found = votes.tocoo()
    return {
        (places[a], int(names[b])): float(w)
        for a, b, w in zip(found.row, found.col, found.data, strict=True)
    }


def test_graph_sums_votes_of_pictures_both_ways():
    graph = VoteGraph()
    one = picture_votes(np.array([4, 5]), np.zeros((2, 3)), np.zeros(2), np.array([0, 0]), 1.0)
    two = picture_votes(np.array([5, 6]), np.eye(3)[:2], np.zeros(2), np.array([0, 1]), 2.0)
    assert graph.add([one, one, two]).tolist() == [4, 5, 6]
    assert graph.add([one]).tolist() == [4, 5]
    assert sums(graph, [4, 5, 6]) == {(4, 5): 3.0, (5, 4): 3.0, (5, 6): -1.0, (6, 5): -1.0}
    assert sums(graph, [5]) == {(5, 4): 3.0, (5, 6): -1.0}


@pytest.mark.parametrize("at_a_time", [1, 2, 4096])
def test_graph_renamed_adds_up_what_met_and_leaves_out_what_is_lost(at_a_time, monkeypatch):
    monkeypatch.setattr(votes_module, "_ROWS_AT_A_TIME", at_a_time)
    graph = VoteGraph()
    said = {(1, 2): 1.0, (1, 3): 2.0, (2, 3): 4.0, (3, 4): 8.0, (3, 5): 16.0}
    pairs = np.array([(a - 1, b - 1) for a, b in said])
    graph.add([PictureVotes(np.arange(1, 6), pairs, np.array(list(said.values())))])
    # 1 and 2 meet at 20, 3 goes to 10, 4 is lost, 5 stays
    renamed = graph.renamed(np.array([1, 2, 3, 5, 9]), np.array([20, 20, 10, 5, 7]))
    votes, others = renamed.around(np.array([10]))
    found = dict(zip([10, *others.tolist()], votes.toarray()[0].tolist(), strict=True))
    assert found == {10: 0.0, 20: 6.0, 5: 16.0}
    about_itself, others = renamed.around(np.array([20]))
    assert others.tolist() == [10]
    assert about_itself.toarray().tolist() == [[0.0, 6.0]]
    assert renamed.known(np.array([1, 4, 5, 7, 10, 20])).tolist() == [5, 10, 20]


def test_graph_without_votes_is_untouched():
    graph = VoteGraph()
    empty = picture_votes(np.zeros(0, int), np.zeros((0, 3)), np.zeros(0), np.zeros(0, int), 1.0)
    assert len(graph.add([])) == len(graph.add([empty])) == 0
    assert sums(graph, [3, 7]) == {}


def test_graph_place_without_a_pair_is_not_touched():
    graph = VoteGraph()
    votes = PictureVotes(np.array([1, 5, 9]), np.array([[0, 2]]), np.ones(1))
    assert graph.add([votes]).tolist() == [1, 9]


def test_graph_votes_that_cancel_out_are_nothing():
    graph = VoteGraph()
    for weight in (1.0, -1.0):
        graph.add([PictureVotes(np.array([1, 2]), np.array([[0, 1]]), np.array([weight]))])
    assert sums(graph, [1, 2]) == {}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(5, 9), st.sampled_from([-1.0, 1.0])),
            max_size=12,
        ),
        max_size=8,
    )
)
def test_graph_sums_what_single_votes_add_up_to(pictures):
    graph, plain = VoteGraph(), {}
    places = np.arange(10) * 7 + (1 << 62)  # as large as keys get
    for votes in pictures:
        a, b, w = np.array(votes, dtype=float).reshape(-1, 3).T
        graph.add([PictureVotes(places, np.stack([a, b], 1).astype(int), w)])
        for i, j, v in votes:
            for pair in ((i, j), (j, i)):
                plain[pair] = plain.get(pair, 0.0) + v
    expected = {(int(places[i]), int(places[j])): v for (i, j), v in plain.items() if v}
    assert sums(graph, places.tolist()) == expected


def test_graph_addition_costs_what_it_touches(monkeypatch):
    """Entries that are read and written, wherever on a long street, and whatever came before."""
    counts = []
    put = PackedRows.put

    def counted(self, numbers, rows):
        counts[-1] += rows.nnz
        put(self, numbers, rows)

    monkeypatch.setattr(PackedRows, "put", counted)
    graph = VoteGraph()
    for k in range(300):
        counts.append(0)
        # forty places, twenty of them those of the last picture, each compared with three
        places = np.arange(40) + 20 * k
        pairs = [(a, a + d) for d in (1, 2, 3) for a in range(40 - d)]
        graph.add([PictureVotes(places, np.array(pairs), np.ones(len(pairs)))])
    assert max(counts[1:]) == min(counts[1:])


@pytest.mark.parametrize("num", [2, 7, 60, 600])
def test_neighbours_of_few_points_are_those_that_a_tree_finds(num):
    points = np.random.default_rng(num).uniform(0, 40, (num, 3)) + [5000.0, -3000.0, 50.0]
    ranks = np.array([r for r in (1, 2, 6, 11, 47) if r < num])
    distance, _ = cKDTree(points).query(points, k=ranks + 1)
    found = np.linalg.norm(points[_neighbours(points, ranks)] - points[:, None], axis=2)
    # squares are told apart to 2^(bits of the number - 23)
    np.testing.assert_allclose(found, distance, rtol=2e-4)


def test_neighbours_of_many_points_agree_with_those_of_few(monkeypatch):
    points = np.random.default_rng(0).uniform(0, 40, (300, 3))
    few = _neighbours(points, np.array([1, 5, 20]))
    monkeypatch.setattr(votes_module, "_FEW", 0)
    assert (_neighbours(points, np.array([1, 5, 20])) == few).mean() > 0.99


@pytest.mark.parametrize(
    ("classes", "weight"), [((11, 11), 1.0), ((11, 12), -1.0), ((0, 12), 1.0), ((12, 0), 1.0)]
)
def test_picture_votes_two_classes_in_one_mask_speak_against(classes, weight):
    keys, points = np.array([4, 5]), np.eye(3)[:2]
    mask = np.array([0, 0])
    found = picture_votes(keys, points, np.zeros(2), mask, 2.0, np.array(classes))
    assert found.weight.tolist() == [weight]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 9)), max_size=30),
    st.dictionaries(st.integers(0, 9), st.integers(3, 12), max_size=5),
)
def test_graph_moved_in_place_is_the_graph_renamed(said, moves):
    pairs = np.array([(a, b) for a, b, _ in said if a != b], dtype=np.int64).reshape(-1, 2)
    weight = np.array([float(w) for a, b, w in said if a != b])
    graph = VoteGraph()
    graph.add([PictureVotes(np.arange(8), pairs, weight)])
    everything = np.arange(14)
    renamed = graph.renamed(everything, np.array([moves.get(k, k) for k in range(14)]))
    places = np.array(sorted(moves), dtype=np.int64)
    graph.move(places, np.array([moves[k] for k in places.tolist()], dtype=np.int64))
    np.testing.assert_array_equal(table(graph), table(renamed))


def table(graph):
    """Return the sums (14, 14) of votes between the places 0 to 13."""
    votes, beyond = graph.around(np.arange(14))
    assert not len(beyond)
    return votes.toarray()
