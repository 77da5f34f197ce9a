"""A stage that was written and read back is the same stage: it answers and goes on alike."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from street_maker import DriveOptions, MaskErrors, later, make_drive, make_street
from test_editor import content

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.mapping.archive import MemoryStore
from seg2d3d_ros.mapping.association.owners import PlaceOwners
from seg2d3d_ros.mapping.persistence import VERSION, decode, encode
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind, View


@pytest.fixture(scope="module")
def drive():
    errors = MaskErrors(missed=0.1, split=0.05, merged=0.05)
    return make_drive(make_street(3), DriveOptions(errors=errors, size=40, overlap=4))


def mapped(drive, num=None):
    stage = MappingStage(Config(), MemoryStore())
    for cluster in drive.clusters[:num]:
        stage.push(cluster)
    return stage


def through_store(stage):
    """Write a stage into a store, carry the bytes to another store, read it back."""
    stage.keep()
    kept, other = stage._state.archive.store, MemoryStore()
    for name in kept.names():
        other.put(name, {k: v.copy() for k, v in kept.get(name).items()})
    return MappingStage.restore(other)


def test_encode_frozen_sets_of_names_are_written_in_order_whatever_their_hashes():
    names = [f"camera_{k}" for k in range(12)]
    text = encode(frozenset(names), MemoryStore())["json"].tobytes().decode()
    assert json.loads(text)["graph"] == ["frozenset", *sorted(names)]


def test_encode_then_decode_gives_equal_values_of_the_same_types():
    shared = [1, 2.5, None, "ä", True]
    value = {
        "shared": [shared, shared],
        "counts": Counter({3: 2, 1: 5}),
        "sets": defaultdict(set, {1: {4, 5}}),
        (1, 2): frozenset({("a", 1)}),
        "packed": {k: 0.1 * k for k in range(20)},
        "empty": [{}, [], set(), (), b""],
        "bytes": b"\x00\xff",
        "limits": [float("inf"), -0.0, 1e300, 2**60],
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "none": np.zeros((0, 3)),
        "text": np.array(["x", "yz"]),
        "scalar": np.float32(1.5),
        "enum": EventKind.SPLIT,
        "object": View("front", 7, 11001, b"jpeg"),
        "owners": PlaceOwners({7: 1, 3: 1, 9: 2}),
        "numbers": list(range(30)),
    }
    found = decode(encode(value, MemoryStore()), MemoryStore())
    assert found["shared"][0] is found["shared"][1]
    for key, expected in value.items():
        assert type(found[key]) is type(expected), key
        if isinstance(expected, np.ndarray):
            assert found[key].dtype == expected.dtype
            np.testing.assert_array_equal(found[key], expected)
        elif key == "owners":
            assert list(found[key].items()) == list(expected.items())
            assert found[key].places(1) == [3, 7]
        else:
            assert repr(found[key]) == repr(expected)


def test_encode_of_what_cannot_be_written_names_where_it_is():
    with pytest.raises(TypeError, match=r"state\['a'\].* is a builtin_function"):
        encode({"a": [len]}, MemoryStore())


@pytest.mark.parametrize(
    "name", [["os", "system"], ["seg2d3d_ros.io.folder_store", "shutil"], ["builtins", "eval"]]
)
def test_decode_makes_nothing_but_classes_of_this_package(name):
    graph = {"version": VERSION, "classes": [name], "graph": ["object", 0]}
    text = np.frombuffer(json.dumps(graph).encode(), dtype=np.uint8)
    with pytest.raises(ResultError, match="another version"):
        decode({"json": text}, MemoryStore())


def test_decode_finds_a_class_whose_module_has_gone_to_another_folder():
    arrays = encode(PlaceOwners(), MemoryStore())
    now, before = b"mapping.association.owners", b"mapping.owners"
    text = arrays["json"].tobytes()
    assert now in text
    arrays["json"] = np.frombuffer(text.replace(now, before), dtype=np.uint8)
    assert isinstance(decode(arrays, MemoryStore()), PlaceOwners)


def test_restored_stage_holds_the_same_map_and_log(drive):
    stage = mapped(drive)
    full = stage.finish()
    again = through_store(stage)
    assert content(again.snapshot()) == content(full)
    assert again.snapshot().events == full.events
    # finished before, so finish neither refines nor decides again
    assert content(again.finish()) == content(full)


def test_keep_changes_nothing_and_writes_the_same_bytes_twice(drive):
    states = []
    for _ in range(2):
        stage = mapped(drive, 1)
        before = content(stage.snapshot())
        stage.keep()
        assert content(stage.snapshot()) == before
        states.append(stage._state.archive.store.get("stage/state"))
    assert {k: v.tobytes() for k, v in states[0].items()} == {
        k: v.tobytes() for k, v in states[1].items()
    }


def test_restored_stage_goes_on_as_if_nothing_had_happened(drive):
    stage, plain = mapped(drive, 1), mapped(drive, 1)
    ids = [i.id for i in stage.snapshot().instances]
    for s in (stage, plain):
        s.merge(ids[:2])
    stage = through_store(stage)
    for cluster in drive.clusters[1:]:
        assert content(stage.push(cluster)) == content(plain.push(cluster))
    assert content(stage.finish()) == content(plain.finish())
    (event, update), (other, expected) = stage.undo(), plain.undo()
    assert event == other and content(update) == content(expected)
    # an id that was used before is not used again
    assert stage._associator.issue_id() == plain._associator.issue_id()


def test_second_run_onto_a_map_keeps_its_numbers_apart(drive):
    stage = through_store(mapped(drive))
    before = stage.finish()
    for cluster in drive.clusters:
        stage.push(later(cluster, 10**12))
    full = stage.snapshot()
    assert len(full.trajectory.stamps_ns) == 2 * len(before.trajectory.stamps_ns)
    assert len(full.cloud.ids) == 2 * len(before.cloud.ids)
    assert full.sequence == 2 * len(drive.clusters) - 1
    # the same facades in the same place: no building is new, each was seen again
    assert {i.id for i in full.instances} == {i.id for i in before.instances}
    first = {i.id: i.num_views for i in before.instances}
    assert all(i.num_views > first[i.id] for i in full.instances)


def test_restore_without_a_state_says_that_the_map_can_only_be_looked_at():
    with pytest.raises(ResultError, match="only be looked at"):
        MappingStage.restore(MemoryStore())
