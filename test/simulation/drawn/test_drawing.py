import copy
from pathlib import Path

import drive_maker
import numpy as np
import pytest

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.simulation.drawn.drawing import read_drawing

SHIPPED = Path(__file__).resolve().parents[3] / "config" / "facades"


def test_drawing_points_stand_on_their_line_and_houses_behind_it(drawing):
    left, right = drawing.facades[:2]
    np.testing.assert_allclose(left.at(np.array([20.0]), np.array([3.0])), [[10, 8, 2.1]])
    np.testing.assert_allclose(left.inward, [0, 1, 0])
    np.testing.assert_allclose(right.inward, [0, -1, 0], atol=1e-12)
    assert drawing.houses == [1, 2, 3, 4]


def test_drawing_base_slopes_with_its_line(tmp_path):
    facade = copy.deepcopy(drive_maker.DRAWING["facades"][0])
    facade["line_map"] = [[0, 0, 1.0], [60, 0, 4.0]]
    path = drive_maker.write_drawing(tmp_path / "d.json", facades=[facade])
    line = read_drawing(path).facades[0]
    np.testing.assert_allclose(line.at(np.array([20.0]), np.array([0.5])), [[20, 0, 2.5]])


def broken(**changes):
    facade = copy.deepcopy(drive_maker.DRAWING["facades"][0])
    facade.update(changes)
    return {"facades": [facade]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 7}, "version 7; 1 is needed"),
        ({"facades": [{"name": "a", "line_map": [[0, 0, 0], [1, 0, 0]]}]}, "'houses' is missing"),
        (broken(line_map=[[0, 0], [1, 0]]), "two finite points"),
        (broken(line_map=[[0, 0, 0], [0, 0.01, 0]]), "0.01 m long"),
        (broken(houses=[{"house": 1, "top_m": [[0, 6], [70, 6]]}]), "60.00 m long"),
        (broken(houses=[{"house": 1, "top_m": [[5, 6], [2, 6]]}]), "rising order"),
        (broken(houses=[{"house": 1, "top_m": [[0, 6], [2, 0]]}]), "above 0"),
        (broken(houses=[{"house": "1", "top_m": [[0, 6], [2, 6]]}]), "whole number"),
        (
            broken(
                houses=[
                    {"house": 1, "top_m": [[0, 6], [20, 6]]},
                    {"house": 2, "top_m": [[15, 6], [30, 6]]},
                ]
            ),
            "house 2 begins at 15 m, before house 1 ends at 20 m",
        ),
        ({"facades": broken()["facades"] * 2}, "one name"),
        ({"trees": [{**drive_maker.DRAWING["trees"][0], "crown_to_m": 1.0}]}, "crown ends below"),
    ],
)
def test_drawing_that_contradicts_itself_raises(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_drawing(drive_maker.write_drawing(tmp_path / "d.json", **changes))


def test_drawing_that_is_no_json_raises(tmp_path):
    (tmp_path / "d.json").write_text("{")
    with pytest.raises(InputError, match="cannot read the drawing"):
        read_drawing(tmp_path / "d.json")


def test_shipped_drawing_of_kitti_raw_0009_holds_six_houses():
    drawing = read_drawing(SHIPPED / "kitti_raw_2011_09_26_drive_0009.json")
    assert drawing.houses == [1, 2, 3, 4, 5, 6]
    assert drawing.drive == "2011_09_26_drive_0009_sync"
    first, last = drawing.pictures_ns
    assert 5.0 < (last - first) * 1e-9 < 5.3
