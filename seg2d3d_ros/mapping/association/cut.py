"""Where to part an instance: along a line on the ground, by masks, or by its masks' votes."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse

from seg2d3d_ros.errors import EditError
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.association.votes import VoteGraph, picture_votes
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

_REACH_M = 8.0

MaskName: TypeAlias = tuple[int, str, int]
"""(stamp_ns, camera, label)."""


@dataclass(frozen=True)
class Cut:
    """Where to part an instance; with neither line nor masks the votes of its masks decide.

    Attributes:
        line_map: (2, 2) two points x y of a vertical plane, metres; what lies left of it, looking
            from the first to the second, is split off.
        masks: (stamp_ns, camera, label) of masks whose landmarks are split off, or of an instance
            that is known from masks alone.
    """

    line_map: FloatArray | None = None
    masks: tuple[MaskName, ...] = ()


def choose(state: MapState, pictures: Sequence[Picture], ids: IntArray, cut: Cut) -> np.ndarray:
    """Return which landmarks (n,) of an instance are to be split off.

    Args:
        state: The map.
        pictures: Pictures that show the instance.
        ids: (n,) its landmarks.
        cut: Where to part it.

    Raises:
        EditError: the line has no direction, a mask is not on the map, or no votes part it.
    """
    if cut.line_map is not None:
        return _left_of(np.asarray(cut.line_map, dtype=np.float64), state.points(ids))
    if cut.masks:
        return np.isin(ids, _in_masks(state, pictures, cut.masks))
    return _by_votes(state, pictures, ids)


def choose_masks(own: Set[MaskName], cut: Cut) -> frozenset[MaskName]:
    """Return which masks of an instance without landmarks are to be split off.

    Args:
        own: Its masks.
        cut: Some of them.

    Raises:
        EditError: the cut names no mask, one that is not its own, or all of them.
    """
    wanted = frozenset(cut.masks)
    if not wanted:
        raise EditError("it is known from masks alone and has no landmarks: part it by masks")
    _refuse(wanted - own)
    if wanted == own:
        raise EditError(f"these are all of its {len(own)} masks: none would stay")
    return wanted


def _left_of(line: FloatArray, points: FloatArray) -> np.ndarray:
    if line.shape != (2, 2) or not np.isfinite(line).all():
        raise EditError(f"a line is two points of two finite numbers; this is {line.tolist()}")
    along = line[1] - line[0]
    if np.linalg.norm(along) < 1e-6:
        raise EditError("the two points of the line are one: give two that lie apart")
    to = points[:, :2] - line[0]
    return along[0] * to[:, 1] - along[1] * to[:, 0] > 0.0


def _in_masks(
    state: MapState, pictures: Sequence[Picture], masks: tuple[MaskName, ...]
) -> IntArray:
    wanted, found = set(masks), [np.zeros(0, dtype=np.int64)]
    for picture in pictures:
        taken = state.picture(picture.frame, picture.camera)
        if not any(w[:2] == taken for w in wanted):
            continue
        for k, mask in enumerate(state.frames[picture.frame].masks[picture.camera]):
            if (*taken, mask.label) in wanted:
                wanted.discard((*taken, mask.label))
                found.append(picture.seen.ids[picture.seen.mask == k])
    _refuse(wanted)
    return np.unique(np.concatenate(found))


def _refuse(strangers: Set[MaskName]) -> None:
    if strangers:
        stamp, camera, label = min(strangers)
        raise EditError(
            f"mask {label} of {camera} at {stamp} does not show this instance; "
            "observations.csv lists the masks of each"
        )


def _by_votes(state: MapState, pictures: Sequence[Picture], ids: IntArray) -> np.ndarray:
    """Part landmarks in two where their masks agree least.

    The votes between landmarks (+1 one mask, -1 two, summed over pictures) make a signed graph W.
    The signs of an eigenvector of its normalised Laplacian I - D^-1/2 W D^-1/2, D the sums of |W|,
    part it: of the smallest one as soon as votes against outweigh, else of the second (Kunegis et
    al. 2010, "Spectral analysis of signed graphs for clustering", section 4).
    """
    weight = _vote_matrix(state, pictures, ids)
    if not weight.nnz:
        raise EditError("no picture compares its points: part it by a line or by masks")
    degree = np.maximum(np.asarray(abs(weight).sum(axis=1)).ravel(), 1e-9)
    root = sparse.diags_array(1.0 / np.sqrt(degree))
    # Dense: an instance has hundreds of landmarks, and eigh is exact and deterministic.
    laplacian = np.eye(len(ids)) - (root @ weight @ root).toarray()
    _, vectors = np.linalg.eigh(laplacian)
    for column in range(min(6, vectors.shape[1])):
        value = np.sign(vectors[np.argmax(abs(vectors[:, column])), column]) * vectors[:, column]
        is_other = value < 0.0
        if min(is_other.sum(), (~is_other).sum()) >= max(2, len(ids) // 20):
            return is_other if 2 * is_other.sum() <= len(ids) else ~is_other
    raise EditError("its masks nowhere disagree: part it by a line or by masks")


def _vote_matrix(state: MapState, pictures: Sequence[Picture], ids: IntArray) -> sparse.csr_array:
    graph = VoteGraph()
    points, sigma = state.points(ids), state.sigma(ids)
    for picture in pictures:
        inside = np.isin(picture.seen.ids, ids)
        if inside.any():
            rows = np.searchsorted(ids, picture.seen.ids[inside])
            votes = picture_votes(
                rows, points[rows], sigma[rows], picture.seen.mask[inside], _REACH_M
            )
            graph.add([votes])
    return graph.around(np.arange(len(ids)))[0]
