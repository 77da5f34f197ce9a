"""Which instance each place belongs to, and which places each instance has."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from itertools import repeat

import numpy as np

from seg2d3d_ros.types import IntArray


def take_out(sets: dict[int, set[int]], key: int, number: int) -> None:
    """Take a number out of a set, and the set away with the last one."""
    sets[key].discard(number)
    if not sets[key]:
        del sets[key]


class PlaceOwners(MutableMapping[int, int]):
    """Instance by place, with the way back, and a note of the places that changed hands.

    Attributes:
        changed: Places whose instance changed since the set was last emptied.
    """

    def __init__(self, owners: dict[int, int] | None = None) -> None:
        """Start from instances by place."""
        self._instance: dict[int, int] = dict(owners or {})
        self._places: dict[int, set[int]] = {}
        for place, instance in self._instance.items():
            self._places.setdefault(instance, set()).add(place)
        self.changed: set[int] = set(self._instance)

    def __getitem__(self, place: int) -> int:
        """Return the instance of a place."""
        return self._instance[place]

    def __setitem__(self, place: int, instance: int) -> None:
        """Give a place to an instance."""
        if self._instance.get(place) == instance:
            return
        self._forget(place)
        self._instance[place] = instance
        self._places.setdefault(instance, set()).add(place)
        self.changed.add(place)

    def __delitem__(self, place: int) -> None:
        """Take a place from its instance; KeyError if it has none."""
        self._forget(place)
        del self._instance[place]
        self.changed.add(place)

    def settle(self, places: IntArray, owners: dict[int, int]) -> None:
        """Give places (n,) to these instances, by place; those not named have none from now on."""
        for place in places.tolist():
            if place in owners:
                self[place] = owners[place]
            elif place in self._instance:
                del self[place]

    def of(self, places: IntArray) -> IntArray:
        """Return the instance of each place (n,), 0 for none."""
        found = map(self._instance.get, places.tolist(), repeat(0))
        return np.fromiter(found, dtype=np.int64, count=len(places))

    def __iter__(self) -> Iterator[int]:
        """Return the places, in the order in which they were first owned."""
        return iter(self._instance)

    def __len__(self) -> int:
        """Return how many places have an instance."""
        return len(self._instance)

    def instances(self) -> set[int]:
        """Return the instances that have a place."""
        return set(self._places)

    def is_alive(self, instance: int) -> bool:
        """Return whether an instance has a place."""
        return instance in self._places

    def places(self, instance: int) -> list[int]:
        """Return the places of an instance, sorted."""
        return sorted(self._places.get(instance, ()))

    def _forget(self, place: int) -> None:
        former = self._instance.get(place)
        if former is None:
            return
        take_out(self._places, former, place)
