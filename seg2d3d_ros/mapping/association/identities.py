"""What every association of masks with buildings keeps: pictures, ids, and who owns each place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.config import Config
from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.association.owners import PlaceOwners
from seg2d3d_ros.mapping.incidence import Incidence
from seg2d3d_ros.mapping.masks.mask_links import MaskLinker
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import InstanceEvent, IntArray


@dataclass(frozen=True)
class Picture:
    """Incidence of one picture: frame and camera it belongs to, and whether it votes."""

    frame: int
    camera: int
    seen: Incidence
    is_voting: bool

    def without_classes(self) -> Picture:
        """Return it without the classes of landmarks, which count once, when it is new."""
        none = np.zeros(0, dtype=np.int64)
        return replace(self, seen=replace(self.seen, all_ids=none, class_id=none))


class Association(ABC):
    """Decides which masks are one building; ids are issued once and never again.

    Attributes:
        pictures: What was looked up in the masks so far, in the order in which it came.
        instance_of_place: Who owns each place.
        linker: Links between the masks of these pictures.
    """

    def __init__(self, config: Config, labels: LabelVotes | None = None) -> None:
        """Start with no instance; the first id is 1.

        Args:
            config: Which classes are buildings.
            labels: Classes of landmarks, counted with each new picture; its own without any.
        """
        self._labels = LabelVotes() if labels is None else labels
        self._buildings = frozenset({0, *config.segmentation.building_classes})
        self._next_id = 1
        self.pictures: list[Picture] = []
        self.instance_of_place = PlaceOwners()
        self.linker = MaskLinker(self._buildings)

    @property
    def building_classes(self) -> frozenset[int]:
        """Return the classes whose masks are associated."""
        return self._buildings

    def issue_id(self) -> int:
        """Return an instance id that was never used before."""
        self._next_id += 1
        return self._next_id - 1

    def _take(self, pictures: list[Picture]) -> None:
        """Keep new pictures, and count the classes of what they saw, once."""
        for picture in pictures:
            self._labels.add(picture.seen)
        self.pictures += [p.without_classes() for p in pictures]

    @abstractmethod
    def add(self, state: MapState, new_frames: list[int]) -> list[InstanceEvent]:
        """Take the masks of new frames and decide again about what they touch."""

    @abstractmethod
    def rebuild(self, state: MapState) -> list[InstanceEvent]:
        """Decide about everything anew on today's geometry; ids carry over."""

    def follow(
        self, state: MapState, ids: IntArray, places: IntArray, is_part: bool = False
    ) -> list[InstanceEvent]:
        """Go along with a map that was bent, and decide about what met.

        Args:
            state: The map as it is now.
            ids: (n,) landmarks, merged ones too.
            places: (n,) where they were.
            is_part: A small part moved; the work may leave out all that stayed where it was.
        """
        return self.rebuild(state)

    def join(
        self, pairs: list[tuple[int, int]], numbers: list[dict[str, float]], stamp_ns: int
    ) -> list[InstanceEvent]:
        """Make the two instances of each pair the older one; rules that join none are not asked.

        Args:
            pairs: Each instance is first of one pair at most, or second of any number.
            numbers: The evidence of each pair.
            stamp_ns: When that is decided.
        """
        return []

    @abstractmethod
    def instances_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the instance (n,) of each landmark, 0 for none."""

    @abstractmethod
    def places_of(self, state: MapState, ids: IntArray) -> IntArray:
        """Return the place of each landmark (n,), -1 for those without a position."""
