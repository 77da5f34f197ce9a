import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest
from map_maker import START_NS, make_map, make_report

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io import report
from seg2d3d_ros.io.result import check_target, read_result, write_result
from seg2d3d_ros.io.tables import KEYFRAME_COLUMNS, OBSERVATION_COLUMNS

FILES = {
    "trajectory.tum",
    "keyframes.csv",
    "points.ply",
    "observations.csv",
    "instances.json",
    "events.csv",
    "run.json",
    "map.png",
    "report.html",
    "map",
}
OBSERVATIONS = ",".join(OBSERVATION_COLUMNS).encode()
KEYFRAMES = ",".join(KEYFRAME_COLUMNS).encode()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "deep" / "result"
    full = make_map()
    write_result(folder, full, make_report())
    return folder, full, read_result(folder)


def test_write_result_leaves_exactly_the_files_of_the_contract(written):
    folder, _, _ = written
    assert {p.name for p in folder.iterdir()} == FILES
    assert [p.name for p in folder.parent.iterdir()] == ["result"]


def test_round_trip_trajectory_keeps_stamps_to_the_nanosecond_and_poses(written):
    _, full, result = written
    np.testing.assert_array_equal(result.stamps_ns, full.trajectory.stamps_ns)
    np.testing.assert_allclose(result.T_map_base, full.trajectory.T_map_base, atol=2e-9)
    np.testing.assert_array_equal(
        result.keyframe_stamps_ns, full.trajectory.stamps_ns[full.trajectory.is_keyframe]
    )


def test_round_trip_points_keep_positions_colours_labels_and_instances(written):
    _, full, result = written
    xyz = np.column_stack([result.points[n] for n in "xyz"])
    np.testing.assert_allclose(xyz, full.cloud.points_map, rtol=1e-6, atol=1e-5)  # float32
    rgb = np.column_stack([result.points[n] for n in ("red", "green", "blue")])
    np.testing.assert_array_equal(rgb, full.cloud.colors_rgb)
    np.testing.assert_array_equal(result.points["label"], full.cloud.labels)
    np.testing.assert_array_equal(result.points["instance"], full.cloud.instances)
    np.testing.assert_array_equal(result.points["sigma_m"], full.cloud.sigma_m)
    np.testing.assert_array_equal(result.points["num_views"], full.cloud.num_views)


def test_round_trip_observations_are_sorted_and_complete(written):
    _, full, result = written
    table = result.observations
    assert len(table) == len(full.assignments)
    keys = [(r["stamp_ns"], r["camera"], r["label"]) for r in table]
    assert keys == sorted(keys)
    assert set(table["class_id"]) == {11} and set(table["instance_id"]) == {0, 1, 2}
    assert table["stamp_ns"][0] == START_NS


def test_observations_of_masks_without_instance_keep_their_class(tmp_path):
    full = make_map()
    first = dataclasses.replace(full.assignments[0], label=7)
    full = dataclasses.replace(
        full,
        assignments=(first, dataclasses.replace(first, label=9, class_id=40)),
    )
    for backend, expected in (("labels", [7, 40]), ("classical", [0, 40])):
        out = write_result(tmp_path / backend, full, make_report(backend=backend))
        assert read_result(out).observations["class_id"].tolist() == expected


def test_instances_json_is_georeferenced_by_the_origin(written):
    _, full, result = written
    record = result.instances[0]
    assert record["class_name"] == "building" and record["id"] == 1
    east, north = record["centroid_map"][:2]
    # one degree is 111.2 km north and 73.1 km east at 49 degrees, to a third of a per cent
    assert record["lat_deg"] - full.origin.lat_deg == pytest.approx(north / 111_200, rel=3e-3)
    assert record["lon_deg"] - full.origin.lon_deg == pytest.approx(east / 73_150, rel=3e-3)


def test_instances_json_without_origin_has_null_position(tmp_path):
    out = write_result(tmp_path / "r", make_map(georeferenced=False), make_report())
    record = read_result(out).instances[0]
    assert record["lat_deg"] is None and record["lon_deg"] is None


def test_instances_json_writes_null_for_what_is_not_finite(tmp_path):
    full = make_map()
    broken = dataclasses.replace(full.instances[0], sigma_m=float("nan"))
    full = dataclasses.replace(full, instances=(broken, *full.instances[1:]))
    out = write_result(tmp_path / "r", full, make_report())
    assert read_result(out).instances[0]["sigma_m"] is None


def test_run_json_accounts_for_every_picture(written):
    run = written[2].run
    for frames in run["frames"].values():
        assert frames["received"] == frames["processed"] + sum(frames["dropped"].values())
    assert run["origin"] == {"lat_deg": 49.0093, "lon_deg": 8.4371, "alt_m": 114.5}
    assert run["scale"] == "metric" and run["real_time_factor"] == pytest.approx(6.0 / 12.5)
    assert run["config"]["clusters"]["max_features"] > 0
    assert run["num_events"] == {"created": 1, "merged": 1}


def test_events_are_in_sequence_with_their_evidence(written):
    rows = written[2].events
    assert [r["sequence"] for r in rows] == ["0", "1"]
    assert rows[1]["evidence"] == "a=3;jaccard=0.5" and rows[1]["other_id"] == "9"


def test_same_map_and_report_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_result(tmp_path / name, make_map(), make_report())
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file():
            other = tmp_path / "b" / path.relative_to(tmp_path / "a")
            assert path.read_bytes() == other.read_bytes(), path.name


def test_other_times_change_only_run_json_and_the_report(tmp_path):
    write_result(tmp_path / "a", make_map(), make_report(wall_s=10.0))
    write_result(tmp_path / "b", make_map(), make_report(wall_s=20.0, peak_memory_mib=1.0))
    differ = {
        path.name
        for path in (tmp_path / "a").rglob("*")
        if path.is_file()
        and path.read_bytes() != (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    }
    assert differ == {"run.json", "report.html"}


def test_empty_map_is_written_and_read(tmp_path):
    full = make_map()
    full = dataclasses.replace(
        full,
        origin=None,
        trajectory=type(full.trajectory)(
            np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros(0, bool)
        ),
        cloud=type(full.cloud)(
            np.zeros(0, np.int64),
            np.zeros((0, 3)),
            np.zeros((0, 3), np.uint8),
            np.zeros(0, np.uint32),
            np.zeros(0, np.uint32),
            np.zeros(0, np.float32),
            np.zeros(0, np.uint32),
        ),
        instances=(),
        events=(),
        assignments=(),
        counts={},
    )
    result = read_result(write_result(tmp_path / "r", full, make_report(frames={}, seconds={})))
    assert len(result.stamps_ns) == len(result.points) == len(result.observations) == 0


def test_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(ResultError, match="left alone"):
        write_result(tmp_path / "thesis", make_map(), make_report(), overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_foreign_run_json_does_not_make_a_result(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text('{"format": "something else"}')
    with pytest.raises(ResultError, match="left alone"):
        check_target(tmp_path / "other", overwrite=True)


def test_result_is_replaced_only_when_allowed_and_as_a_whole(tmp_path):
    out = write_result(tmp_path / "r", make_map(), make_report(source="first"))
    (out / "stale.txt").write_text("from before")
    with pytest.raises(ResultError, match="--overwrite"):
        write_result(out, make_map(), make_report(source="second"))
    assert read_result(out).run["source"] == "first"
    write_result(out, make_map(), make_report(source="second"), overwrite=True)
    assert read_result(out).run["source"] == "second"
    assert {p.name for p in out.iterdir()} == FILES
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_failure_half_way_keeps_the_result_before_and_leaves_nothing(tmp_path, monkeypatch):
    from seg2d3d_ros.io import result as module

    out = write_result(tmp_path / "r", make_map(), make_report(source="first"))

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "draw_map", full_disk)
    with pytest.raises(ResultError, match="No space left"):
        write_result(out, make_map(), make_report(source="second"), overwrite=True)
    assert read_result(out).run["source"] == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_write_result_removes_what_killed_writers_left_and_nothing_else(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as killed:
        killed.kill()
    kept = [f".r.partial-{os.getppid()}", ".rr.partial-0", ".r.partial-0.txt", "r"]
    for name in (*kept[:-1], f".r.partial-{killed.pid}", f".r.partial-{os.getpid()}"):
        (tmp_path / name).mkdir()
    write_result(tmp_path / "r", make_map(), make_report())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_check_target_where_even_root_may_not_write_is_refused():
    with pytest.raises(ResultError, match="/proc/x cannot be made: /proc cannot be written"):
        check_target("/proc/x")


def test_check_target_a_file_or_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="is a file"):
        check_target(tmp_path / "file")
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(ResultError, match="cannot be written"):
        check_target(locked / "r")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", b"{", "run.json"),
        ("run.json", b"{}", "no result folder"),
        ("run.json", b"[]", "run.json holds a list; a JSON object is needed"),
        ("instances.json", b"{}", "instances.json lacks the list 'instances'"),
        ("instances.json", b'{"instances": [3]}', "lacks id, score of one of its 'instances'"),
        ("trajectory.tum", b"1.0 2 3\n", "no trajectory"),
        ("points.ply", b"solid cube", "no PLY"),
        ("observations.csv", b"a,b\n1,2\n", "lacks the columns stamp_ns"),
        ("observations.csv", OBSERVATIONS + b"\n1,front,11001,3", "observations.csv .*line 2 "),
        ("observations.csv", OBSERVATIONS + b"\n1,front,11001,3,11,.5,9,9", "line 2 is no whole"),
        ("observations.csv", OBSERVATIONS + b"\n1,front,x,3,11,.5,9", "row that cannot be read"),
        ("keyframes.csv", KEYFRAMES + b"\n1x,0,0,0,0,0,0,1", "row that cannot be read"),
    ],
)
def test_read_result_of_a_damaged_folder_names_the_file(tmp_path, name, content, said):
    out = write_result(tmp_path / "r", make_map(), make_report())
    (out / name).write_bytes(content)
    with pytest.raises(ResultError, match=said):
        read_result(out)


def test_read_result_where_there_is_none_says_what_to_give(tmp_path):
    with pytest.raises(ResultError, match=r"there is no .*run\.json: give a folder that `replay`"):
        read_result(tmp_path)


def test_read_result_of_another_version_is_refused(tmp_path):
    out = write_result(tmp_path / "r", make_map(), make_report())
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "version": 99}))
    with pytest.raises(ResultError, match="version 99"):
        read_result(out)


def test_report_links_to_files_that_are_in_the_folder(tmp_path):
    out = write_result(tmp_path / "r", make_map(), make_report())
    assert [name for name in report.FILES if not (out / name).exists()] == []
