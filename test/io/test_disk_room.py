import pytest

from seg2d3d_ros.errors import DiskError
from seg2d3d_ros.io import disk_room
from seg2d3d_ros.io.disk_room import DiskRoom


@pytest.fixture
def mib(monkeypatch):
    """What is free by name of a disk, and what was written, to be changed by the test."""
    mib = {"a": 1000.0, "b": 1000.0, "written": 30.0}
    monkeypatch.setattr(disk_room, "_free_mib", lambda path: mib[path.name])
    monkeypatch.setattr(disk_room, "_size_mib", lambda _: mib["written"])
    return mib


@pytest.fixture
def room(tmp_path, mib):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return DiskRoom(
        tmp_path / "a" / "scratch", [tmp_path / "a", tmp_path / "b" / "to be made" / "out"]
    )


def test_check_wants_four_times_what_was_written_since(room, mib):
    room.check()
    mib |= {"written": 230.0, "a": 801.0}
    room.check()
    mib["a"] = 799.0
    with pytest.raises(DiskError, match=r"only 799 MiB .* of .*/a, 800 MiB are needed"):
        room.check()


def test_check_looks_at_every_disk_also_where_the_folder_is_not_made_yet(room, mib):
    mib["b"] = 10.0
    with pytest.raises(DiskError, match=r"only 10 MiB .* of .*/b, 64 MiB"):
        room.check()


def test_check_does_not_count_what_others_write(room, mib):
    mib |= {"a": 65.0, "b": 65.0}
    room.check()


def test_check_wants_64_mib_before_anything_was_written(tmp_path, mib):
    (tmp_path / "a").mkdir()
    mib["a"] = 63.0
    with pytest.raises(DiskError, match="64 MiB are needed"):
        DiskRoom(tmp_path, [tmp_path / "a"]).check()


def test_free_mib_is_what_the_system_says(tmp_path):
    free = disk_room._free_mib(tmp_path)
    (tmp_path / "file").write_bytes(bytes(64 * 2**20))
    # others write to the disk, too
    assert free - disk_room._free_mib(tmp_path) == pytest.approx(64.0, abs=48.0)


def test_size_mib_is_that_of_all_files(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a").write_bytes(bytes(2 * 2**20))
    (tmp_path / "b").write_bytes(bytes(2**20))
    assert disk_room._size_mib(tmp_path) == pytest.approx(3.0, abs=0.1)
