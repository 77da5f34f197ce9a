"""Manual edits as constraints between landmarks, laid over what the association decides.

A merge ties two sets of landmarks together, a split keeps two sets apart. The automatic decisions
below stay as they are, so taking an edit back restores them exactly, and whatever is decided later
(more clusters, refinement, landmarks that join) passes through the same constraints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from seg2d3d_ros.types import EventKind, FloatArray, IntArray, MaskAssignment

_NONE = np.zeros(0, dtype=np.int64)

NamesByPicture: TypeAlias = dict[tuple[int, int], list[MaskAssignment]]


@dataclass(frozen=True)
class Edit:
    """One manual edit that is in force.

    Attributes:
        kind: `merged` (must-link) or `split` (cannot-link).
        sequence: Of its event.
        operation: Sequence of the first event of the operation it belongs to, undone as a whole.
        keeper: Id of the survivor, or of the part that kept the id.
        other: Id that was absorbed, or of the part split off.
        keeper_ids: (n,) landmarks that the keeper had then, or kept; one known from masks alone
            has none.
        other_ids: (m,) landmarks of the other.
        names_before: Names of the masks of every picture that the edit renamed, (frame, camera).
    """

    kind: EventKind
    sequence: int
    operation: int
    keeper: int
    other: int
    keeper_ids: IntArray = field(default_factory=_NONE.copy)
    other_ids: IntArray = field(default_factory=_NONE.copy)
    names_before: NamesByPicture = field(default_factory=dict)

    @property
    def parts_masks(self) -> bool:
        """Return whether it is a split of masks alone: neither side had landmarks."""
        return self.kind == EventKind.SPLIT and not len(self.keeper_ids)


class Edits:
    """The edits in force, oldest first."""

    def __init__(self) -> None:
        """Start without edits."""
        self.journal: list[Edit] = []

    @property
    def instances(self) -> set[int]:
        """Return the instances that edits are about."""
        return {i for e in self.journal for i in (e.keeper, e.other)}

    def relabel(
        self,
        ids: IntArray,
        automatic: Callable[[IntArray], IntArray],
        positions: Callable[[IntArray], FloatArray],
    ) -> IntArray:
        """Return the instance (n,) of landmarks with all edits laid over the automatic decision.

        Args:
            ids: (n,) landmarks.
            automatic: Returns the association's instance (m,) of any landmarks (m,), 0 none.
            positions: Returns the position (m, 3) of any landmarks, NaN where unknown.
        """
        if not self.journal:
            return automatic(ids)
        return self._relabelled(ids, automatic, positions)[: len(ids)]

    def survivors(
        self,
        instances: IntArray,
        automatic: Callable[[IntArray], IntArray],
        positions: Callable[[IntArray], FloatArray],
    ) -> IntArray:
        """Return what instances without landmarks (n,) were merged into, else themselves."""
        if not self.journal:
            return instances
        now = self._relabelled(_NONE, automatic, positions, instances)
        return now[len(now) - len(instances) :]

    def _relabelled(
        self,
        ids: IntArray,
        automatic: Callable[[IntArray], IntArray],
        positions: Callable[[IntArray], FloatArray],
        bare: IntArray = _NONE,
    ) -> IntArray:
        """Return the instance of landmarks (n,), of the anchors, and of instances without any."""
        anchors, bounds = self._anchors()
        all_ids = np.concatenate([ids, anchors])
        now = np.concatenate([automatic(all_ids), bare])
        rows = len(ids) + bounds
        for k, edit in enumerate(self.journal):
            keeper = _main(now[rows[2 * k] : rows[2 * k + 1]])
            other = _main(now[rows[2 * k + 1] : rows[2 * k + 2]])
            if edit.kind == EventKind.MERGED:
                keeper = keeper if len(edit.keeper_ids) else edit.keeper
                other = other if len(edit.other_ids) else edit.other
                if keeper and other:
                    now[now == max(keeper, other)] = min(keeper, other)
            elif keeper and keeper == other:
                mine = np.flatnonzero(now[: len(all_ids)] == keeper)
                now[mine[_is_other(edit, all_ids[mine], positions)]] = edit.other
            elif other > edit.other:
                # Parted by the association too: the part keeps the id it got by hand.
                now[now == other] = edit.other
        return now

    def place(
        self,
        points: FloatArray,
        owners: NDArray[np.uint32],
        positions: Callable[[IntArray], FloatArray],
    ) -> NDArray[np.uint32]:
        """Return the instance (n,) of points that have it from masks: a cut parts these, too.

        Args:
            points: (n, 3) world frame, metres.
            owners: (n,) instance by the masks, 0 none.
            positions: Returns the position (m, 3) of any landmarks, NaN where unknown.
        """
        now = owners.copy()
        for edit in self.journal:
            rows = np.flatnonzero(np.isin(now, (edit.keeper, edit.other)))
            if edit.kind == EventKind.MERGED:
                now[rows] = edit.keeper
            elif len(rows) and not edit.parts_masks:
                is_other = _is_nearer_to_other(edit, points[rows], positions)
                now[rows] = np.where(is_other, edit.other, edit.keeper)
        return now

    def parted_masks(self) -> frozenset[int]:
        """Return the instances without landmarks that were parted by hand, and what was parted."""
        return frozenset(i for e in self.journal if e.parts_masks for i in (e.keeper, e.other))

    def owners_of_anchors(self, automatic: Callable[[IntArray], IntArray]) -> tuple[int, ...]:
        """Return which automatic instances the edits are about; a change touches their members."""
        anchors, bounds = self._anchors()
        now = automatic(anchors)
        return tuple(_main(now[low:high]) for low, high in zip(bounds, bounds[1:], strict=False))

    def _anchors(self) -> tuple[IntArray, IntArray]:
        sets = [s for e in self.journal for s in (e.keeper_ids, e.other_ids)]
        bounds = np.cumsum([0, *(len(s) for s in sets)])
        return np.concatenate([np.zeros(0, dtype=np.int64), *sets]), bounds


def _main(owners: IntArray) -> int:
    """Return the instance that most landmarks have, the oldest of equals; 0 without any."""
    found, count = np.unique(owners[owners > 0], return_counts=True)
    return int(found[np.argmax(count)]) if len(found) else 0


def _is_other(
    edit: Edit, ids: IntArray, positions: Callable[[IntArray], FloatArray]
) -> np.ndarray:
    """Return which landmarks (n,) go with the part split off: its own, and those nearer to it."""
    is_keeper, is_other = np.isin(ids, edit.keeper_ids), np.isin(ids, edit.other_ids)
    free = np.flatnonzero(~is_keeper & ~is_other)
    is_other[free] = _is_nearer_to_other(edit, positions(ids[free]), positions)
    return is_other


def _is_nearer_to_other(
    edit: Edit, points: FloatArray, positions: Callable[[IntArray], FloatArray]
) -> np.ndarray:
    """Return which points (n, 3) lie nearer to the part split off; false where unknown."""
    anchors = np.concatenate([edit.keeper_ids, edit.other_ids])
    is_of_other = np.arange(len(anchors)) >= len(edit.keeper_ids)
    at = positions(anchors)
    known, asked = np.isfinite(at[:, 0]), np.isfinite(points[:, 0])
    out = np.zeros(len(points), dtype=bool)
    if known.any() and asked.any():
        _, nearest = cKDTree(at[known]).query(points[asked])
        out[asked] = is_of_other[known][nearest]
    return out
