"""Names within classes: no mask takes the name of an instance of another class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from seg2d3d_ros.mapping.association.labels import may_join
from seg2d3d_ros.mapping.masks.mask_links import MaskLinks
from seg2d3d_ros.mapping.naming.agreement import Evidence, Name, Names, name_masks
from seg2d3d_ros.types import IntArray


def name_within_classes(
    keys: IntArray,
    evidence: list[Evidence],
    links: MaskLinks,
    class_of_mask: IntArray,
    class_of: Mapping[int, int],
) -> Names:
    """Name the masks (n,) of each class by themselves, as `name_masks` does.

    Masks of no class go with the class of what speaks most for them.

    Args:
        keys: (n,) names of masks as `mask_keys` makes them, each once.
        evidence: What speaks for which instance in each of them.
        links: Links between them; those between masks of two classes say nothing.
        class_of_mask: (n,) their classes, 0 unknown.
        class_of: Class of instances; 0, or not there, goes with all.
    """
    votes = [
        _within(e, k, class_of) for e, k in zip(evidence, class_of_mask.tolist(), strict=True)
    ]
    kind = class_of_mask.copy()
    for k in np.flatnonzero(kind == 0).tolist():
        if votes[k]:
            kind[k] = class_of.get(_strongest(votes[k]), 0)
    names, orphans = [Name(0, 0.0)] * len(keys), []
    for class_id in np.unique(kind).tolist():
        rows = np.flatnonzero(kind == class_id)
        some = [_within(votes[k], class_id, class_of) for k in rows.tolist()]
        found = name_masks(keys[rows], some, links)
        orphans += [rows[group] for group in found.orphans]
        for k, name in zip(rows.tolist(), found.names, strict=True):
            names[k] = name
    return Names(names, orphans)


def _within(evidence: Evidence, class_id: int, class_of: Mapping[int, int]) -> Evidence:
    """Return what speaks for instances that may be of a class."""
    return Counter({i: w for i, w in evidence.items() if may_join(class_of.get(i, 0), class_id)})


def _strongest(evidence: Evidence) -> int:
    return min(evidence, key=lambda i: (-evidence[i], i))
