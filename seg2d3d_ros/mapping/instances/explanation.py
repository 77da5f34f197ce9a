"""Why an instance is what it is: its masks, its rivals, the decisions that made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.mapping.association.evidence import Comparison, PictureIndex, rivals
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.instances.history import history
from seg2d3d_ros.mapping.instances.roster import Roster
from seg2d3d_ros.types import Instance, InstanceEvent, IntArray

_MAX_RIVALS = 5


@dataclass(frozen=True)
class Explanation:
    """What speaks for an instance, and for another decision.

    Attributes:
        instance: The instance.
        num_masks_own: Masks in which it has more landmarks than any other instance.
        num_masks_touched: Masks in which it has any.
        num_pictures: Pictures that saw any of its landmarks in a mask.
        masks_by_class: Masks that carry its id, by class.
        rivals: Other instances seen in the same pictures with what it shares with them, the
            strongest first: much shared and pictures for speak for one building, pictures against
            for two.
        events: Decisions that made it, oldest first.
        num_edits: Manual edits in force that are about it.
    """

    instance: Instance
    num_masks_own: int
    num_masks_touched: int
    num_pictures: int
    masks_by_class: dict[int, int]
    rivals: tuple[tuple[int, Comparison], ...]
    events: tuple[InstanceEvent, ...]
    num_edits: int


def explain(
    instance: Instance,
    roster: Roster,
    pictures: Sequence[Picture],
    events: Sequence[InstanceEvent],
    num_edits: int,
) -> Explanation:
    """Gather what is known about an instance that is shown."""
    mine = roster.members(instance.id)
    seeing = PictureIndex(pictures).of(mine)
    ids = np.unique(np.concatenate([mine, *(p.seen.ids for p in seeing)]))
    owners = roster.decided(ids)
    own, touched = _count_masks(seeing, mine, ids, owners)
    # Landmarks that were more often something else than building are of none.
    found = rivals(seeing, mine, np.where(owners == instance.id, 0, owners), ids)
    classes: Counter[int] = Counter()
    for a in roster.assignments_of(roster.frames_of([instance.id])):
        classes[a.class_id] += a.instance == instance.id
    return Explanation(
        instance=instance,
        num_masks_own=own,
        num_masks_touched=touched,
        num_pictures=len(seeing),
        masks_by_class={k: n for k, n in sorted(classes.items()) if n},
        rivals=tuple(found[:_MAX_RIVALS]),
        events=history(instance.id, events),
        num_edits=num_edits,
    )


def _count_masks(
    pictures: Sequence[Picture], mine: IntArray, ids: IntArray, owners: IntArray
) -> tuple[int, int]:
    """Return in how many masks an instance has most landmarks, and in how many it has any."""
    own = touched = 0
    for picture in pictures:
        is_mine = np.isin(picture.seen.ids, mine)
        owner = owners[np.searchsorted(ids, picture.seen.ids)]
        for mask in np.unique(picture.seen.mask[is_mine]).tolist():
            inside = picture.seen.mask == mask
            num_mine = int((is_mine & inside).sum())
            others = np.bincount(owner[inside & ~is_mine & (owner > 0)])
            touched += 1
            own += num_mine >= int(others.max(initial=0))
    return own, touched
