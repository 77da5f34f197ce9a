"""Which instances cannot tell their place, and are what well-known ones explain.

What was followed from afar for a moment has landmarks that may be anywhere, and yet it claims the
masks that they were followed in. When the building comes near, other landmarks begin another
instance. The first one is no building of its own if the second, projected into its masks, explains
them, stands where it may be, and shows nothing else in these pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.mapping.association.labels import may_join
from seg2d3d_ros.mapping.instances.membership import Membership
from seg2d3d_ros.mapping.naming.agreement import Evidence
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import MaskAssignment

# Per mask: more than names a track that nobody else claims (0.5, `agreement.py`).
_MIN_EVIDENCE = 0.6
# Of the pictures of an instance: in more of them its heir would be another building, beside it.
_MAX_PRESENCE = 0.1


class Claims:
    """Masks that carry the name of each instance, and what else speaks for itself in them."""

    def __init__(self, pictures: Iterable[tuple[list[Evidence], list[MaskAssignment]]]) -> None:
        """Count the masks of pictures, by what speaks for whom in each, and its name."""
        self._num: Counter[int] = Counter()
        self._evidence: dict[int, Evidence] = {}
        self._pictures: dict[int, set[int]] = {}
        for k, (evidence, names) in enumerate(pictures):
            for votes, named in zip(evidence, names, strict=True):
                if i := named.instance:
                    self._num[i] += 1
                    self._evidence.setdefault(i, Counter()).update(votes)
                    self._pictures.setdefault(i, set()).add(k)

    @property
    def instances(self) -> list[int]:
        """Return the instances that masks are named after, sorted."""
        return sorted(self._num)

    def numbers(self, instance: int, heir: int) -> dict[str, float]:
        """Return what speaks for another in the masks of an instance, as it stands in an event."""
        num = self._num[instance]
        per_mask = self._evidence[instance][heir] / num
        return {"masks": float(num), "evidence_per_mask": per_mask}

    def heirs(self, instance: int) -> list[int]:
        """Return who explains the masks of an instance and shows none beside them, best first."""
        evidence, pictures = self._evidence[instance], self._pictures[instance]
        least, most = _MIN_EVIDENCE * self._num[instance], _MAX_PRESENCE * len(pictures)
        found = [
            i
            for i, weight in evidence.items()
            if i != instance
            and weight >= least
            and len(self._pictures.get(i, set()) & pictures) <= most
        ]
        return sorted(found, key=lambda i: (-evidence[i], i))


def find_explained(
    claims: Claims,
    state: MapState,
    membership: Membership,
    options: MappingConfig,
    by_hand: Collection[int],
) -> list[tuple[int, int]]:
    """Return pairs of instances that are one: who is explained, and who explains it.

    Well known is an instance most of whose landmarks share their places with others; those that
    are not may be explained.

    Args:
        claims: By the masks of all pictures.
        state: The map.
        membership: The landmarks of each instance.
        options: How many landmarks make an instance, how wide a place is, and a gap.
        by_hand: Instances that edits are about; they are left alone.
    """
    free = [
        i
        for i in claims.instances
        if i not in by_hand and membership.count(i) >= options.min_instance_points
    ]
    sigma = {i: float(np.median(state.sigma(membership.of(i)))) / state.unit for i in free}
    known = {i for i in free if sigma[i] <= options.voxel_m}
    found = []
    for i in (i for i in free if i not in known):
        reach = state.unit * max(options.max_gap_m, sigma[i])
        heirs = [j for j in claims.heirs(i) if j in known]
        found += [(i, j) for j in heirs if _are_one(i, j, state, membership, reach)][:1]
    return found


def _are_one(
    vague: int, known: int, state: MapState, membership: Membership, reach: float
) -> bool:
    """Return whether two instances are of one class, and most of the one is near to the other."""
    if not may_join(membership.class_of(vague), membership.class_of(known)):
        return False
    points, others = (state.points(membership.of(i)) for i in (vague, known))
    return bool(np.median(cKDTree(others).query(points)[0]) <= reach)
