"""Parts of a picture and who borders on whom: measures per part, merging of like parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ENCLOSED = 0.55  # share of a region's border with one other that makes it a part of that

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Cues:
    """What is measured at every pixel of a picture of shape (h, w).

    Attributes:
        lab: (h, w, 3) CIELAB, L in 0..100.
        energy: (h, w) gradient of L, L per pixel of the detailed copy.
        upright: (h, w) share of the energy nearby in edges along the picture's rows and columns:
            about a third in foliage, whose edges run anywhere, far more where people have built.
        coherence: (h, w) how much one direction of edges prevails nearby, 0..1 (structure tensor).
    """

    lab: NDArray[np.float32]
    energy: NDArray[np.float32]
    upright: NDArray[np.float32]
    coherence: NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """A partition of a picture into n parts, with what is known of each.

    Attributes:
        size: (n,) pixels.
        lab: (n, 3) mean CIELAB.
        spread: (n,) standard deviation of L.
        energy: (n,) mean gradient energy away from its border.
        upright: (n,) mean share of upright edges.
        coherence: (n,) mean coherence of edges.
        middle: (n,) mean row over the picture's height.
        top: (n,) highest row over the picture's height were its rows spread evenly.
        on_top: (n,) share of the picture's top row.
        on_bottom: (n,) share of the picture's bottom row.
        inner: (n,) share of pixels whose four neighbours are of the part too.
    """

    size: Floats
    lab: Floats
    spread: Floats
    energy: Floats
    upright: Floats
    coherence: Floats
    middle: Floats
    top: Floats
    on_top: Floats
    on_bottom: Floats
    inner: Floats


@dataclass(frozen=True)
class Borders:
    """Which parts touch, m pairs.

    Attributes:
        pairs: (m, 2) part indices, the smaller first.
        length: (m,) pixels.
        contrast: (m,) mean CIELAB distance across the border.
    """

    pairs: Ints
    length: Floats
    contrast: Floats


def measure_cues(image_bgr: NDArray[np.uint8], shape: tuple[int, int]) -> Cues:
    """Measure colour and edges of a picture, and reduce them to a smaller shape (h, w)."""
    lab = cv2.cvtColor(image_bgr.astype(np.float32) / 255.0, cv2.COLOR_BGR2LAB)
    across, down = (cv2.Sobel(lab[..., 0], cv2.CV_32F, dx, 1 - dx) / 8 for dx in (1, 0))
    energy = cv2.magnitude(across, down)
    off_axis = cv2.min(cv2.absdiff(across, 0.0), cv2.absdiff(down, 0.0))
    upright = np.where(off_axis < np.float32(np.sin(np.deg2rad(12))) * energy, energy, 0)
    share = _near(upright) / cv2.max(_near(energy), 0.3)
    size = (shape[1], shape[0])
    fields = (lab, energy, share, _coherence(across, down))
    return Cues(*(cv2.resize(field, size, interpolation=cv2.INTER_AREA) for field in fields))


def _near(field: NDArray[np.float32]) -> NDArray[np.float32]:
    return cv2.boxFilter(field, -1, (21, 21))


def _coherence(across: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (l1 - l2) / (l1 + l2) of the structure tensor's eigenvalues."""
    xx, yy, xy = _near(across * across), _near(down * down), _near(across * down)
    return cv2.magnitude(xx - yy, 2 * xy) / cv2.max(xx + yy, 0.1)


def measure_parts(labels: Ints, cues: Cues) -> Parts:
    """Measure every part of a partition (h, w) into 0..n-1 without gaps."""
    h, w = labels.shape
    flat = labels.ravel()
    size = np.bincount(flat).astype(np.float64)
    n = len(size)

    def mean(values: NDArray) -> Floats:
        return np.bincount(flat, values.ravel(), minlength=n) / size

    row = np.repeat(np.arange(h) / h, w)
    middle = mean(row)
    reach = np.sqrt(3 * np.maximum(mean(row**2) - middle**2, 0))  # of a uniform distribution
    lightness = cues.lab[..., 0]
    lab = np.stack([mean(cues.lab[..., c]) for c in range(3)], axis=1)
    inner = np.ones((h, w), bool)
    beside, below = labels[:, 1:] == labels[:, :-1], labels[1:] == labels[:-1]
    inner[:, 1:] &= beside
    inner[:, :-1] &= beside
    inner[1:] &= below
    inner[:-1] &= below
    return Parts(
        size,
        lab,
        np.sqrt(np.maximum(mean(lightness**2) - lab[:, 0] ** 2, 0)),
        mean(cues.energy * inner) / np.maximum(mean(inner), 1e-6),
        mean(cues.upright),
        mean(cues.coherence),
        middle,
        middle - reach,
        np.bincount(labels[0], minlength=n) / w,
        np.bincount(labels[-1], minlength=n) / w,
        mean(inner),
    )


def find_borders(labels: Ints, lab: NDArray[np.float32]) -> Borders:
    """Find the pairs of parts that touch, and how they differ where they do."""
    n = int(labels.max()) + 1
    keys, contrasts = [], []
    for a, b, lab_a, lab_b in (
        (labels[:, 1:], labels[:, :-1], lab[:, 1:], lab[:, :-1]),
        (labels[1:], labels[:-1], lab[1:], lab[:-1]),
    ):
        y, x = np.nonzero(a != b)
        one, other = a[y, x], b[y, x]
        keys.append(np.minimum(one, other) * n + np.maximum(one, other))
        contrasts.append(np.linalg.norm(lab_a[y, x] - lab_b[y, x], axis=1))
    key, index = np.unique(np.concatenate(keys), return_inverse=True)
    length = np.bincount(index, minlength=len(key)).astype(np.float64)
    contrast = np.bincount(index, np.concatenate(contrasts), minlength=len(key))
    return Borders(np.stack((key // n, key % n), axis=1), length, contrast / np.maximum(length, 1))


@dataclass(frozen=True)
class MergeRule:
    """Which parts merge.

    Attributes:
        is_free: (n,) parts that may merge at all.
        must: (n,) parts that merge with their best neighbour whatever the cost.
        max_cost: Largest cost of any other merge: mean of the contrast along the border and the
            distance of the mean colours, CIELAB units.
        min_size: Merged parts below this many pixels must go on merging.
    """

    is_free: Flags
    must: Flags
    max_cost: float
    min_size: float = 0.0


def merge_similar(parts: Parts, borders: Borders, rule: MergeRule) -> Ints:
    """Merge parts that are alike, in rounds of pairs that are each other's cheapest.

    Returns:
        (n,) new part of each part, 0.. without gaps.
    """
    group = np.arange(len(parts.size))
    size, lab, must = parts.size, parts.lab, rule.must | (parts.size < rule.min_size)
    usable = rule.is_free[borders.pairs].all(axis=1)
    pairs, length, contrast = (
        borders.pairs[usable],
        borders.length[usable],
        borders.contrast[usable],
    )
    while len(pairs):
        distance = np.linalg.norm(lab[pairs[:, 0]] - lab[pairs[:, 1]], axis=1)
        cost = 0.5 * (contrast + distance)
        best = _is_cheapest(pairs, cost, len(size))
        agreed = best.all(axis=1) & (cost < rule.max_cost)
        chosen = pairs[agreed | (best & must[pairs]).any(axis=1)]
        if not len(chosen):
            break
        graph = coo_array((np.ones(len(chosen)), chosen.T), shape=(len(size), len(size)))
        num, component = connected_components(graph, directed=False)
        to: Ints = component.astype(np.int64)
        group = to[group]
        mass = np.stack([np.bincount(to, size * channel, minlength=num) for channel in lab.T])
        size = np.bincount(to, size, minlength=num).astype(np.float64)
        lab = (mass / size).T
        must = size < rule.min_size
        pairs, length, contrast = _contract(to[pairs], length, contrast, num)
    return group


def absorb_enclosed(group: Ints, parts: Parts, borders: Borders, is_free: Flags) -> Ints:
    """Give regions that one larger region nearly surrounds to it: windows to their facade.

    Args:
        group: (n,) region of each part.
        parts: The parts.
        borders: Their borders.
        is_free: (n,) parts that may be given away or receive.

    Returns:
        (n,) region of each part, some of them emptied.
    """
    num = int(group.max()) + 1
    size = np.bincount(group, parts.size, minlength=num)
    free = np.zeros(num, bool)
    free[group[is_free]] = True
    sides = group[borders.pairs]
    sides, length = sides[sides[:, 0] != sides[:, 1]], borders.length[sides[:, 0] != sides[:, 1]]
    sides, length = np.concatenate((sides, sides[:, ::-1])), np.tile(length, 2)
    shared = coo_array((length, sides.T), shape=(num, num)).tocsr()
    total = np.maximum(shared.sum(axis=1), 1)
    host = np.asarray(shared.argmax(axis=1)).ravel()
    share = shared.max(axis=1).toarray().ravel() / total
    inside = free & free[host] & (share > ENCLOSED) & (size < size[host])
    to = np.where(inside, host, np.arange(num))
    while (to[to] != to).any():  # a pane in a window in a facade; sizes grow, so this ends
        to = to[to]
    return to[group]


def _is_cheapest(pairs: Ints, cost: Floats, num: int) -> Flags:
    """Tell for both parts of each pair, (m, 2), whether the pair is the cheapest of that part."""
    order = np.argsort(cost, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    first = np.full(num, len(order))
    np.minimum.at(first, pairs.ravel(), rank.repeat(2))
    return first[pairs] == rank[:, None]


def _contract(
    pairs: Ints, length: Floats, contrast: Floats, num: int
) -> tuple[Ints, Floats, Floats]:
    """Join the borders of merged parts, drop those inside them."""
    outer = pairs[:, 0] != pairs[:, 1]
    pairs, length, contrast = np.sort(pairs[outer], axis=1), length[outer], contrast[outer]
    key, index = np.unique(pairs[:, 0] * num + pairs[:, 1], return_inverse=True)
    total = np.bincount(index, length, minlength=len(key)).astype(np.float64)
    mean = np.bincount(index, length * contrast, minlength=len(key)) / np.maximum(total, 1)
    return np.stack((key // num, key % num), axis=1), total, mean
