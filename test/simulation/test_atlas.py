import numpy as np
import pytest

from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.simulation import atlas as module
from seg2d3d_ros.simulation.atlas import Atlas


def ramp(width, height):
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 250, width)[None]
    image[..., 1] = np.linspace(0, 250, height)[:, None]
    return image


def sample_one(atlas, texture, uv, footprint):
    return atlas.sample(
        np.array([texture]), np.array([uv], np.float32), np.array([footprint], np.float32)
    )[0]


def test_sample_texel_centres_returns_texels_exactly():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (6, 10, 3), dtype=np.uint8)
    atlas = Atlas([(ramp(33, 17), False), (image, False)])
    j, i = (a.ravel() for a in np.mgrid[0:6, 0:10])
    uv = np.column_stack([(i + 0.5) / 10, (j + 0.5) / 6]).astype(np.float32)
    found = atlas.sample(np.ones(60, int), uv, np.zeros((60, 2), np.float32))
    # cv2 interpolates in steps of 1/32 texel
    np.testing.assert_allclose(found, image.reshape(-1, 3), atol=4)


@pytest.mark.parametrize(("repeats", "expected"), [(True, 100.0), (False, 0.0)])
def test_sample_beyond_the_edge_wraps_only_repeating_textures(repeats, expected):
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 100
    atlas = Atlas([(image, repeats)])
    assert sample_one(atlas, 0, (-0.25, 0.5), (0, 0))[0] == pytest.approx(expected, abs=1)


def test_sample_wide_footprint_averages_along_one_axis_only():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # vertical stripes
    atlas = Atlas([(stripes, True)])
    assert sample_one(atlas, 0, (0.5 / 64, 0.5), (0.25, 0.0))[0] == pytest.approx(100, abs=3)
    assert sample_one(atlas, 0, (0.5 / 64, 0.5), (0.0, 0.25))[0] == pytest.approx(200, abs=3)


def test_sample_growing_footprint_changes_colour_without_steps():
    rng = np.random.default_rng(1)
    atlas = Atlas([(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), True)])
    sizes = np.geomspace(1 / 64, 0.5, 200)
    colours = np.array([sample_one(atlas, 0, (0.3, 0.3), (s, 1 / 64))[0] for s in sizes])
    assert np.abs(np.diff(colours)).max() < 12


def test_atlas_of_many_textures_gets_wider_before_it_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_WIDTHS_PX", (100, 200))
    monkeypatch.setattr(module, "_MOST_PX", 100)
    plain = [(np.full((32, 32, 3), value, np.uint8), True) for value in (10, 90, 170)]
    atlas = Atlas(plain[:2])  # side by side; one above the other they are 148 px high
    assert sample_one(atlas, 0, (0.5, 0.5), (0, 0))[0] == 10
    assert sample_one(atlas, 1, (0.5, 0.5), (0, 0))[0] == 90
    with pytest.raises(ConfigError, match="3 textures .* lower length_m"):
        Atlas(plain)
