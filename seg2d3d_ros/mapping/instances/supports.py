"""The masks that carry the name of each instance, summed up by stretches of the drive."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.mapping.instances.instances import Support
from seg2d3d_ros.mapping.state import BLOCK_FRAMES, MapState
from seg2d3d_ros.types import MaskAssignment

_Picture = tuple[int, int]


@dataclass
class _Part:
    """What the frames of one stretch say of one instance."""

    frames: set[int] = field(default_factory=set)
    support: Support = field(default_factory=Support)


class Supports:
    """Sums over masks by instance and stretch of frames.

    Sums cannot be taken back. A mask that changes its name makes those of its own stretch anew;
    masks elsewhere, which may be frozen, need not be read for it.
    """

    def __init__(self, state: MapState) -> None:
        """Start empty, beside the map that holds the masks."""
        self._state = state
        self._parts: dict[int, dict[int, _Part]] = {}

    def __iter__(self) -> Iterator[int]:
        """Return the instances that masks are named after."""
        return iter(self._parts)

    def of(self, instance: int) -> Support | None:
        """Return all that masks say of an instance, None if no mask is named after it."""
        parts = self._parts.get(instance)
        return Support.joined(parts[k].support for k in sorted(parts)) if parts else None

    def frames_of(self, instances: Iterable[int]) -> set[int]:
        """Return the frames with masks that carry one of these names."""
        parts = (part for i in instances for part in self._parts.get(i, {}).values())
        return {frame for part in parts for frame in part.frames}

    def add(
        self,
        picture: _Picture,
        named: Iterable[MaskAssignment],
        only: Collection[int] | None = None,
    ) -> set[int]:
        """Count the masks of a picture (frame, camera) for their instances, or for `only` some.

        Returns:
            The instances that they were counted for.
        """
        frame, camera = picture
        counted = set()
        for mask, a in zip(self._state.frames[frame].masks[camera], named, strict=True):
            if a.instance and (only is None or a.instance in only):
                area = float(pixel_masks.area(mask.bbox_px, mask.runs)) if mask.crop_jpeg else 0.0
                part = self._parts.setdefault(a.instance, {}).setdefault(_stretch(frame), _Part())
                part.support.add(a, mask, area)
                part.frames.add(frame)
                counted.add(a.instance)
        return counted

    def count_again(
        self,
        instances: Collection[int],
        frames: Collection[int],
        names: Mapping[_Picture, list[MaskAssignment]],
    ) -> None:
        """Sum instances up anew where masks of some frames changed their names to or from them.

        Args:
            instances: They lost masks or got some.
            frames: Where.
            names: What the masks of all pictures are called now, by (frame, camera).
        """
        stretches = {_stretch(frame) for frame in frames}
        affected = set(frames)
        for i in instances:
            parts = self._parts.get(i, {})
            for stretch in stretches & parts.keys():
                affected |= parts.pop(stretch).frames
            if not parts:
                self._parts.pop(i, None)
        for frame in sorted(affected):
            for camera in range(len(self._state.cameras)):
                if (frame, camera) in names:
                    self.add((frame, camera), names[frame, camera], instances)


def _stretch(frame: int) -> int:
    return frame // BLOCK_FRAMES
