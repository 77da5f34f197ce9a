"""Masks as a fallible segmenter would publish them, and whose they truly are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.segmentation.classes import BUILDING, CAR, VEGETATION
from seg2d3d_ros.simulation.options import SimulationOptions

INSTANCE_CLASSES = (BUILDING, VEGETATION, CAR)
MIN_SHARE = 0.10


@dataclass(frozen=True)
class MaskOwner:
    """A true building under at least a tenth of a published mask; building 0 = none."""

    label: int
    building: int
    share: float


def publish_masks(
    rng: np.random.Generator, object_id: NDArray, class_of: NDArray, options: SimulationOptions
) -> NDArray[np.uint16]:
    """Return labels: class * 1000 + k, k in random order; the bare class without instance.

    Args:
        rng: Source of the noise.
        object_id: (h, w) true object of every pixel.
        class_of: (n,) class of each object.
        options: Rates of the noise.
    """
    seen = _displace(rng, object_id, options.ragged_px * options.mask_noise)
    class_image = class_of[seen]
    is_instance = np.isin(class_image, INSTANCE_CLASSES)
    labels = np.where(is_instance, 0, class_image).astype(np.uint16)
    for class_id in INSTANCE_CLASSES:
        objects = np.where(class_image == class_id, seen, 0)
        if class_id == BUILDING:
            found = _building_regions(rng, objects, options)
        else:
            found = [objects == o for o in np.flatnonzero(np.bincount(objects.ravel())) if o]
        found = [_with_holes(rng, region, options.holes * options.mask_noise) for region in found]
        found = [region for region in found if region.sum() >= options.min_mask_px]
        for k, region in zip(rng.permutation(len(found)), found, strict=True):
            labels[region] = class_id * 1000 + k + 1
    return labels


def mask_owners(labels: NDArray[np.uint16], building: NDArray) -> list[MaskOwner]:
    """Return whose the building masks of a label picture are.

    Args:
        labels: (h, w) published masks.
        building: (h, w) true building of every pixel, 0 for none.
    """
    owners = []
    is_mask = labels // 1000 == BUILDING
    k = labels[is_mask].astype(np.int64) % 1000
    true = building[is_mask]
    width = int(true.max(initial=0)) + 1
    height = int(k.max(initial=0)) + 1
    counts = np.bincount(k * width + true, minlength=height * width).reshape(height, width)
    for number in np.flatnonzero(counts.any(axis=1)):
        share = counts[number] / counts[number].sum()
        label = BUILDING * 1000 + int(number)
        owners += [
            MaskOwner(label, int(b), float(share[b])) for b in np.flatnonzero(share >= MIN_SHARE)
        ]
    return owners


def _displace(rng: np.random.Generator, image: NDArray, sigma_px: float) -> NDArray:
    """Shift pixels along smooth random fields: edges become ragged and bleed over."""
    if sigma_px <= 0:
        return image
    h, w = image.shape
    xy = [a.astype(np.float32) for a in np.meshgrid(np.arange(w), np.arange(h))]
    for axis in range(2):
        for cell_px, weight in ((7, 0.6), (30, 0.8)):
            coarse = rng.normal(size=(h // cell_px + 2, w // cell_px + 2)).astype(np.float32)
            field = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
            xy[axis] += np.float32(sigma_px * weight * 1.3) * field
    columns = np.clip(np.rint(xy[0]), 0, w - 1).astype(np.int64)
    rows = np.clip(np.rint(xy[1]), 0, h - 1).astype(np.int64)
    return image[rows, columns]


def _building_regions(
    rng: np.random.Generator, objects: NDArray, options: SimulationOptions
) -> list[NDArray[np.bool_]]:
    """Return the masks of buildings: some missed, some two as one, some in pieces.

    Args:
        rng: Source of the noise.
        objects: (h, w) object of every pixel of a building, 0 elsewhere.
        options: Rates.
    """
    missed, merged, split = (
        min(rate * options.mask_noise, 0.95)
        for rate in (options.missed, options.merged, options.split)
    )
    ids = [
        int(o) for o in np.flatnonzero(np.bincount(objects.ravel()) >= options.min_mask_px) if o
    ]
    touching = _touching(objects)
    left, regions = set(ids), []
    for o in rng.permutation(ids).tolist():
        if o not in left:
            continue
        left.discard(o)
        if rng.random() < missed:
            continue
        region = objects == o
        neighbours = sorted(touching.get(o, set()) & left)
        if neighbours and rng.random() < merged:
            other = neighbours[rng.integers(len(neighbours))]
            left.discard(other)
            regions.append(region | (objects == other))
        elif rng.random() < split:
            regions += _cut(rng, region)
        else:
            regions.append(region)
    return regions


def _touching(objects: NDArray) -> dict[int, set[int]]:
    """Return the neighbours of each object: those along a border of at least four pixels."""
    borders = []
    for a, b in ((objects[:, 1:], objects[:, :-1]), (objects[1:], objects[:-1])):
        is_border = (a != b) & (a > 0) & (b > 0)
        borders.append(np.sort(np.column_stack([a[is_border], b[is_border]]), axis=1))
    touching: dict[int, set[int]] = {}
    pairs, counts = np.unique(np.concatenate(borders), axis=0, return_counts=True)
    for a, b in pairs[counts >= 4].tolist():
        touching.setdefault(a, set()).add(b)
        touching.setdefault(b, set()).add(a)
    return touching


def _cut(rng: np.random.Generator, region: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Cut a region by one or two nearly parallel lines, upright more often than not."""
    y, x = np.nonzero(region)
    angle = rng.normal(0.0, 0.25) + (np.pi / 2 if rng.random() < 0.3 else 0.0)
    along = np.cos(angle) * x + np.sin(angle) * y
    num_cuts = 1 if rng.random() < 0.75 else 2
    cuts = np.sort(np.quantile(along, rng.uniform(0.2, 0.8, num_cuts)))
    piece = np.searchsorted(cuts, along)
    pieces = []
    for k in range(num_cuts + 1):
        part = np.zeros_like(region)
        part[y[piece == k], x[piece == k]] = True
        pieces.append(part)
    return pieces


def _with_holes(
    rng: np.random.Generator, region: NDArray[np.bool_], mean: float
) -> NDArray[np.bool_]:
    num = int(rng.poisson(mean))
    if num == 0 or not region.any():
        return region
    y, x = np.nonzero(region)
    canvas = region.astype(np.uint8)
    for _ in range(num):
        k = int(rng.integers(len(x)))
        size = np.sqrt(len(x)) * rng.uniform(0.03, 0.12, 2) + 1.0
        axes = (int(size[0]), int(size[1]))
        cv2.ellipse(
            canvas, (int(x[k]), int(y[k])), axes, float(rng.uniform(0, 180)), 0, 360, 0, -1
        )
    return canvas.astype(bool)
