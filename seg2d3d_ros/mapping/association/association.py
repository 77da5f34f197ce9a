"""Which masks are the same building: places on facades that share masks are joined.

The evidence is that of Seg2D3D, masks that share 3D points, but it is summed pair by pair over
all pictures before anything is decided: a mask over two houses or half a house is outvoted by the
others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from functools import partial

import numpy as np

from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.association.attraction import attracted
from seg2d3d_ros.mapping.association.consensus import (
    MaskTable,
    companions,
    encounters,
    followed_together,
    main_masks,
    majority,
    within_classes,
)
from seg2d3d_ros.mapping.association.gaps import parted_by_gaps
from seg2d3d_ros.mapping.association.identities import Association, Picture
from seg2d3d_ros.mapping.association.labels import LabelVotes, may_join
from seg2d3d_ros.mapping.association.nearness import Nearness
from seg2d3d_ros.mapping.association.owners import PlaceOwners
from seg2d3d_ros.mapping.association.shared_masks import SharedMasks
from seg2d3d_ros.mapping.association.side_by_side import side_by_side
from seg2d3d_ros.mapping.association.votes import PlacedLandmarks, VoteGraph, place_keys
from seg2d3d_ros.mapping.incidence import incidence
from seg2d3d_ros.mapping.partition import Edges, greedy_partition, united
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import EventKind, FloatArray, InstanceEvent, IntArray

_MIN_STEP_M = 0.25
_PICTURES_AT_A_TIME = 512
_PLACES_AT_A_TIME = 20_000
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class _Group:
    """Places (n,) that belong together, and older instances beyond them that hold them."""

    places: IntArray
    instances: list[int]

    def rank(self) -> tuple[bool, int, int]:
        """Return its turn: groups with instances first, larger ones first."""
        first = -self.instances[-1] if self.instances else int(self.places[0])
        return not self.instances, -len(self.places) - len(self.instances), first


class Associator(Association):
    """Keeps the votes, the places' instances, and the log of what was decided.

    The grid of places goes with the first frame: where the axes of the world lie, and whether GNSS
    turns the whole map, is no evidence about buildings.
    """

    def __init__(self, config: Config, labels: LabelVotes | None = None) -> None:
        """Start with no instance; the first id is 1."""
        super().__init__(config, labels)
        self._options = config.mapping
        self._telling = sorted(self._buildings.union(config.segmentation.dynamic_classes))
        self._graph = VoteGraph()
        self._T_grid_world: FloatArray = np.eye(4)
        self._voted_at: np.ndarray | None = None
        self._num_events = 0

    def add(self, state: MapState, new_frames: list[int]) -> list[InstanceEvent]:
        """Take the masks of new frames and decide again about every place they touch."""
        if not self.pictures:
            self._hang_grid(state)
        new = [p for k in new_frames for p in self._look_up(state, k)]
        self._take(new)
        voting = [p for p in new if p.is_voting]
        placed, reach_m = self._placed(state, voting), self._options.vote_reach_m
        touched = self._graph.add([placed.votes_of(p.seen, reach_m) for p in voting])
        return self._decide(touched, state.now_ns)

    def rebuild(self, state: MapState) -> list[InstanceEvent]:
        """Sum all votes anew on today's geometry and decide everything at once; ids carry over."""
        self._hang_grid(state)
        owners = self.instances_of(state, state.landmark_ids())
        self._graph = VoteGraph()
        touched = self._sum_up(state)
        ids = state.landmark_ids()
        keys = self._places(state, ids)
        places, former = majority(keys, np.where(np.isin(keys, touched), owners, 0))
        before = self.instance_of_place.instances()
        self.instance_of_place = PlaceOwners(
            dict(zip(places.tolist(), former.tolist(), strict=True))
        )
        events = self._decide(touched, state.now_ns)
        events += self._settle(state)
        return events + self._vanished(before, events, state.now_ns)

    def follow(
        self, state: MapState, ids: IntArray, places: IntArray, is_part: bool = False
    ) -> list[InstanceEvent]:
        """Carry votes and owners to where the landmarks went; decide where instances met.

        What a picture said about places stays true while the map is bent: they moved together.
        """
        self._hang_grid(state)
        now = self.places_of(state, state.canonical(ids))
        places, now = places[now >= 0], now[now >= 0]
        if is_part:
            moved = now != places
            rows = np.isin([places, now], np.union1d(places[moved], now[moved])).any(axis=0)
            places, now = places[rows], now[rows]
        owners = self.instance_of_place.of(places)
        before = self.instance_of_place.instances()
        self._carry(places, now, owners, is_part)
        heirs = self.instance_of_place.of(now)
        met = heirs != owners
        involved = np.union1d(owners[met], heirs[met])
        there = [p for i in involved.tolist() if i for p in self.instance_of_place.places(i)]
        touched = self._graph.known(np.union1d(np.array(there, dtype=np.int64), now[met]))
        stamp_ns = state.now_ns
        events = self._bury(now, owners, set(), stamp_ns) + self._decide(touched, stamp_ns)
        return events + self._vanished(before, events, stamp_ns)

    def join(
        self, pairs: list[tuple[int, int]], numbers: list[dict[str, float]], stamp_ns: int
    ) -> list[InstanceEvent]:
        """Make the two instances of each pair the older one."""
        events = []
        now: dict[int, int] = {}
        for (a, b), evidence in zip(pairs, numbers, strict=True):
            keeper, other = sorted((now.get(a, a), now.get(b, b)))
            events += self._absorb(keeper, [other], stamp_ns, evidence)
            now[a] = now[b] = keeper
        return events

    def _carry(self, places: IntArray, now: IntArray, owners: IntArray, is_part: bool) -> None:
        """Call places (n,) of landmarks otherwise (n,), with their votes and owners (n,)."""
        renamed = majority(places, now)
        heirs = dict(zip(*(a.tolist() for a in majority(now, owners)), strict=True))
        if is_part:
            self._graph.move(*renamed)
            self.instance_of_place.settle(np.union1d(places, now), heirs)
        else:
            self._graph = self._graph.renamed(*renamed)
            self.instance_of_place = PlaceOwners(heirs)

    def instances_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the instance (n,) of the place each landmark lies in, 0 for none."""
        points = state.points(ids)
        out = np.zeros(len(ids), dtype=np.int64)
        known = np.isfinite(points[:, 0])
        keys = self._places(state, ids[known])
        out[known] = self.instance_of_place.of(keys)
        return out

    def places_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the place of each landmark (n,), -1 for those without a position."""
        known = np.isfinite(state.points(ids)[:, 0])
        return np.where(known, self._places(state, ids), -1)

    def _hang_grid(self, state: MapState) -> None:
        if state.frames:
            self._T_grid_world = transforms.invert(state.frames[0].T_world_base)

    def _places(self, state: MapState, ids: IntArray) -> IntArray:
        voxel = self._options.voxel_m * state.unit
        points = transforms.apply(self._T_grid_world, state.points(ids))
        return place_keys(ids, points, state.sigma(ids), voxel)

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

    def _sum_up(self, state: MapState) -> IntArray:
        """Add the votes of all pictures, some at a time; return the places (n,) they touch."""
        touched = [_NONE]
        voting = [p for p in self.pictures if p.is_voting]
        placed, reach_m = self._placed(state, voting), self._options.vote_reach_m
        for k in range(0, len(voting), _PICTURES_AT_A_TIME):
            some = [p.seen for p in voting[k : k + _PICTURES_AT_A_TIME]]
            touched.append(self._graph.add([placed.votes_of(seen, reach_m) for seen in some]))
        return np.unique(np.concatenate(touched))

    def _placed(self, state: MapState, pictures: list[Picture]) -> PlacedLandmarks:
        """Look up the landmarks in masks of some pictures, each once."""
        ids = np.unique(np.concatenate([_NONE, *(p.seen.ids for p in pictures)]))
        ids = ids[np.isfinite(state.points(ids)[:, 0])]
        points, sigma = state.points(ids) / state.unit, state.sigma(ids) / state.unit
        return PlacedLandmarks(ids, self._places(state, ids), points, sigma, self._class_of(ids))

    # ------------------------------------------------------------- decisions

    def _decide(self, touched: IntArray, stamp_ns: int) -> list[InstanceEvent]:
        """Partition the touched places again; an instance beyond them takes part as one node."""
        parts = [touched]
        if len(touched) > _PLACES_AT_A_TIME:
            owners = self.instance_of_place
            parts = attracted(touched, self._graph, owners, _PLACES_AT_A_TIME)
        groups = [g for part in parts for g in self._partition(part, touched)]
        old = self.instance_of_place.of(touched)
        events: list[InstanceEvent] = []
        taken: set[int] = set()
        heirs: dict[int, int] = {}
        for group in sorted(groups, key=_Group.rank):
            places = group.places.tolist()
            former = [i for i in old[np.searchsorted(touched, group.places)].tolist() if i]
            owner, absorbed = self._owner(group, former, taken)
            if not owner:
                if len(places) < self._options.min_instance_places:
                    for n in places:
                        self.instance_of_place.pop(n, None)
                    continue
                owner = self.issue_id()
                source = Counter(heirs.get(i, i) for i in former)
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
        return events + self._bury(touched, old, heirs.keys(), stamp_ns)

    def _bury(
        self, touched: IntArray, old: IntArray, absorbed: Set[int], stamp_ns: int
    ) -> list[InstanceEvent]:
        """Say what became of instances that lost all their places to others, or to none."""
        events = []
        is_alive = self.instance_of_place.is_alive
        former = [i for i in np.unique(old).tolist() if i and i not in absorbed]
        for lost in [i for i in former if not is_alive(i)]:
            now = self.instance_of_place.of(touched[old == lost])
            heirs = Counter(now[now > 0].tolist())
            if heirs:
                heir = min(heirs, key=lambda i: (-heirs[i], i))
                events += self._absorb(min(lost, heir), [max(lost, heir)], stamp_ns)
            else:
                events.append(self._event(stamp_ns, EventKind.GONE, lost))
        return events

    def _vanished(
        self, before: Set[int], events: list[InstanceEvent], stamp_ns: int
    ) -> list[InstanceEvent]:
        """Say that instances are gone which have no place any more, and no event tells why."""
        named = {e.other for e in events}
        named |= {e.instance for e in events if e.kind == EventKind.GONE}
        gone = before - self.instance_of_place.instances() - named
        return [self._event(stamp_ns, EventKind.GONE, i) for i in sorted(gone)]

    def _settle(self, state: MapState) -> list[InstanceEvent]:
        """Look at whole instances: join those that share masks, dissolve those that own none.

        Parts of a building too far apart to vote place by place (a tree between them) still lie in
        one mask again and again. What hides a facade (leaves, poles) drags corners through the
        masks of one building after another; such an instance owns hardly a mask of its own.
        Instances of two classes are never joined.
        """
        events = []
        class_of = self._classes(state)
        look_up = partial(self.instances_of, state)
        shared = SharedMasks(state, self.pictures, look_up, self._buildings)
        table = MaskTable(*shared.followed)
        instances, votes = companions(main_masks(*shared.followed), shared.projected())
        votes = united(votes, encounters(*shared.uncertain(), instances))
        nearness = Nearness(state, instances, shared.ids, shared.owner)
        votes = nearness.without_gaps(votes, self._options.max_gap_m)
        together = followed_together(shared.followed, instances)
        votes = united(votes, nearness.at_one_place(together))
        apart = side_by_side(shared.followed, instances, self.pictures, self.linker)
        votes = united(votes, apart)
        votes = within_classes(votes, [class_of[i] for i in instances.tolist()])
        group = greedy_partition(votes, self._options.min_companion_votes)
        for k in range(int(group.max(initial=-1)) + 1):
            keeper, *others = instances[group == k].tolist()
            for other in others:
                events += self._absorb(keeper, [other], state.now_ns)
                table.reassign(other, keeper)
        while (verdict := table.weakest()) is not None:
            instance, host = verdict
            if host and not may_join(class_of[instance], class_of[host]):
                host = 0
            if host:
                instance, host = max(instance, host), min(instance, host)
                events += self._absorb(host, [instance], state.now_ns)
            else:
                events.append(self._dissolve(state, instance))
            table.reassign(instance, host)
        return events

    def _class_of(self, ids: IntArray) -> IntArray:
        """Return the class (n,) of landmarks: buildings and what moves; 0 for all else.

        Leaves and poles lie in the masks of the facades behind them: their class tells nothing.
        """
        found = self._labels.of(ids)
        return np.where(np.isin(found, self._telling), found, 0)

    def _classes(self, state: MapState) -> Counter[int]:
        """Return the class of each instance by its landmarks, 0 for those without any."""
        ids = state.landmark_ids()
        instances, classes = majority(self.instances_of(state, ids), self._class_of(ids))
        return Counter(dict(zip(instances.tolist(), classes.tolist(), strict=True)))

    def _dissolve(self, state: MapState, instance: int) -> InstanceEvent:
        places = self.instance_of_place.places(instance)
        for n in places:
            del self.instance_of_place[n]
        evidence = {"places": float(len(places))}
        return self._event(state.now_ns, EventKind.GONE, instance, 0, evidence)

    def _partition(self, part: IntArray, touched: IntArray) -> list[_Group]:
        """Partition some of the touched places; those of other parts have no say."""
        votes, beyond = self._graph.around(part)
        owner = np.where(np.isin(beyond, touched), 0, self.instance_of_place.of(beyond))
        instances = np.unique(owner[owner > 0])
        # Nodes: the instances, then the places. Between two places each vote is there twice.
        others = np.where(owner > 0, np.searchsorted(instances, owner), -1)
        node = np.concatenate([len(instances) + np.arange(len(part)), others])
        found = votes.tocoo()
        first, second = len(instances) + found.row.astype(np.int64), node[found.col]
        counts = (second >= 0) & (second < first)
        size = len(instances) + len(part)
        edges = Edges(size, first[counts], second[counts], found.data[counts])
        group = greedy_partition(edges, self._options.min_vote)
        order = np.argsort(group, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if size else []
        gap_voxels = self._options.vote_reach_m / self._options.voxel_m
        groups = []
        for m in members:
            rows, known = m[m >= len(instances)] - len(instances), m[m < len(instances)]
            pieces = [rows] if len(known) else parted_by_gaps(rows, part, votes, gap_voxels)
            groups += [_Group(part[p], instances[known].tolist()) for p in pieces]
        return groups

    @staticmethod
    def _owner(group: _Group, former: list[int], taken: set[int]) -> tuple[int, list[int]]:
        """Return the id a group keeps, 0 for none, and the ids that are absorbed into it."""
        if group.instances:
            return group.instances[0], group.instances[1:]
        counts = Counter(i for i in former if i not in taken)
        if not counts:
            return 0, []
        return min(counts, key=lambda i: (-counts[i], i)), []

    def _absorb(
        self,
        owner: int,
        absorbed: list[int],
        stamp_ns: int,
        numbers: dict[str, float] | None = None,
    ) -> list[InstanceEvent]:
        events = []
        for other in absorbed:
            places = self.instance_of_place.places(other)
            for n in places:
                self.instance_of_place[n] = owner
            evidence = {"places": float(len(places)), **(numbers or {})}
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
