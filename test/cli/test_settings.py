import argparse

import pytest

from seg2d3d_ros.cli import settings
from seg2d3d_ros.errors import ConfigError


def load(*argv):
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser)
    return settings.load(parser.parse_args(argv))


def test_load_argument_beats_file_beats_default(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("clusters:\n  max_features: 600\n  window_keyframes: 8\n")
    config = load("--params-file", str(path), "--set", "clusters.max_features=700")
    assert config.clusters.max_features == 700 and config.clusters.window_keyframes == 8


def test_load_backend_is_the_segmentation_backend():
    assert load("--backend", "classical").segmentation.backend == "classical"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("clusters.wait_s=2", 2.0),
        ("clusters.wait_s=1e-3", 1e-3),
        ("clusters.max_features=700", 700),
        ("mapping.refine=false", False),
        ("inputs.base_frame=123", "123"),
        ("inputs.cameras=front", ["front"]),
        ("inputs.cameras=front, rear", ["front", "rear"]),
        ("inputs.cameras=[]", []),
        ("segmentation.building_classes=11,12", [11, 12]),
    ],
)
def test_parse_assignment_gives_the_type_of_the_key(text, value):
    key, parsed = settings.parse_assignment(text)
    assert parsed == value and type(parsed) is type(value)
    load("--set", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters.max_features", "key=value"),
        ("clusters.wait_s=soon", "soon"),
        ("clusters.max_featurs=3", "did you mean 'clusters.max_features'"),
        ("clusters.max_features=many", "int is needed"),
        ("clusters.max_features=1", "must lie in"),
    ],
)
def test_load_wrong_assignment_says_what_was_wrong(text, said):
    with pytest.raises(ConfigError, match=said):
        load("--set", text)
