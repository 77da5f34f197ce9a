"""Masks as a fallible segmenter would publish them, and whose they truly are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.simulation.options import SimulationOptions

BUILDING_CLASS = 11
INSTANCE_CLASSES = (11, 21, 26)
MIN_SHARE = 0.10


@dataclass(frozen=True)
class MaskOwner:
    """A true building under at least a tenth of a published mask; building 0 = none."""

    label: int
    building: int
    share: float


def publish_masks(rng: np.random.Generator, object_id: NDArray, class_of: NDArray, options: SimulationOptions) -> NDArray[np.uint16]:
    """Return a label picture: class * 1000 + k for instances in random order, the bare class for the rest.

    Args:
        rng: Source of the noise.
        object_id: (h, w) true object of every pixel.
        class_of: (n,) class of each object.
        options: Rates of the noise.
    """
    amount = options.mask_noise
    seen = _displace(rng, object_id, options.ragged_px * amount)
    class_image = class_of[seen]
    is_instance = np.isin(class_image, INSTANCE_CLASSES)
    labels = np.where(is_instance, 0, class_image).astype(np.uint16)
    regions = _building_regions(rng, np.where(class_image == BUILDING_CLASS, seen, 0), options)
    for class_id in INSTANCE_CLASSES:
        if class_id != BUILDING_CLASS:
            regions[class_id] = [seen == o for o in np.unique(seen[class_image == class_id])]
    for class_id, found in regions.items():
        found = [_with_holes(rng, region, options.holes * amount) for region in found]
        found = [region for region in found if region.sum() >= options.min_mask_px]
        for k, region in zip(rng.permutation(len(found)), found, strict=True):
            labels[region] = class_id * 1000 + k + 1
    return labels


def mask_owners(labels: NDArray[np.uint16], building: NDArray) -> list[MaskOwner]:
    """Return whose the building masks of a label picture are, given the true building (h, w) of every pixel."""
    owners = []
    is_mask = labels // 1000 == BUILDING_CLASS
    pairs, counts = np.unique(
        np.column_stack([labels[is_mask], building[is_mask]]), axis=0, return_counts=True
    )
    for label in np.unique(pairs[:, 0]):
        rows = pairs[:, 0] == label
        share = counts[rows] / counts[rows].sum()
        for b, s in zip(pairs[rows, 1], share, strict=True):
            if s >= MIN_SHARE:
                owners.append(MaskOwner(int(label), int(b), float(s)))
    return owners


def _displace(rng: np.random.Generator, image: NDArray, sigma_px: float) -> NDArray:
    """Shift pixels along smooth random fields, so that edges become ragged and bleed into their neighbours."""
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


def _building_regions(rng: np.random.Generator, objects: NDArray, options: SimulationOptions) -> dict[int, list[NDArray[np.bool_]]]:
    amount = options.mask_noise
    ids = [int(o) for o in np.unique(objects) if o and (objects == o).sum() >= options.min_mask_px]
    touching = _touching(objects)
    left, regions = set(ids), []
    for o in rng.permutation(ids) if ids else []:
        if o not in left:
            continue
        left.discard(int(o))
        region = objects == o
        if rng.random() < min(options.missed * amount, 0.95):
            continue
        neighbours = sorted(n for n in touching.get(int(o), ()) if n in left)
        if neighbours and rng.random() < min(options.merged * amount, 0.95):
            other = neighbours[rng.integers(len(neighbours))]
            left.discard(other)
            regions.append(region | (objects == other))
        elif rng.random() < min(options.split * amount, 0.95):
            regions += _cut(rng, region)
        else:
            regions.append(region)
    return {BUILDING_CLASS: regions}


def _touching(objects: NDArray) -> dict[int, set[int]]:
    pairs = np.concatenate(
        [
            np.column_stack([objects[:, 1:].ravel(), objects[:, :-1].ravel()]),
            np.column_stack([objects[1:].ravel(), objects[:-1].ravel()]),
        ]
    )
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(axis=1)]
    touching: dict[int, set[int]] = {}
    unique, counts = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    for (a, b), count in zip(unique, counts, strict=True):
        if count >= 4:
            touching.setdefault(int(a), set()).add(int(b))
            touching.setdefault(int(b), set()).add(int(a))
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


def _with_holes(rng: np.random.Generator, region: NDArray[np.bool_], mean: float) -> NDArray[np.bool_]:
    num = int(rng.poisson(mean))
    if num == 0 or not region.any():
        return region
    y, x = np.nonzero(region)
    canvas = region.astype(np.uint8)
    for _ in range(num):
        k = int(rng.integers(len(x)))
        size = np.sqrt(len(x)) * rng.uniform(0.03, 0.12, 2) + 1.0
        axes = (int(size[0]), int(size[1]))
        cv2.ellipse(canvas, (int(x[k]), int(y[k])), axes, float(rng.uniform(0, 180)), 0, 360, 0, -1)
    return canvas.astype(bool)
