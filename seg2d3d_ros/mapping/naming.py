"""Name every mask after an instance: by its landmarks, by the map projected into it, by its chain.

What a single picture says of a mask is often little: a sliver of a gable far away holds no corner.
So the evidence of all masks in a chain (`mask_links`) is put together, and what is still open is
settled by the weaker links around it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.mapping.identities import Picture
from seg2d3d_ros.mapping.mask_links import MaskLinks
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.visibility import LabelledPoints, Shown, show
from seg2d3d_ros.types import FloatArray, IntArray, Mask

# What speaks for each instance, by id.
Evidence: TypeAlias = Counter[int]

_TRACKED_WEIGHT = 0.75
_ENOUGH_TRACKED = 6.0
_ENOUGH_SHOWN = 4.0
_NUM_SAMPLES = 80
_CHAIN_OVERLAP = 0.55
_LINK_WEIGHT = 2.0
_NUM_ROUNDS = 12
_MIN_EVIDENCE = 0.1


@dataclass(frozen=True)
class Name:
    """Instance of a mask, 0 for none, and its share of the evidence in 0..1."""

    instance: int
    score: float


@dataclass(frozen=True)
class PictureEvidence:
    """Evidence of each mask of a picture, and the number of landmarks tracked in it."""

    votes: list[Evidence]
    num_tracked: list[int]


def weigh_picture(
    state: MapState,
    picture: Picture,
    labelled: LabelledPoints,
    instance_of: IntArray,
    building_classes: frozenset[int],
    range_m: float,
) -> list[Evidence]:
    """Say what speaks for which instance in each mask of a picture.

    Three shares are added up: of the mask's tracked landmarks, of its area by the nearest point of
    the map, and of the instance's points in this picture that lie in this mask. The last one keeps
    a building, whose own mask explains it, out of the masks around it.

    Args:
        state: The map.
        picture: The picture with its incidence.
        labelled: Points with instances, confirmed ones only.
        instance_of: (n,) instance of the landmarks in `picture.seen.ids`.
        building_classes: Masks of other classes get no evidence.
        range_m: Points further from the camera do not count.
    """
    masks = state.frames[picture.frame].masks[picture.camera]
    out: list[Evidence] = [Counter() for _ in masks]
    named = [k for k, mask in enumerate(masks) if mask.class_id in building_classes]
    if not named:
        return out
    shown = show(state, picture.frame, picture.camera, labelled, range_m)
    inside = pixel_masks.contains_each([(m.bbox_px, m.runs) for m in masks], shown.uv_px)
    is_free = ~inside.any(axis=0)
    total = Counter(shown.instances[inside[named].any(axis=0)].tolist())
    for k in named:
        own = instance_of[picture.seen.mask == k]
        out[k].update(_tracked(own[own > 0]))
        out[k].update(_covered(masks[k], shown, inside[k] | is_free))
        here = Counter(shown.instances[inside[k]].tolist())
        shares = {i: n / total[i] * min(n / _ENOUGH_SHOWN, 1.0) for i, n in here.items()}
        out[k].update(Counter(shares))  # type: ignore[arg-type]
    return out


def _tracked(instances: IntArray) -> Evidence:
    """Return shares of the landmarks tracked in a mask; a few weigh less than many."""
    weight = _TRACKED_WEIGHT * min(len(instances) / _ENOUGH_TRACKED, 1.0)
    found, count = np.unique(instances, return_counts=True)
    return Counter(
        {int(i): weight * n / len(instances) for i, n in zip(found, count, strict=True)}
    )


def _covered(mask: Mask, shown: Shown, may_count: np.ndarray) -> Evidence:
    """Return shares of the mask's area, each pixel going to the nearest of the points allowed."""
    if not may_count.any():
        return Counter()
    instances = shown.instances[may_count]
    size = pixel_masks.area(mask.bbox_px, mask.runs)
    step = max(1, size // _NUM_SAMPLES)
    pixels = pixel_masks.every_nth_pixel(mask.bbox_px, mask.runs, step)
    reach = max(4.0, 0.4 * float(np.sqrt(size)))
    distance, row = map(
        np.asarray, cKDTree(shown.uv_px[may_count]).query(pixels, distance_upper_bound=reach)
    )
    found, count = np.unique(instances[row[np.isfinite(distance)]], return_counts=True)
    return Counter({int(i): n / len(pixels) for i, n in zip(found, count, strict=True)})


def name_masks(keys: IntArray, evidence: list[Evidence], links: MaskLinks) -> list[Name]:
    """Name masks (n,) so that those which are linked agree.

    Masks in a chain share one name, that with the largest sum of evidence; between chains the
    mean evidence is spread along the links (label propagation, Zhou et al. 2004).

    Args:
        keys: (n,) names of masks as `mask_keys` makes them, each once.
        evidence: What speaks for which instance in each of them.
        links: Links between them; those to other masks are left out.
    """
    if not len(keys):
        return []
    order = np.argsort(keys)
    known = np.isin(links.a, keys) & np.isin(links.b, keys)
    a, b = (order[np.searchsorted(keys, k[known], sorter=order)] for k in (links.a, links.b))
    overlap = links.overlap[known]
    strong = overlap >= _CHAIN_OVERLAP
    num, label = connected_components(_graph(a[strong], b[strong], overlap[strong], len(keys)))
    chain = label.astype(np.int64)
    instances, sums = _sum_up(evidence, chain, num)
    if not len(instances):
        return [Name(0, 0.0)] * len(keys)
    between = _graph(chain[a], chain[b], overlap**2 * (chain[a] != chain[b]), num)
    mean = _spread(sums, np.bincount(chain, minlength=num).astype(float), between)
    best = np.asarray(mean.argmax(axis=1)).ravel()
    top = np.asarray(mean.max(axis=1).todense()).ravel()
    total = np.maximum(np.asarray(mean.sum(axis=1)).ravel(), 1e-9)
    found = [
        Name(int(instances[i]), float(t / s)) if t >= _MIN_EVIDENCE else Name(0, 0.0)
        for i, t, s in zip(best, top, total, strict=True)
    ]
    return [found[c] for c in chain]


def _graph(a: IntArray, b: IntArray, weight: FloatArray, size: int) -> sparse.csr_array:
    """Return the symmetric weights (size, size) of links."""
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    return sparse.coo_array((np.tile(weight, 2), (rows, columns)), shape=(size, size)).tocsr()


def _sum_up(
    evidence: list[Evidence], chain: IntArray, num: int
) -> tuple[IntArray, sparse.csr_array]:
    """Return the instances (k,) in ascending order and the evidence of each chain (num, k)."""
    rows = [(c, i, w) for c, e in zip(chain.tolist(), evidence, strict=True) for i, w in e.items()]
    row, instance, weight = np.array(rows, dtype=float).reshape(-1, 3).T
    instances, column = np.unique(instance.astype(np.int64), return_inverse=True)
    shape = (num, len(instances))
    return instances, sparse.coo_array((weight, (row.astype(np.int64), column)), shape).tocsr()


def _spread(sums: sparse.csr_array, size: FloatArray, links: sparse.csr_array) -> sparse.csr_array:
    """Return the mean evidence of chains (num, k) of `size` masks, after linked ones had a say."""
    degree = np.asarray(links.sum(axis=1)).ravel()
    norm = sparse.diags_array(1.0 / (size + _LINK_WEIGHT * degree))
    mean = sparse.diags_array(1.0 / size) @ sums
    for _ in range(_NUM_ROUNDS):
        mean = norm @ (sums + _LINK_WEIGHT * (links @ mean))
    return sparse.csr_array(mean)
