"""The association of the Seg2D3D paper as its code runs it: the preset `seg2d3d_paper`.

Two stages on the sets of 3D points that masks share: greedy seeding from the largest mask with a
fixed reference, then one sweep of merging. Kept faithful for comparison, thresholds and all. Three
faults of the code are not copied: masks are keyed by their label, a mask is named by the first
building that takes it, and a point is labelled by most of its masks, not by the last one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry.masks import contains
from seg2d3d_ros.mapping.association.identities import Association, Picture
from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.incidence import Incidence, incidence
from seg2d3d_ros.mapping.instances.edits import Edits
from seg2d3d_ros.mapping.instances.explained import Claims
from seg2d3d_ros.mapping.instances.roster import Roster
from seg2d3d_ros.mapping.naming.agreement import Name
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import EventKind, InstanceEvent, IntArray, Mask, MaskAssignment


@dataclass(frozen=True)
class PaperOptions:
    """Thresholds of the run that printed the published numbers.

    Attributes:
        attach_jaccard: A mask joins a seed above this Jaccard index.
        merge_jaccard: Buildings merge from this Jaccard index on.
        min_points: Points of a building that is kept.
        min_pictures: Pictures of a building that is kept.
    """

    attach_jaccard: float = 0.05
    merge_jaccard: float = 0.80
    min_points: int = 10
    min_pictures: int = 4


DEFAULTS = PaperOptions()


def associate_as_paper(
    incidence: sparse.csr_array, picture: IntArray, options: PaperOptions = DEFAULTS
) -> IntArray:
    """Group masks into buildings by the points they share.

    Args:
        incidence: (m, p) true where point p was seen inside mask m.
        picture: (m,) picture of each mask.
        options: Thresholds.

    Returns:
        (m,) building of each mask from 1, 0 where it has none.
    """
    rows = incidence.tocsr().astype(np.int32)
    group = _seed(rows, options.attach_jaccard)
    points = _points(rows, group)
    pairs = np.unique(np.stack([group, picture], axis=1)[group >= 0], axis=0)
    num_pictures = np.bincount(pairs[:, 0], minlength=points.shape[0])
    is_kept = (np.diff(points.indptr) >= options.min_points) & (
        num_pictures >= options.min_pictures
    )
    absorber = _merge(points, is_kept, options.merge_jaccard)
    number = np.cumsum(is_kept & (absorber == np.arange(len(absorber))))
    ids = np.where(is_kept, number[absorber], 0)
    return np.append(ids, 0)[group]


def _seed(rows: sparse.csr_array, attach_jaccard: float) -> IntArray:
    """Attach free masks to the largest free one, whose points stay the reference.

    Returns:
        (m,) group of each mask in order of creation from 0, -1 for masks without points.
    """
    masks_of = rows.tocsc()
    sizes = np.diff(rows.indptr)
    group = np.full(rows.shape[0], -1)
    num_groups = 0
    for reference in np.argsort(-sizes, kind="stable").tolist():
        if group[reference] >= 0 or not sizes[reference]:
            continue
        points = rows.indices[rows.indptr[reference] : rows.indptr[reference + 1]]
        spans = zip(masks_of.indptr[points], masks_of.indptr[points + 1], strict=True)
        sharing = np.concatenate([masks_of.indices[low:high] for low, high in spans])
        first = sharing.min()
        shared = np.bincount(sharing - first)
        near = slice(first, first + len(shared))
        jaccard = shared / (sizes[reference] + sizes[near] - shared)
        group[near][(group[near] < 0) & (jaccard > attach_jaccard)] = num_groups
        group[reference] = num_groups
        num_groups += 1
    return group


def _points(rows: sparse.csr_array, group: IntArray) -> sparse.csr_array:
    """Return which points are in any mask of each group, (g, p) with 1 for those."""
    is_member = group >= 0
    shape = (int(group.max(initial=-1)) + 1, len(group))
    ones = np.ones(int(is_member.sum()), dtype=np.int32)
    members = sparse.csr_array((ones, (group[is_member], np.flatnonzero(is_member))), shape=shape)
    points = (members @ rows).tocsr()
    points.data[:] = 1
    return points


def _merge(points: sparse.csr_array, is_kept: np.ndarray, merge_jaccard: float) -> IntArray:
    """Let each group (g, p) in order of creation absorb later ones that share nearly all points.

    Returns:
        (g,) group that absorbs each, itself where none does.
    """
    sizes = np.diff(points.indptr)
    shared = sparse.triu(points @ points.T, k=1, format="csr").tocoo()
    either = sizes[shared.row] + sizes[shared.col] - shared.data
    is_near = (shared.data >= merge_jaccard * either) & is_kept[shared.row] & is_kept[shared.col]
    near = np.stack([shared.row, shared.col], axis=1)[is_near]
    absorber = np.arange(len(sizes))
    for first, second in near[np.lexsort((near[:, 1], near[:, 0]))].tolist():
        if absorber[first] == first and absorber[second] == second:
            absorber[second] = first
    return absorber


class PaperAssociator(Association):
    """Runs the published rules over all masks there are, each time anew; ids carry over.

    The rules are a batch: the cost of a cluster grows with the map. For comparison only. A place
    is a landmark here.
    """

    def __init__(self, config: Config, labels: LabelVotes | None = None) -> None:
        """Start with no instance; the first id is 1."""
        super().__init__(config, labels)
        self._instance_of_mask: dict[tuple[int, int, int], int] = {}

    def add(self, state: MapState, new_frames: list[int]) -> list[InstanceEvent]:
        """Take the masks of new frames and group all masks anew."""
        self.collect(state, new_frames)
        return self.rebuild(state)

    def collect(self, state: MapState, new_frames: list[int]) -> None:
        """Take the masks of new frames without deciding about them."""
        for k in new_frames:
            frame = state.frames[k]
            for camera in sorted(frame.masks):
                rows = frame.camera == camera
                masks = frame.masks[camera]
                seen = self._look_up(frame.ids[rows], frame.uv_px[rows], masks)
                self._take([Picture(k, camera, seen, True)])

    def rebuild(self, state: MapState) -> list[InstanceEvent]:
        """Group all masks anew; a group keeps the id that most of its masks had."""
        masks, rows, picture = self._masks(state)
        groups = associate_as_paper(rows, picture)
        before = self._instance_of_mask
        ids = self._carry_over(groups, [before.get(m, 0) for m in masks])
        self._instance_of_mask = {m: i for m, i in zip(masks, ids, strict=True) if i}
        self._label_points(rows, np.array(ids, dtype=np.int64))
        old, new = Counter(before.values()), Counter(self._instance_of_mask.values())
        stamp = state.now_ns
        born = [(EventKind.CREATED, i, new[i]) for i in sorted(new.keys() - old.keys())]
        gone = [(EventKind.GONE, i, old[i]) for i in sorted(old.keys() - new.keys())]
        return [
            InstanceEvent(k, stamp, kind, i, 0, {"masks": float(num)})
            for k, (kind, i, num) in enumerate([*born, *gone])
        ]

    def instances_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the instance (n,) of each landmark by most of its masks, 0 for none."""
        return self.instance_of_place.of(ids)

    def places_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the place of each landmark (n,), here itself; -1 for those without a position."""
        return np.where(np.isfinite(state.points(ids)[:, 0]), ids, -1)

    def instances_of_masks(self, picture: Picture, num_masks: int) -> list[int]:
        """Return the instance of each mask of a picture, 0 for none."""
        found = self._instance_of_mask
        return [found.get((picture.frame, picture.camera, m), 0) for m in range(num_masks)]

    def _look_up(self, ids: IntArray, uv_px: np.ndarray, masks: tuple[Mask, ...]) -> Incidence:
        """Return every landmark in every building mask around it, edges and overlaps too."""
        chosen = [k for k, m in enumerate(masks) if m.class_id in self._buildings]
        inside = [contains(masks[k].bbox_px, masks[k].runs, uv_px) for k in chosen]
        none = [np.zeros(0, dtype=np.int64)]
        found = np.concatenate([*none, *(ids[rows] for rows in inside)])
        mask = np.repeat(np.array(chosen, dtype=np.int64), [int(rows.sum()) for rows in inside])
        classes = incidence(ids, uv_px, masks, self._buildings)
        return Incidence(found, mask, classes.all_ids, classes.class_id)

    def _masks(
        self, state: MapState
    ) -> tuple[list[tuple[int, int, int]], sparse.csr_array, IntArray]:
        """Return all masks (frame, camera, position), their landmarks (m, p), their pictures."""
        masks, sets, picture = [], [], []
        for k, p in enumerate(self.pictures):
            known = np.isfinite(state.points(p.seen.ids)[:, 0])
            for m in np.unique(p.seen.mask).tolist():
                masks.append((p.frame, p.camera, m))
                sets.append(np.unique(p.seen.ids[known & (p.seen.mask == m)]))
                picture.append(k)
        row = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
        column = np.concatenate([np.zeros(0, dtype=np.int64), *sets])
        shape = (len(sets), int(column.max()) + 1 if len(column) else 0)
        rows = sparse.csr_array((np.ones(len(row), dtype=bool), (row, column)), shape=shape)
        return masks, rows, np.array(picture, dtype=np.int64)

    def _carry_over(self, groups: IntArray, former: list[int]) -> list[int]:
        """Return the id of each mask's group: the former one of most, the largest group first."""
        votes: dict[int, Counter[int]] = {}
        for group, old in zip(groups.tolist(), former, strict=True):
            votes.setdefault(group, Counter())[old] += 1
        id_of: dict[int, int] = {0: 0}
        votes.pop(0, None)
        for group in sorted(votes, key=lambda g: (-votes[g].total(), g)):
            free = {i: n for i, n in votes[group].items() if i and i not in id_of.values()}
            best = min(free, key=lambda i: (-free[i], i), default=0)
            id_of[group] = best or self.issue_id()
        return [id_of[g] for g in groups.tolist()]

    def _label_points(self, rows: sparse.csr_array, ids: IntArray) -> None:
        """Give each landmark to the instance that most of its masks have, the older of equals."""
        entries = rows.tocoo()
        owner, landmark = ids[entries.row], entries.col
        pairs, count = np.unique(
            np.stack([landmark, owner], axis=1)[owner > 0], axis=0, return_counts=True
        )
        order = np.lexsort((pairs[:, 1], -count, pairs[:, 0]))
        _, first = np.unique(pairs[order, 0], return_index=True)
        now = dict(pairs[order][first].tolist())
        for lost in [i for i in self.instance_of_place if i not in now]:
            del self.instance_of_place[lost]
        self.instance_of_place.update(now)


class PaperRoster(Roster):
    """Names masks by the building that took them, whatever else the map shows in them."""

    def __init__(
        self,
        config: Config,
        state: MapState,
        rules: PaperAssociator,
        labels: LabelVotes,
        edits: Edits,
    ) -> None:
        """Start empty, beside the rules."""
        super().__init__(config, state, rules, labels, edits)
        self._rules = rules

    def name(
        self,
        pictures: list[Picture],
        window: Collection[int] | None = None,
        is_final: bool = False,
    ) -> None:
        """Name all masks there are: the rules decide about all of them each time."""
        pictures = self._rules.pictures
        keys = [(p.frame, p.camera) for p in pictures]
        self._take_names(dict(zip(keys, self.find_names(pictures), strict=True)))

    def claims(self, pictures: list[Picture]) -> Claims:
        """Count none: the rules have joined what they join."""
        return Claims(())

    def find_names(
        self, pictures: list[Picture], is_alone: bool = False
    ) -> list[list[MaskAssignment]]:
        """Return the names that masks have by the rules and by hand: always each alone."""
        out = []
        for p in pictures:
            num = len(self._state.frames[p.frame].masks[p.camera])
            found = self._rules.instances_of_masks(p, num)
            tracked = np.bincount(p.seen.mask, minlength=num).tolist()
            names = [Name(self._by_hand(p, k, i), 1.0) for k, i in enumerate(found)]
            out.append(self._assigned(p.frame, p.camera, names, tracked))
        return out

    def _by_hand(self, picture: Picture, mask: int, instance: int) -> int:
        """Return what edits make of a mask's instance, by its landmarks."""
        if not self._edits.journal or not instance:
            return instance
        ids = picture.seen.ids[picture.seen.mask == mask]
        ids = ids[self.membership.automatic(ids) == instance]
        found, count = np.unique(self.decided(ids), return_counts=True)
        return int(found[np.argmax(count)]) if len(found) else instance
