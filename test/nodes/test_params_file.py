from pathlib import Path

from seg2d3d_ros import config
from seg2d3d_ros.nodes.options import NodeOptions
from seg2d3d_ros.nodes.params_file import render

FILE = Path(__file__).parents[2] / "config" / "default.yaml"


def test_default_yaml_is_what_the_dataclasses_say():
    assert FILE.read_text() == render(), (
        "run: python -m seg2d3d_ros.nodes.params_file > config/default.yaml"
    )


def test_default_yaml_read_by_a_replay_gives_the_defaults():
    assert config.load(FILE) == config.Config()


def test_render_small_float_keeps_its_value_and_its_point(monkeypatch):
    monkeypatch.setattr(
        "seg2d3d_ros.nodes.params_file.NodeOptions", lambda: NodeOptions(points_voxel_m=1e-5)
    )
    assert "points_voxel_m: 0.00001\n" in render()
