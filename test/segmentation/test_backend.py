from importlib.metadata import EntryPoint

import numpy as np
import pytest

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.errors import BackendError
from seg2d3d_ros.segmentation import backend as backends
from seg2d3d_ros.segmentation.backend import choose_backend, create_backend
from seg2d3d_ros.types import Camera, Rig


def make_rig(labelled=()):
    return Rig((Camera("front", 8, 8, np.eye(3), np.eye(4)),), has_labels=frozenset(labelled))


def test_choose_backend_auto_with_labels_topic_takes_labels():
    choice = choose_backend(Config(), make_rig(["front"]))
    assert choice.name == "labels"
    assert "front" in choice.reason


def test_choose_backend_auto_without_labels_and_model_takes_classical():
    assert choose_backend(Config(), make_rig()).name == "classical"


def test_choose_backend_named_wins_over_labels():
    config = override(Config(), {"segmentation.backend": "classical"})
    assert choose_backend(config, make_rig(["front"])).name == "classical"


def test_choose_backend_labels_asked_for_but_not_there_says_what_that_means():
    config = override(Config(), {"segmentation.backend": "labels"})
    assert "there will be no instances" in choose_backend(config, make_rig()).reason
    assert "no instances" not in choose_backend(config, make_rig(["front"])).reason


def test_choose_backend_misspelt_name_proposes_the_nearest():
    config = override(Config(), {"segmentation.backend": "clasical"})
    with pytest.raises(BackendError, match="did you mean 'classical'"):
        choose_backend(config, make_rig())


def test_create_backend_of_another_package_is_found_by_entry_point(monkeypatch):
    point = EntryPoint("third_party", "builtins:repr", backends.ENTRY_POINT_GROUP)
    monkeypatch.setattr(backends, "entry_points", lambda group: [point])
    config = override(Config(), {"segmentation.backend": "third_party"})
    assert choose_backend(config, make_rig()).name == "third_party"
    assert create_backend("third_party", config) == repr(config)


def test_create_backend_missing_library_names_it_and_the_cure(monkeypatch):
    def broken(config):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(backends, "_factory", lambda name: broken)
    with pytest.raises(BackendError, match=r"'torch'.*seg2d3d_ros\[models\]"):
        create_backend("grounded_sam2", Config())
