import cv2
import numpy as np
import pytest

from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry.masks import decode
from seg2d3d_ros.segmentation.backend import create_backend
from seg2d3d_ros.segmentation.classical import ClassicalBackend
from seg2d3d_ros.types import Frame


def make_street(grey: bool = False) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw sky, a road, two houses of different colour and a tree; noise of 2 grey levels."""
    rng = np.random.default_rng(0)
    h, w = 240, 480
    truth = {name: np.zeros((h, w), bool) for name in ("sky", "ground", "red", "blue", "tree")}
    truth["red"][60:150, 20:150] = True
    truth["blue"][40:150, 150:260] = True
    truth["tree"][70:150, 330:430] = True
    truth["ground"][150:] = True
    truth["sky"] = ~(truth["red"] | truth["blue"] | truth["tree"] | truth["ground"])
    colours = {"sky": (245, 225, 205), "ground": (100, 100, 100), "red": (60, 60, 150)}
    colours |= {"blue": (190, 150, 110), "tree": (35, 95, 50)}
    image = np.zeros((h, w, 3))
    for name, mask in truth.items():
        image[mask] = colours[name]
    image += rng.normal(0, 2, image.shape)
    leaves = cv2.resize(
        rng.normal(0, 45, (h // 3, w // 3)), (w, h), interpolation=cv2.INTER_LINEAR
    )
    image[truth["tree"]] += leaves[truth["tree"], None]
    image = np.clip(image, 0, 255).astype(np.uint8)
    return (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if grey else image), truth


def segment(image: np.ndarray) -> list:
    (masks,) = ClassicalBackend().segment([Frame("front", 0, image)])
    return masks


def share(masks: list, shape: tuple[int, int], truth: np.ndarray) -> float:
    covered = np.zeros(shape, bool)
    for mask in masks:
        covered |= decode(mask.bbox_px, mask.runs, shape)
    return float((covered & truth).sum() / truth.sum())


def test_classical_drawn_street_tells_sky_ground_and_tree_apart():
    image, truth = make_street()
    masks = segment(image)
    for name, class_id in (("sky", 23), ("ground", 7), ("tree", 21)):
        of_class = [m for m in masks if m.class_id == class_id]
        # borders are those of a copy 2/3 as wide: one of its pixels is 1.5 of ours
        assert share(of_class, image.shape[:2], truth[name]) > 0.9, name


@pytest.mark.parametrize("grey", [False, True])
def test_classical_houses_of_two_colours_become_two_structures(grey):
    image, truth = make_street(grey)
    structures = [m for m in segment(image) if m.class_id == 0]
    best = {}
    for name in ("red", "blue"):
        best[name] = max(structures, key=lambda m: share([m], image.shape[:2], truth[name]))
        assert share([best[name]], image.shape[:2], truth[name]) > 0.9
    assert best["red"].label != best["blue"].label


def test_classical_labels_are_unique_and_structures_avoid_the_class_numbers():
    rng = np.random.default_rng(0)
    checks = rng.integers(0, 255, (12, 24, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    masks = segment(checks)
    labels = [m.label for m in masks]
    assert len(labels) == len(set(labels)) > 30
    assert all(m.label not in (7, 21, 23) for m in masks if m.class_id == 0)
    assert all(m.label == m.class_id for m in masks if m.class_id != 0)
    assert all(0 <= m.score <= 1 for m in masks)


def test_classical_masks_cover_the_picture_once():
    image, _ = make_street()
    total = sum(decode(m.bbox_px, m.runs, image.shape[:2]).astype(int) for m in segment(image))
    assert (total == 1).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 60, 3), np.uint8),
        np.full((40, 60), 255, np.uint8),
        np.zeros((1, 1), np.uint8),
        np.full((400, 30, 3), 120, np.uint8),
    ],
    ids=["black", "white_grey", "one_pixel", "narrow_portrait"],
)
def test_classical_featureless_pictures_are_one_mask(image):
    (mask,) = segment(image)
    h, w = image.shape[:2]
    assert mask.bbox_px == (0, 0, w, h)


def test_classical_same_picture_twice_gives_the_same_masks():
    backend = create_backend("classical", Config())
    image, _ = make_street()
    first, second = backend.segment([Frame("a", 0, image), Frame("b", 0, image.copy())])
    assert [m.label for m in first] == [m.label for m in second]
    assert all((a.runs == b.runs).all() for a, b in zip(first, second, strict=True))
