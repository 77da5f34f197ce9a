"""Instances known from masks alone: blank facades on which no landmark lives, slivers far away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.association.labels import may_join
from seg2d3d_ros.mapping.instances.instances import Support, describe
from seg2d3d_ros.mapping.instances.membership import Membership
from seg2d3d_ros.mapping.masks.mask_links import frames_of, mask_at, pictures_of, samples_of
from seg2d3d_ros.mapping.naming.agreement import SURE_EVIDENCE, Evidence, Name
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import (
    EventKind,
    FloatArray,
    Instance,
    InstanceEvent,
    InstanceState,
    IntArray,
)

_NEW = 0
_OWN_VOTE = 1.0
_NUM_SAMPLED_MASKS = 5
_RELATIVE_SIGMA = 0.2
_MAX_COMMON_PICTURES = 0.5
# With an instance that has landmarks: in more it would be the neighbour.
_MAX_BESIDE = 0.1
# Of the score that an instance with landmarks would have.
_CREDIT = 0.25
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class _Region:
    """Masks by keys (m,), their class, points on some of them (n, 3), world, with sigma (n,)."""

    keys: IntArray
    class_id: int
    points: FloatArray
    sigma_m: FloatArray


class Hosts:
    """Instances with landmarks, found by where they are, and the pictures that show them."""

    def __init__(
        self, keys: IntArray, names: Sequence[Name], state: MapState, membership: Membership
    ) -> None:
        """Look up the instances that masks (n,), by their keys, are named after (n,)."""
        self._pictures: dict[int, set[int]] = {}
        for picture, name in zip(pictures_of(keys).tolist(), names, strict=True):
            if membership.count(name.instance):
                self._pictures.setdefault(name.instance, set()).add(picture)
        instances = sorted(self._pictures)
        ids = [membership.of(i) for i in instances]
        self._owner = np.repeat(instances, [len(i) for i in ids])
        self._tree = cKDTree(state.points(np.concatenate([_NONE, *ids])))
        self._class_of = membership.class_of

    def of(self, region: _Region) -> int:
        """Return the instance at whose place a region is, 0 for none.

        It is nearest to most of the region, and shown in hardly any of its pictures: there it
        would be the neighbour.
        """
        if not self._pictures:
            return 0
        gap, nearest = self._tree.query(region.points)
        owners, num = np.unique(self._owner[nearest], return_counts=True)
        host = int(owners[num.argmax()])
        pictures = set(pictures_of(region.keys).tolist())
        is_apart = len(pictures & self._pictures[host]) <= _MAX_BESIDE * len(pictures)
        is_nearest = 2 * num.max() > len(region.points)
        is_near = np.median(gap) <= np.median(region.sigma_m)
        is_of_class = may_join(self._class_of(host), region.class_id)
        return host if is_apart and is_nearest and is_near and is_of_class else 0


class TentativeInstances:
    """Linked masks that nothing on the map explains, seen at enough moments.

    They have no landmarks. Their place is that of their pixels, as deep as the landmarks around.

    Attributes:
        survivors: What instances were merged into by hand; others stand for themselves.
        parted: Those that masks were split off by hand, and what became of these.
    """

    def __init__(self, state: MapState, min_moments: int) -> None:
        """Start with none; what was seen at fewer moments is no instance."""
        self._state, self._min_moments = state, min_moments
        self._masks: dict[int, IntArray] = {}
        self._id_of: dict[int, int] = {}
        self._untold: list[tuple[EventKind, int, float]] = []
        self.survivors: dict[int, int] = {}
        self.parted: frozenset[int] = frozenset()

    @property
    def ids(self) -> frozenset[int]:
        """Return the instances that are known from masks alone."""
        return frozenset(self._masks)

    @property
    def spoken_for(self) -> IntArray:
        """Return the instances (n,), with landmarks or without, that masks were given to."""
        return np.unique(np.array(list(self._id_of.values()), dtype=np.int64))

    def leave_hosts(self) -> None:
        """Take the masks back that were given to instances with landmarks."""
        self._id_of = {k: i for k, i in self._id_of.items() if i in self._masks}

    def masks_of(self, instance: int) -> IntArray:
        """Return the masks of an instance by their keys (n,), sorted; none if it is none."""
        return self._masks.get(instance, _NONE)

    def hand_over(self, instance: int, other: int, keys: IntArray) -> None:
        """Give masks (n,) of an instance to another, which may be new; without any it is none."""
        left = np.setdiff1d(self.masks_of(instance), keys)
        for i, masks in ((instance, left), (other, np.union1d(self.masks_of(other), keys))):
            self._masks[i] = masks
            if not len(masks):
                del self._masks[i]
        self._id_of.update(dict.fromkeys(keys.tolist(), other))

    def class_of(self, instance: int) -> int:
        """Return the class of an instance's masks, which are of one."""
        return mask_at(self._state, int(self._masks[instance][0])).class_id

    def testify(self, keys: IntArray, evidence: list[Evidence]) -> list[Evidence]:
        """Return the evidence of masks (n,), each tentative instance speaking for its own.

        Where it was parted by hand that outweighs the names of its tracks.
        """
        if not self._id_of:
            return evidence
        of = [self._id_of.get(k, 0) for k in keys.tolist()]
        votes = [{self._stands_for(i): self._own_vote(i)} if i else {} for i in of]
        return [Counter({**e, **v}) if v else e for e, v in zip(evidence, votes, strict=True)]

    def adopt(self, groups: list[IntArray], issue_id: Callable[[], int], hosts: Hosts) -> None:
        """Make instances of groups of linked masks, given by their keys.

        Groups of one class at one place that are hardly ever seen together become one, and those
        at the place of an instance become part of it, also if it has landmarks.
        """
        found = [(i, self._region(keys)) for i, keys in sorted(self._masks.items())]
        for keys in sorted(groups, key=lambda g: (-len(g), int(g.min()))):
            if len(np.unique(frames_of(keys))) < self._min_moments:
                continue
            region = self._region(keys)
            same = next((k for k, (_, r) in enumerate(found) if _is_same(r, region)), None)
            if same is not None:
                instance, other = found[same]
                found[same] = instance, self._region(np.concatenate([other.keys, keys]))
            elif len(region.points) and (host := hosts.of(region)):
                self._id_of.update(dict.fromkeys(keys.tolist(), host))
            elif len(region.points):
                found.append((_NEW, region))
        for known, region in found:
            instance = issue_id() if known == _NEW else known
            self._masks[instance] = region.keys
            self._id_of.update(dict.fromkeys(region.keys.tolist(), instance))
            if known == _NEW:
                self._untold.append((EventKind.CREATED, instance, float(len(region.keys))))

    def keep_only(self, named: Collection[int]) -> None:
        """Forget the instances that are not among the names of masks any more."""
        merged = {i for i, survivor in self.survivors.items() if i != survivor}
        for instance in sorted(self._masks.keys() - named - merged):
            keys = self._masks.pop(instance)
            for key in keys.tolist():
                self._id_of.pop(key, None)
            self._untold.append((EventKind.GONE, instance, float(len(keys))))

    def take_events(self, stamp_ns: int) -> list[InstanceEvent]:
        """Return what became of whom since the last call, with the number of masks."""
        told = [
            InstanceEvent(0, stamp_ns, kind, i, 0, {"masks": n}) for kind, i, n in self._untold
        ]
        self._untold.clear()
        return told

    def describe(self, instance: int, support: Support) -> Instance:
        """Sum an instance up from its masks; the box is as rough as the depths are."""
        own = [m for i, m in sorted(self._masks.items()) if self._stands_for(i) == instance]
        region = self._region(np.concatenate(own))
        found = describe(instance, region.points, region.sigma_m, support)
        score = found.score * _CREDIT
        return replace(found, state=InstanceState.TENTATIVE, num_points=0, score=score)

    def _own_vote(self, instance: int) -> float:
        return SURE_EVIDENCE if instance in self.parted else _OWN_VOTE

    def _stands_for(self, instance: int) -> int:
        return self.survivors.get(instance, instance)

    def _region(self, keys: IntArray) -> _Region:
        keys = np.sort(keys)
        some = np.unique(np.linspace(0, len(keys) - 1, _NUM_SAMPLED_MASKS).astype(int))
        points, depth = zip(
            *(samples_of(self._state, k) for k in keys[some].tolist()), strict=True
        )
        class_id = mask_at(self._state, int(keys[0])).class_id
        sigma_m = _RELATIVE_SIGMA * np.concatenate(depth)
        return _Region(keys, class_id, np.concatenate(points), sigma_m)


def _is_same(a: _Region, b: _Region) -> bool:
    """Return whether two regions lie at one place and are hardly ever seen in one picture."""
    if not len(a.points) or not len(b.points) or not may_join(a.class_id, b.class_id):
        return False
    seen_a, seen_b = (np.unique(pictures_of(r.keys)) for r in (a, b))
    common = np.isin(seen_a, seen_b).sum() / min(len(seen_a), len(seen_b))
    gap = np.median(cKDTree(a.points).query(b.points)[0])
    return bool(common <= _MAX_COMMON_PICTURES and gap <= np.median(b.sigma_m))
