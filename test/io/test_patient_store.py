import sys
from pathlib import Path

import numpy as np
import pytest

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.io.map_store import copy_groups
from seg2d3d_ros.io.patient_store import PatientStore
from seg2d3d_ros.mapping.stage import MappingStage

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))
from street_maker import DriveOptions, make_drive, make_street


def group(value):
    return {"a": np.full(3, value)}


@pytest.fixture
def full(monkeypatch):
    """A disk that is full while the list is not empty."""
    refused, save = [], np.savez

    def savez(file, **arrays):
        if refused:
            raise OSError(28, "No space left on device")
        save(file, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    return refused


def test_put_refused_is_at_hand_and_written_with_the_next_one(tmp_path, full):
    store = PatientStore(tmp_path)
    store.put("frames/0", group(0))
    full.append(True)
    store.put("frames/1", group(1))
    store.put("frames/0", group(7))
    assert store.problem.startswith("2 groups wait") and "No space left" in store.problem
    assert store.names() == ["frames/0", "frames/1"]
    assert [store.get(n)["a"][0] for n in store.names()] == [7, 1]
    full.clear()
    store.put("frames/2", group(2))
    assert store.problem == ""
    read = FolderStore(tmp_path, store.digests)
    assert [read.get(n)["a"][0] for n in read.names()] == [7, 1, 2]


def test_drop_refused_group_is_gone_with_what_it_was_to_replace(tmp_path, full):
    store = PatientStore(tmp_path)
    store.put("old", group(0))
    full.append(True)
    store.put("old", group(1))
    store.put("new", group(2))
    store.drop("old")
    store.drop("new")
    assert store.names() == [] == list(tmp_path.rglob("*.npz"))
    with pytest.raises(KeyError):
        store.drop("new")


def test_copy_groups_takes_what_waits_and_not_what_it_is_to_replace(tmp_path, full):
    store = PatientStore(tmp_path / "store")
    store.put("state", group(0))
    full.append(True)
    store.put("state", group(1))
    with pytest.raises(ResultError, match="No space left"):
        copy_groups(store, FolderStore(tmp_path / "copy"))
    full.clear()
    kept = FolderStore(tmp_path / "again")
    copy_groups(store, kept)
    assert kept.get("state")["a"][0] == 1


def test_stage_whose_disk_is_full_for_a_while_makes_the_same_map(tmp_path, full):
    drive = make_drive(make_street(3, num_points=40), DriveOptions(size=16, overlap=6))
    maps = []
    for fails in ((), range(2, 5)):
        store = PatientStore(tmp_path / str(len(maps)))
        stage, problems = MappingStage(Config(), store), []
        for k, cluster in enumerate(drive.clusters):
            full[:] = [True] * (k in fails)
            stage.push(cluster)
            problems.append(bool(store.problem))
        full.clear()
        maps.append(stage.finish())
        stage.keep()
        assert any(problems) == bool(fails) and not store.problem
        assert (
            MappingStage.restore(store).snapshot().cloud.ids.tolist()
            == maps[-1].cloud.ids.tolist()
        )
    calm, disturbed = maps
    np.testing.assert_array_equal(calm.cloud.points_map, disturbed.cloud.points_map)
    assert calm.assignments == disturbed.assignments
