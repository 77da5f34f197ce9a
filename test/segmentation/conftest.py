"""Backends on the tiny checkpoints of `tiny_weights.py`."""

import pytest
from tiny_weights import tiny_values

from seg2d3d_ros.config import Config, override


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tiny_config(weights):
    """Return a function that makes the configuration of a backend with tiny weights."""

    def make(backend: str, **options) -> Config:
        options = {"prompt": ["building=house,building", "sky", "car", "bridge"], **options}
        values = {f"segmentation.{k}": v for k, v in options.items()}
        return override(Config(), tiny_values(weights, backend) | values)

    return make
