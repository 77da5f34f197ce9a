"""Which masks are the same building: places on facades that share masks are joined.

The evidence is that of Seg2D3D, masks that share 3D points, but it is summed pair by pair over
all pictures before anything is decided: a mask over two houses or half a house is outvoted by the
others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry.masks import contains_each
from seg2d3d_ros.mapping.attraction import attracted
from seg2d3d_ros.mapping.consensus import (
    MaskTable,
    build_table,
    companions,
    mask_key,
    reassign,
    weakest,
)
from seg2d3d_ros.mapping.identities import Association, Picture
from seg2d3d_ros.mapping.incidence import incidence
from seg2d3d_ros.mapping.owners import PlaceOwners
from seg2d3d_ros.mapping.partition import Edges, greedy_partition
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.visibility import LAYER_RATIO, LabelledPoints, show
from seg2d3d_ros.mapping.votes import PictureVotes, VoteGraph, picture_votes, place_keys
from seg2d3d_ros.types import EventKind, InstanceEvent, IntArray

_MIN_STEP_M = 0.25
_PICTURES_AT_A_TIME = 64
_PLACES_AT_A_TIME = 20_000
_COMPANION_RANGE_M = 60.0


class Associator(Association):
    """Keeps the votes, the places' instances, and the log of what was decided."""

    def __init__(self, config: Config) -> None:
        """Start with no instance; the first id is 1."""
        super().__init__(config)
        self._options = config.mapping
        self._graph = VoteGraph()
        self._voted_at: np.ndarray | None = None
        self._num_events = 0

    def add(self, state: MapState, new_frames: list[int]) -> list[InstanceEvent]:
        """Take the masks of new frames and decide again about every place they touch."""
        new = [p for k in new_frames for p in self._look_up(state, k)]
        self.pictures += new
        touched = self._graph.add([self._votes(state, p) for p in new if p.is_voting])
        return self._decide(touched, self._stamp(state))

    def rebuild(self, state: MapState) -> list[InstanceEvent]:
        """Sum all votes anew on today's geometry and decide everything at once; ids carry over."""
        owners = self.instances_of(state, state.landmark_ids())
        self._graph = VoteGraph()
        touched = self._sum_up(state)
        ids = state.landmark_ids()
        keys = self._places(state, ids)
        former: dict[int, Counter[int]] = {}
        for key, owner in zip(keys.tolist(), owners.tolist(), strict=True):
            if owner and key in touched:
                former.setdefault(key, Counter())[owner] += 1
        before = set(self.instance_of_place.values())
        self.instance_of_place = PlaceOwners(
            {k: min(c, key=lambda i: (-c[i], i)) for k, c in former.items()}
        )
        events = self._decide(touched, self._stamp(state))
        events += self._settle(state)
        named = {e.other for e in events}
        named |= {e.instance for e in events if e.kind == EventKind.GONE}
        gone = before - set(self.instance_of_place.values()) - named
        return events + [self._event(self._stamp(state), EventKind.GONE, i) for i in sorted(gone)]

    def instances_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the instance (n,) of the place each landmark lies in, 0 for none."""
        points = state.points(ids)
        out = np.zeros(len(ids), dtype=np.int64)
        known = np.isfinite(points[:, 0])
        keys = self._places(state, ids[known])
        out[known] = [self.instance_of_place.get(k, 0) for k in keys.tolist()]
        return out

    def places_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the place of each landmark (n,), -1 for those without a position."""
        known = np.isfinite(state.points(ids)[:, 0])
        return np.where(known, self._places(state, ids), -1)

    def _places(self, state: MapState, ids: IntArray) -> IntArray:
        voxel = self._options.voxel_m * state.unit
        return place_keys(ids, state.points(ids), state.sigma(ids), voxel)

    # -------------------------------------------------------------- evidence

    def _look_up(self, state: MapState, index: int) -> list[Picture]:
        frame = state.frames[index]
        moved = frame.T_world_base[:3, 3]
        step = np.inf if self._voted_at is None else np.linalg.norm(moved - self._voted_at)
        is_voting = bool(step >= _MIN_STEP_M * state.unit)
        if is_voting and frame.masks:
            self._voted_at = moved.copy()
        out = []
        for camera in sorted(frame.masks):
            rows = frame.camera == camera
            seen = incidence(
                frame.ids[rows], frame.uv_px[rows], frame.masks[camera], self._buildings
            )
            out.append(Picture(index, camera, seen, is_voting))
        return out

    def _sum_up(self, state: MapState) -> set[int]:
        """Add the votes of all pictures, some at a time; return the places they touch."""
        touched: set[int] = set()
        voting = [p for p in self.pictures if p.is_voting]
        for k in range(0, len(voting), _PICTURES_AT_A_TIME):
            some = voting[k : k + _PICTURES_AT_A_TIME]
            touched |= self._graph.add([self._votes(state, p) for p in some])
        return touched

    def _votes(self, state: MapState, picture: Picture) -> PictureVotes:
        good = np.flatnonzero(np.isfinite(state.points(picture.seen.ids)[:, 0]))
        good = good[np.argsort(picture.seen.ids[good], kind="stable")]
        ids, mask = picture.seen.ids[good], picture.seen.mask[good]
        points, sigma = state.points(ids) / state.unit, state.sigma(ids) / state.unit
        return picture_votes(
            self._places(state, ids), points, sigma, mask, self._options.vote_reach_m
        )

    # ------------------------------------------------------------- decisions

    def _decide(self, touched: set[int], stamp_ns: int) -> list[InstanceEvent]:
        """Partition the touched places again; an instance beyond them takes part as one node."""
        parts = [touched]
        if len(touched) > _PLACES_AT_A_TIME:
            parts = attracted(touched, self._graph.edges, self.instance_of_place)
        groups = [g for part in parts for g in self._partition(part, touched)]
        old = {n: self.instance_of_place.get(n, 0) for n in touched}
        events: list[InstanceEvent] = []
        taken: set[int] = set()
        heirs: dict[int, int] = {}
        for group in sorted(groups, key=lambda g: (g[0] >= 0, -len(g), g[0])):
            places = [n for n in group if n >= 0]
            owner, absorbed = self._owner(group, [old[n] for n in places], taken)
            if not owner:
                if len(places) < self._options.min_instance_places:
                    for n in places:
                        self.instance_of_place.pop(n, None)
                    continue
                owner = self.issue_id()
                source = Counter(heirs.get(i, i) for i in (old[n] for n in places) if i)
                kind = EventKind.SPLIT if source else EventKind.CREATED
                first, second = (source.most_common(1)[0][0], owner) if source else (owner, 0)
                events.append(
                    self._event(stamp_ns, kind, first, second, {"places": float(len(places))})
                )
            taken.update((owner, *absorbed))
            heirs.update(dict.fromkeys(absorbed, owner))
            for n in places:
                self.instance_of_place[n] = owner
            events += self._absorb(owner, absorbed, stamp_ns)
        return events + self._bury({n: i for n, i in old.items() if i not in heirs}, stamp_ns)

    def _bury(self, former: dict[int, int], stamp_ns: int) -> list[InstanceEvent]:
        """Say what became of instances that lost all their places to others, or to none."""
        events = []
        is_alive = self.instance_of_place.is_alive
        for lost in sorted(i for i in set(former.values()) if i and not is_alive(i)):
            places = [n for n, i in former.items() if i == lost and n in self.instance_of_place]
            heirs = Counter(self.instance_of_place[n] for n in places)
            if heirs:
                heir = min(heirs, key=lambda i: (-heirs[i], i))
                events += self._absorb(min(lost, heir), [max(lost, heir)], stamp_ns)
            else:
                events.append(self._event(stamp_ns, EventKind.GONE, lost))
        return events

    def _settle(self, state: MapState) -> list[InstanceEvent]:
        """Look at whole instances: join those that share masks, dissolve those that own none.

        Parts of a building too far apart to vote place by place (a tree between them) still lie in
        one mask again and again. What hides a facade (leaves, poles) drags corners through the
        masks of one building after another; such an instance owns hardly a mask of its own.
        """
        table = self._mask_table(state)
        events = []
        edges = self._near(state, companions(self._shown_table(state)))
        for group in greedy_partition(edges, sorted(edges), self._options.min_companion_votes):
            for other in group[1:]:
                events.append(self._merge(state, group[0], other))
                table = reassign(table, other, group[0])
        while (verdict := weakest(table)) is not None:
            instance, host = verdict
            if host:
                instance, host = max(instance, host), min(instance, host)
                events.append(self._merge(state, host, instance))
            else:
                events.append(self._dissolve(state, instance))
            table = reassign(table, instance, host)
        return events

    def _near(self, state: MapState, edges: Edges) -> Edges:
        """Drop what speaks for joining instances with a gap between them."""
        ids = state.landmark_ids()
        owner = self.instances_of(state, ids)
        trees = {i: cKDTree(state.points(ids[owner == i])) for i in edges if (owner == i).any()}
        for a, row in edges.items():
            for b, vote in row.items():
                if a < b and vote > 0 and a in trees and b in trees:
                    gap = trees[a].query(trees[b].data)[0]
                    if float(np.quantile(gap, 0.1)) > self._options.max_gap_m * state.unit:
                        row[b] = edges[b][a] = -vote
        return edges

    def _merge(self, state: MapState, keeper: int, other: int) -> InstanceEvent:
        places = self.instance_of_place.places(other)
        for n in places:
            self.instance_of_place[n] = keeper
        evidence = {"places": float(len(places))}
        return self._event(self._stamp(state), EventKind.MERGED, keeper, other, evidence)

    def _dissolve(self, state: MapState, instance: int) -> InstanceEvent:
        places = self.instance_of_place.places(instance)
        for n in places:
            del self.instance_of_place[n]
        evidence = {"places": float(len(places))}
        return self._event(self._stamp(state), EventKind.GONE, instance, 0, evidence)

    def _mask_table(self, state: MapState) -> MaskTable:
        rows, owners = [], []
        for k, picture in enumerate(self.pictures):
            if picture.is_voting:
                rows.append(mask_key(k, picture.seen.mask))
                owners.append(self.instances_of(state, picture.seen.ids))
        if not rows:
            return {}
        return build_table(np.concatenate(rows), np.concatenate(owners))

    def _shown_table(self, state: MapState) -> MaskTable:
        """Count by mask the points of each instance that should be seen in it.

        Points found later count in earlier pictures, too: so parts of one building meet that were
        never followed at the same time.
        """
        ids = state.landmark_ids()
        owner = self.instances_of(state, ids)
        ids, owner = ids[owner > 0], owner[owner > 0]
        labelled = LabelledPoints.of(state.points(ids), state.sigma(ids), owner)
        reach = _COMPANION_RANGE_M * state.unit
        rows, owners = [], []
        for k, picture in enumerate(self.pictures):
            masks = state.frames[picture.frame].masks[picture.camera]
            places = [j for j, m in enumerate(masks) if m.class_id in self._buildings]
            if not picture.is_voting or len(places) < 2:
                continue
            shown = show(state, picture.frame, picture.camera, labelled, reach)
            runs = [(masks[j].bbox_px, masks[j].runs) for j in places]
            for j, inside in zip(places, contains_each(runs, shown.uv_px), strict=True):
                depth = shown.depth_m[inside]
                if len(depth):
                    # What shines through from behind a facade does not count.
                    front = depth <= LAYER_RATIO * np.quantile(depth, 0.25)
                    found = shown.instances[inside][front]
                    rows.append(mask_key(k, np.full(len(found), j)))
                    owners.append(found)
        if not rows:
            return {}
        return build_table(np.concatenate(rows), np.concatenate(owners))

    def _partition(self, part: set[int], touched: set[int]) -> list[list[int]]:
        """Partition some of the touched places; those of other parts have no say."""
        edges: Edges = {n: {} for n in sorted(part)}
        for n in sorted(part):
            for m, w in self._graph.edges.peek(n).items():
                other = m if m in touched else -self.instance_of_place.get(m, 0)
                if other == 0 or (other > 0 and other not in part):
                    continue
                joined = edges[n].get(other, 0.0) + w if other < 0 else w
                edges[n][other] = joined
                edges.setdefault(other, {})[n] = joined
        anchors = sorted(n for n in edges if n < 0)
        return greedy_partition(edges, [*anchors, *sorted(part)], self._options.min_vote)

    @staticmethod
    def _owner(group: list[int], former: Iterable[int], taken: set[int]) -> tuple[int, list[int]]:
        """Return the id a group keeps, 0 for none, and the ids that are absorbed into it."""
        anchors = sorted(-n for n in group if n < 0)
        if anchors:
            return anchors[0], anchors[1:]
        counts = Counter(i for i in former if i and i not in taken)
        if not counts:
            return 0, []
        return min(counts, key=lambda i: (-counts[i], i)), []

    def _absorb(self, owner: int, absorbed: list[int], stamp_ns: int) -> list[InstanceEvent]:
        events = []
        for other in absorbed:
            places = self.instance_of_place.places(other)
            for n in places:
                self.instance_of_place[n] = owner
            evidence = {"places": float(len(places))}
            events.append(self._event(stamp_ns, EventKind.MERGED, owner, other, evidence))
        return events

    def _event(
        self,
        stamp_ns: int,
        kind: EventKind,
        instance: int,
        other: int = 0,
        evidence: dict[str, float] | None = None,
    ) -> InstanceEvent:
        event = InstanceEvent(self._num_events, stamp_ns, kind, instance, other, evidence or {})
        self._num_events += 1
        return event

    @staticmethod
    def _stamp(state: MapState) -> int:
        return state.frames[-1].stamp_ns if state.frames else 0
