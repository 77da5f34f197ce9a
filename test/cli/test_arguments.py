"""Arguments of all commands: what they refuse, they refuse by name."""

import argparse

import pytest

from seg2d3d_ros.cli import arguments
from seg2d3d_ros.cli import main as cli


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (arguments.seconds, {"0": 0.0, "2.5": 2.5}, ("-1", "nan", "inf", "long")),
        (arguments.positive, {"0.5": 0.5}, ("0", "-1", "nan", "inf", "fast")),
        (arguments.count, {"0": 0, "12": 12}, ("-1", "1.5", "", "many")),
        (arguments.remap, {"image:=/a/b": "image:=/a/b"}, ("image", ":=b", "a:=", "a:=b:=c")),
    ],
)
def test_kinds_of_values_take_what_they_say_and_name_the_rest(kind, good, bad):
    for text, value in good.items():
        assert kind(text) == value
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=repr(text)):
            kind(text)


@pytest.mark.parametrize(
    "argv",
    [
        ["live", "--remap", "image"],
        ["live", "--duration-s", "-1"],
        ["play", "bag", "--wait-for-subscribers", "-1"],
        ["play", "bag", "--keep-pace", "-1"],
        ["play", "bag", "--rate", "fast"],
        ["replay", "bag", "--out", "x", "--start-s", "soon"],
        ["truth", "ortho", "drive", "out", "--px-per-m", "0"],
        ["truth", "ortho", "drive", "out", "--overlay-every", "-1"],
    ],
)
def test_value_without_meaning_is_refused_before_anything_starts(argv, capsys):
    assert cli.main(argv) == 1
    said = capsys.readouterr().err
    assert f"argument {argv[-2]}: '{argv[-1]}'" in said


@pytest.mark.parametrize("argv", [["truth", "ortho", "nowhere", "out", "-q"], ["play", "nowhere"]])
def test_recording_that_is_not_there_is_named(argv, capsys):
    if argv[0] == "play":
        pytest.importorskip("tf2_msgs", reason="tf2_msgs is not built: make setup")
    assert cli.main(argv) == 1
    assert "there is nothing at nowhere" in capsys.readouterr().err
