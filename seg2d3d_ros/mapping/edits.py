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
from scipy.spatial import cKDTree

from seg2d3d_ros.types import EventKind, FloatArray, IntArray, MaskAssignment

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
        keeper_ids: (n,) landmarks that the keeper had then, or kept.
        other_ids: (m,) landmarks of the other.
        names_before: Names of the masks of every picture that the edit renamed, (frame, camera).
    """

    kind: EventKind
    sequence: int
    operation: int
    keeper: int
    other: int
    keeper_ids: IntArray
    other_ids: IntArray
    names_before: NamesByPicture = field(default_factory=dict)


class Edits:
    """The edits in force, oldest first."""

    def __init__(self) -> None:
        """Start without edits."""
        self.journal: list[Edit] = []

    def relabel(
        self,
        ids: IntArray,
        owners: IntArray,
        automatic: Callable[[IntArray], IntArray],
        positions: Callable[[IntArray], FloatArray],
    ) -> IntArray:
        """Return the instance (n,) of landmarks with all edits laid over the automatic decision.

        Args:
            ids: (n,) landmarks.
            owners: (n,) instance of each by the association, 0 none.
            automatic: Returns the association's instance (m,) of any landmarks (m,).
            positions: Returns the position (m, 3) of any landmarks, NaN where unknown.
        """
        if not self.journal:
            return owners
        anchors, bounds = self._anchors()
        now = np.concatenate([owners, automatic(anchors)])
        rows = len(ids) + bounds
        for k, edit in enumerate(self.journal):
            keeper = _main(now[rows[2 * k] : rows[2 * k + 1]])
            other = _main(now[rows[2 * k + 1] : rows[2 * k + 2]])
            if edit.kind == EventKind.MERGED:
                if keeper and other:
                    now[now == max(keeper, other)] = min(keeper, other)
            elif keeper and keeper == other:
                mine = np.flatnonzero(now == keeper)
                all_ids = np.concatenate([ids, anchors])[mine]
                now[mine[_is_other(edit, all_ids, positions)]] = edit.other
            elif other > edit.other:
                # Parted by the association too: the part keeps the id it got by hand.
                now[now == other] = edit.other
        return now[: len(ids)]

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
    anchors = np.concatenate([edit.keeper_ids, edit.other_ids])
    is_of_other = np.arange(len(anchors)) >= len(edit.keeper_ids)
    points = positions(anchors)
    known = np.isfinite(points[:, 0])
    free = np.flatnonzero(~is_keeper & ~is_other)
    at = positions(ids[free])
    free, at = free[np.isfinite(at[:, 0])], at[np.isfinite(at[:, 0])]
    if known.any() and len(free):
        _, nearest = cKDTree(points[known]).query(at)
        is_other[free] = is_of_other[known][nearest]
    return is_other
