import dataclasses
import json

import numpy as np
import pytest
from map_maker import make_map

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.io.map_store import load_map, open_blocks, save_map
from seg2d3d_ros.mapping.archive import MemoryStore


def assert_same(a, b):
    """Compare frozen values field by field, arrays by dtype and bit."""
    assert type(a) is type(b)
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("georeferenced", [True, False])
def test_save_then_load_gives_the_same_map_bit_for_bit(tmp_path, georeferenced):
    full = make_map(georeferenced=georeferenced)
    without = dataclasses.replace(full.instances[0], embedding=None, best_views=())
    full = dataclasses.replace(full, instances=(without, *full.instances[1:]))
    save_map(tmp_path / "map", full)
    assert_same(load_map(tmp_path / "map"), full)


def test_save_not_a_number_survives(tmp_path):
    full = make_map()
    broken = dataclasses.replace(full.instances[0], sigma_m=float("inf"))
    save_map(tmp_path / "map", dataclasses.replace(full, instances=(broken,)))
    assert load_map(tmp_path / "map").instances[0].sigma_m == float("inf")


def test_load_flipped_bit_is_noticed(tmp_path):
    save_map(tmp_path / "map", make_map())
    state = tmp_path / "map" / "state.npz"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(bytes(data))
    with pytest.raises(ResultError, match="damaged"):
        load_map(tmp_path / "map")


@pytest.mark.parametrize(
    ("change", "said"), [({"version": 99}, "version 99"), ({"format": "other"}, "no saved map")]
)
def test_load_of_another_kind_is_refused(tmp_path, change, said):
    save_map(tmp_path / "map", make_map())
    head = tmp_path / "map" / "map.json"
    head.write_text(json.dumps({**json.loads(head.read_text()), **change}))
    with pytest.raises(ResultError, match=said):
        load_map(tmp_path / "map")


def test_load_missing_state_or_key_is_a_named_error(tmp_path):
    save_map(tmp_path / "map", make_map())
    head = tmp_path / "map" / "map.json"
    content = json.loads(head.read_text())
    del content["origin"]
    head.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="origin"):
        load_map(tmp_path / "map")
    (tmp_path / "map" / "state.npz").unlink()
    with pytest.raises(ResultError, match="cannot be read"):
        load_map(tmp_path / "map")


def some_blocks(store):
    store.put("frames/000000", {"a": np.arange(3)})
    store.put("frames/000001", {"a": np.arange(4), "b": np.zeros((0, 2))})
    return store


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_save_keeps_the_blocks_of_either_store(tmp_path, kind):
    folder = FolderStore(tmp_path / "scratch")
    store = some_blocks(MemoryStore() if kind == "memory" else folder)
    save_map(tmp_path / "map", make_map(), store)
    folder.remove()
    found = open_blocks(tmp_path / "map")
    assert found.names() == ["frames/000000", "frames/000001", "state"]
    np.testing.assert_array_equal(found.get("frames/000001")["a"], np.arange(4))
    assert found.get("frames/000001")["b"].shape == (0, 2)


def test_blocks_written_after_saving_do_not_reach_into_the_saved_map(tmp_path):
    store = some_blocks(FolderStore(tmp_path / "scratch"))
    save_map(tmp_path / "map", make_map(), store)
    store.put("frames/000000", {"a": np.arange(9)})
    assert len(open_blocks(tmp_path / "map").get("frames/000000")["a"]) == 3


def test_load_holds_no_pickle(tmp_path):
    save_map(tmp_path / "map", make_map())
    with np.load(tmp_path / "map" / "state.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
