import fcntl
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.mapping.archive import MemoryStore

ARRAYS = {"ids": np.arange(5), "uv_px": np.ones((2, 2), np.float32), "names": np.array(["a"])}


def test_put_then_get_gives_equal_arrays_and_types(tmp_path):
    store = FolderStore(tmp_path / "new" / "folder")
    store.put("frames/000003", ARRAYS)
    store.put("other", {"x": np.zeros(0)})
    assert store.names() == ["frames/000003", "other"]
    found = store.get("frames/000003")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_put_same_arrays_twice_writes_the_same_bytes(tmp_path):
    store = FolderStore(tmp_path)
    store.put("a", ARRAYS)
    store.put("b", ARRAYS)
    assert store.path("a").read_bytes() == store.path("b").read_bytes()
    assert store.digests["a"] == store.digests["b"]


def test_put_again_replaces_and_leaves_no_partial_file(tmp_path):
    store = FolderStore(tmp_path)
    store.put("a", ARRAYS)
    store.put("a", {"ids": np.arange(2)})
    assert store.get("a").keys() == {"ids"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_put_objects_are_refused(tmp_path):
    store = FolderStore(tmp_path)
    with pytest.raises(ValueError, match="pickle"):
        store.put("a", {"x": np.array([{}], dtype=object)})
    assert store.names() == []


def test_get_unknown_name_is_a_key_error(tmp_path):
    with pytest.raises(KeyError, match="frames/7"):
        FolderStore(tmp_path).get("frames/7")


def test_get_changed_file_is_refused_by_its_hash(tmp_path):
    store = FolderStore(tmp_path)
    store.put("a", ARRAYS)
    data = bytearray(store.path("a").read_bytes())
    data[len(data) // 2] ^= 1
    store.path("a").write_bytes(bytes(data))
    with pytest.raises(ResultError, match="damaged"):
        store.get("a")


def test_get_cut_file_without_a_known_hash_is_a_named_error(tmp_path):
    FolderStore(tmp_path).put("a", ARRAYS)
    path = FolderStore(tmp_path).path("a")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ResultError, match="cannot be read"):
        FolderStore(tmp_path).get("a")


@pytest.mark.parametrize("make", [FolderStore, lambda _: MemoryStore()])
def test_drop_group_is_gone_with_its_folder_and_others_stay(tmp_path, make):
    store = make(tmp_path)
    for name in ("sums/0_0/000000", "sums/0_0/000001", "frames/000000"):
        store.put(name, ARRAYS)
    store.drop("sums/0_0/000000")
    assert store.names() == ["frames/000000", "sums/0_0/000001"]
    store.drop("sums/0_0/000001")
    assert store.names() == ["frames/000000"]
    assert not (tmp_path / "sums").exists()
    with pytest.raises(KeyError):
        store.drop("sums/0_0/000001")


def test_put_where_nothing_can_be_written_is_a_named_error(tmp_path):
    store = FolderStore(tmp_path / "blocks")
    (tmp_path / "blocks" / "frames").write_text("a file where a folder is needed")
    with pytest.raises(ResultError, match="cannot be written"):
        store.put("frames/000000", ARRAYS)


def test_temporary_is_gone_at_the_end_also_after_an_error(tmp_path):
    with FolderStore.temporary(tmp_path) as store:
        store.put("a", ARRAYS)
        assert store.folder.parent == tmp_path
    assert not store.folder.exists()
    with pytest.raises(ZeroDivisionError), FolderStore.temporary(tmp_path) as store:
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_temporary_below_a_file_says_how_to_choose_another(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="scratch_dir"):
        FolderStore.temporary(tmp_path / "file")


def test_temporary_removes_what_killed_processes_left_and_nothing_else(tmp_path):
    code = (
        "import sys, time; from seg2d3d_ros.io.folder_store import FolderStore;"
        "store = FolderStore.temporary(sys.argv[1]); print(store.folder, flush=True);"
        "time.sleep(60)"
    )
    (tmp_path / ".seg2d3d-blocks-mine").mkdir()
    command = [sys.executable, "-c", code, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, alive = (Path(run.stdout.readline().strip()) for run in runs)
        runs[0].kill()
        runs[0].wait()
        assert killed.is_dir() and alive.is_dir()
        with FolderStore.temporary(tmp_path) as store:
            store.put("a", ARRAYS)
            assert sorted(tmp_path.iterdir()) == sorted(
                [tmp_path / ".seg2d3d-blocks-mine", alive, store.folder]
            )
            assert store.names() == ["a"]
    finally:
        for run in runs:
            run.kill()
            run.wait()
            run.stdout.close()


def test_temporary_for_a_result_that_another_run_will_write_is_refused(tmp_path):
    with FolderStore.temporary(tmp_path, tmp_path / "r") as store:
        with pytest.raises(ResultError, match="another run is about to write"):
            FolderStore.temporary(tmp_path, tmp_path / "r")
        assert list(tmp_path.iterdir()) == [store.folder]
        for result in (tmp_path / "r2", None):
            FolderStore.temporary(tmp_path, result).remove()
    FolderStore.temporary(tmp_path, tmp_path / "r").remove()
    assert list(tmp_path.iterdir()) == []


def test_temporary_gives_its_lock_back(tmp_path):
    num = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with FolderStore.temporary(tmp_path):
            assert len(os.listdir("/proc/self/fd")) == num + 1
    assert len(os.listdir("/proc/self/fd")) == num


def test_temporary_on_a_disk_without_locks_works_and_says_so(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with FolderStore.temporary(tmp_path) as store, FolderStore.temporary(tmp_path) as other:
        store.put("a", ARRAYS)
        assert store.names() == ["a"] and other.folder != store.folder
        assert [p.name for p in store.folder.iterdir()] == ["a.npz"]
    assert "cannot be locked" in caplog.text
    assert list(tmp_path.iterdir()) == []
