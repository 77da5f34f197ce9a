import pytest

from seg2d3d_ros.errors import DiskError
from seg2d3d_ros.io import disk_room
from seg2d3d_ros.io.disk_room import DiskRoom


@pytest.fixture
def free(monkeypatch):
    """Free MiB by name of a disk, to be changed by the test."""
    mib = {"a": 1000.0, "b": 1000.0}
    monkeypatch.setattr(disk_room, "_free_mib", lambda path: mib[path.name])
    return mib


@pytest.fixture
def room(tmp_path, free):
    for name in free:
        (tmp_path / name).mkdir()
    return DiskRoom([tmp_path / "a", tmp_path / "b" / "to be made" / "out"])


def test_check_wants_four_times_what_was_written(room, free):
    room.check()
    free["a"] = 801.0
    room.check()
    free["a"] = 799.0
    with pytest.raises(DiskError, match=r"only 799 MiB .* of .*/a, 804 MiB are needed"):
        room.check()


def test_check_looks_at_every_disk_also_where_the_folder_is_not_made_yet(room, free):
    free["b"] = 10.0
    with pytest.raises(DiskError, match=r"only 10 MiB .* of .*/b, 3960 MiB"):
        room.check()


def test_check_wants_64_mib_before_anything_was_written(tmp_path, free):
    (tmp_path / "a").mkdir()
    free["a"] = 63.0
    with pytest.raises(DiskError, match="64 MiB are needed"):
        DiskRoom([tmp_path / "a"]).check()


def test_free_mib_is_what_the_system_says(tmp_path):
    free = disk_room._free_mib(tmp_path)
    (tmp_path / "file").write_bytes(bytes(64 * 2**20))
    # others write to the disk, too
    assert free - disk_room._free_mib(tmp_path) == pytest.approx(64.0, abs=48.0)
