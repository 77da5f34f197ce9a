"""What the log of events says about an instance."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from seg2d3d_ros.types import EventKind, InstanceEvent


def history(instance: int, events: Sequence[InstanceEvent]) -> tuple[InstanceEvent, ...]:
    """Return the decisions that made an instance and what it absorbed, oldest first."""
    family, found = {instance}, []
    for event in reversed(events):
        if event.kind == EventKind.MERGED and event.instance in family:
            family.add(event.other)
        if event.instance in family or event.other in family:
            found.append(event)
    return tuple(reversed(found))


def whereabouts(instance: int, events: Sequence[InstanceEvent], shown: Collection[int]) -> str:
    """Return a sentence on what became of an instance that is not on the map."""
    for event in reversed(events) if instance else ():  # 0: a mask that shows none
        if event.kind == EventKind.MERGED and event.other == instance:
            return (
                f"instance {instance} is not on the map: it was merged into {event.instance} "
                f"(event {event.sequence})"
            )
        if event.kind == EventKind.GONE and event.instance == instance:
            return (
                f"instance {instance} is not on the map: it was dissolved "
                f"(event {event.sequence}), no other one owned its masks"
            )
        if event.kind == EventKind.UNDONE and event.other == instance:
            break
        if instance in (event.instance, event.other):
            return (
                f"instance {instance} is not on the map: too few points or moments show it so far"
            )
    known = ", ".join(str(i) for i in sorted(shown)[:12]) + (", …" if len(shown) > 12 else "")
    return f"there is no instance {instance}; on the map are: {known or 'none'}"
