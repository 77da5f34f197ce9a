"""Segmentation without weights: parts by graph cuts, told apart by place, colour and edges.

Felzenszwalb and Huttenlocher's parts (IJCV 2004) of a small copy of the picture become sky,
ground, vegetation or structure; structures that are alike merge. The cues assume a camera on a
vehicle that looks more or less level. Structures are meant to be too small rather than too large:
association joins parts that share 3D points, but nothing divides a mask over two buildings.

Labels: sky 23, ground 7, vegetation 21 (classes without instance). Structures have class 0, hence
the labels 1, 2, 3, ... without the numbers of such classes: a label names one thing only.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.config import Config
from seg2d3d_ros.segmentation.backend import PromptlessBackend
from seg2d3d_ros.segmentation.classes import (
    ROAD,
    SKY,
    STRUCTURE,
    STUFF,
    VEGETATION,
    structure_labels,
)
from seg2d3d_ros.segmentation.masks import encode_labels
from seg2d3d_ros.segmentation.regions import (
    Borders,
    Flags,
    Floats,
    Ints,
    MergeRule,
    Parts,
    absorb_enclosed,
    find_borders,
    measure_cues,
    measure_parts,
    merge_similar,
)
from seg2d3d_ros.types import Frame, Mask

FELZENSZWALB_SCALE = 60.0
FELZENSZWALB_SIGMA = 0.7
MIN_PART_SHARE = 0.0008  # of the picture
MIN_STRUCTURE_SHARE = 0.003
MIN_INNER = 0.25  # parts with fewer inner pixels are the seams of others
SEAM_COST = 3.0  # CIELAB
STRUCTURE_COST = 9.0
GROW_CONTRAST = 9.0


class ClassicalBackend(PromptlessBackend):
    """Splits pictures into sky, ground, vegetation and structures, on the processor."""

    name = "classical"
    classes = {STRUCTURE: "structure", ROAD: "ground", VEGETATION: "vegetation", SKY: "sky"}

    def __init__(self, process_width_px: int = 320) -> None:
        """Prepare to work on copies of pictures of this width."""
        super().__init__()
        self._width_px = process_width_px

    def segment(self, frames: Sequence[Frame]) -> list[list[Mask] | None]:
        """Return the masks of each picture; the score tells how well a mask's border shows."""
        return [self._segment(frame.image) for frame in frames]

    def _segment(self, image: NDArray[np.uint8]) -> list[Mask]:
        h, w = image.shape[:2]
        labels, scores = label_small(self._reduce(image, 2), self._reduce(image, 1))
        full = cv2.resize(labels, (w, h), interpolation=cv2.INTER_NEAREST)
        return [
            Mask(label, label if label in STUFF else STRUCTURE, scores[label], bbox_px, runs)
            for label, bbox_px, runs in encode_labels(full)
        ]

    def _reduce(self, image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
        """Return a colour copy of `factor` times the working width, at least 8 pixels each way."""
        h, w = image.shape[:2]
        scale = min(1.0, factor * self._width_px / w)
        size = (max(8, round(w * scale)), max(8, round(h * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small


def create(config: Config) -> ClassicalBackend:
    """Make the backend."""
    return ClassicalBackend(config.segmentation.process_width_px)


def label_small(
    detailed_bgr: NDArray[np.uint8], image_bgr: NDArray[np.uint8]
) -> tuple[NDArray[np.uint16], dict[int, float]]:
    """Label a small picture.

    Args:
        detailed_bgr: A larger copy, (H, W, 3), in which edges are measured.
        image_bgr: The picture, (h, w, 3).

    Returns:
        (h, w) labels, none of them 0, and a score in 0..1 per label.
    """
    from skimage.segmentation import felzenszwalb

    min_part = max(12, round(image_bgr[..., 0].size * MIN_PART_SHARE))
    raw = felzenszwalb(
        image_bgr, scale=FELZENSZWALB_SCALE, sigma=FELZENSZWALB_SIGMA, min_size=min_part
    )
    cues = measure_cues(detailed_bgr, image_bgr.shape[:2])
    parts, borders = measure_parts(raw, cues), find_borders(raw, cues.lab)
    everything = np.ones(len(parts.size), bool)
    seams = MergeRule(everything, parts.inner < MIN_INNER, SEAM_COST)
    labels = merge_similar(parts, borders, seams)[raw]

    parts, borders = measure_parts(labels, cues), find_borders(labels, cues.lab)
    classes = classify(parts, borders)
    alike = MergeRule(
        classes == STRUCTURE,
        np.zeros(len(classes), bool),
        STRUCTURE_COST,
        MIN_STRUCTURE_SHARE * labels.size,
    )
    groups = merge_similar(parts, borders, alike)
    groups = absorb_enclosed(groups, parts, borders, classes == STRUCTURE)
    numbers = _number(classes, groups)
    return numbers[labels].astype(np.uint16), _scores(numbers, parts, borders)


def classify(parts: Parts, borders: Borders) -> Ints:
    """Tell sky, ground, vegetation and structure apart by simple cues; (n,) class ids."""
    lightness, a, b = parts.lab.T
    is_foliage = _is_foliage(parts, borders)

    could_be_sky = (parts.energy < 3) & (parts.middle < 0.45) & (a < 4) & (b < 6)
    could_be_sky &= ((a > -12) | (b < -3)) & ~is_foliage
    seed = could_be_sky & (parts.on_top > 0.02) & (parts.top < 0.05) & (parts.energy < 1.5)
    seed &= lightness > max(40.0, np.average(lightness, weights=parts.size))
    if seed.any():
        largest = np.argmax(np.where(seed, parts.size, 0))
        could_be_sky &= np.abs(lightness - lightness[largest]) < 20
    is_sky = _grow(seed & could_be_sky, could_be_sky, borders)

    could_be_ground = (parts.top > 0.4) & (parts.middle > 0.55) & (parts.energy < 4) & ~is_sky
    is_ground = _grow(could_be_ground & (parts.on_bottom > 0.05), could_be_ground, borders)
    is_low = (parts.middle > 0.55) & (parts.top > 0.4) & ~is_foliage
    is_ground = _fill(is_ground, is_low, borders)

    classes = np.full(len(parts.size), STRUCTURE)
    classes[is_foliage] = VEGETATION
    classes[is_ground] = ROAD
    classes[is_sky] = SKY
    return classes


def _is_foliage(parts: Parts, borders: Borders) -> Flags:
    """Tell parts whose edges run anywhere and whose colour does not speak against leaves."""
    lightness, a, b = parts.lab.T
    is_rough = parts.energy > 0.6 + 0.02 * lightness
    is_wild = (parts.upright < 0.42) & (parts.coherence < 0.4)
    could_be = is_rough & (parts.upright < 0.5) & (a < 2) & (b > -2) & (parts.coherence < 0.6)
    is_green = (a < -4) & (b > 4) & (parts.upright < 0.6)
    return _fill(is_rough & ((is_wild & (a < 1) & (b > -2)) | is_green), could_be, borders)


def _fill(inside: Flags, allowed: Flags, borders: Borders) -> Flags:
    """Add allowed parts that have more than half of their border with the set, twice."""
    for _ in range(2):
        total, shared = np.zeros(len(inside)), np.zeros(len(inside))
        for one, other in (borders.pairs.T, borders.pairs.T[::-1]):
            total += np.bincount(one, borders.length, minlength=len(inside))
            weight = borders.length * inside[other]
            shared += np.bincount(one, weight, minlength=len(inside))
        inside = inside | (allowed & (shared > 0.5 * total))
    return inside


def _grow(seed: Flags, allowed: Flags, borders: Borders) -> Flags:
    """Grow a set of parts over borders with little contrast."""
    grown = seed.copy()
    weak = borders.pairs[borders.contrast < GROW_CONTRAST]
    while True:
        one, other = grown[weak[:, 0]], grown[weak[:, 1]]
        new = np.concatenate((weak[one & ~other, 1], weak[other & ~one, 0]))
        new = new[allowed[new]]
        if not len(new):
            return grown
        grown[new] = True


def _number(classes: Ints, groups: Ints) -> Ints:
    """Return each part's label: its class, or for structures 1, 2, 3, ... without class ids."""
    is_structure = classes == STRUCTURE
    _, order = np.unique(groups[is_structure], return_inverse=True)
    numbers = classes.copy()
    numbers[is_structure] = np.array(structure_labels(len(order)), np.int64)[order]
    return numbers


def _scores(numbers: Ints, parts: Parts, borders: Borders) -> dict[int, float]:
    """Return contrast / (contrast + spread) per label: high if its border outshines its inside."""
    num = int(numbers.max()) + 1
    sides = numbers[borders.pairs]
    weight = np.where(sides[:, 0] != sides[:, 1], borders.length, 0.0)
    length, contrast = np.zeros(num), np.zeros(num)
    for side in sides.T:
        length += np.bincount(side, weight, minlength=num)
        contrast += np.bincount(side, weight * borders.contrast, minlength=num)
    contrast /= np.maximum(length, 1)
    size = np.maximum(np.bincount(numbers, parts.size, minlength=num), 1)
    spread: Floats = np.bincount(numbers, parts.size * parts.spread, minlength=num) / size
    score = contrast / np.maximum(contrast + spread, 1e-6)
    return {int(k): float(score[k]) for k in np.unique(numbers)}
