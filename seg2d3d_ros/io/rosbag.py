"""rosbag2 recordings as a source: mcap and sqlite3, in order of header stamps."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.io.messages import MessageReader
from seg2d3d_ros.io.pictures import encoding_cure
from seg2d3d_ros.io.rosbag_file import RosbagFile, header_stamp_ns
from seg2d3d_ros.io.rosbag_rig import read_setup
from seg2d3d_ros.io.rosbag_topics import choose
from seg2d3d_ros.io.stamps import Entry, StampGate, in_stamp_order
from seg2d3d_ros.types import Dropped, Item

_LOG = logging.getLogger(__name__)

_AFTER_STAMP = 12
_RANKS = {"odometry": 0, "fix": 1, "frame": 2, "labels": 3}


def drive_name(path: Path) -> str:
    """Return the name of a recording: that of the folder around it if its own is just `bag`."""
    path = path.resolve()
    own = path.stem if path.is_file() else path.name
    return path.parent.name if own == "bag" and path.parent.name else own


class RosbagSource:
    """Reads one recording; iterate as often as wanted, each time from the start."""

    def __init__(self, path: Path, inputs: InputsConfig | None = None) -> None:
        """Scan the recording for cameras, odometry, GNSS and extrinsics.

        Raises:
            InputError: it cannot be read or holds nothing usable.
            CalibrationError: cameras have no usable calibration.
        """
        inputs = inputs or InputsConfig()
        self.path = path
        self.name = drive_name(path)
        with RosbagFile(path) as bag:
            self._layout = choose(bag.topics, inputs)
            self._setup = read_setup(bag, self._layout, inputs)
            self.duration_s = bag.duration_s
            self._losses = bag.losses
            self._counts = {t.name: t.num_messages for t in bag.topics}
        for loss in self._losses:
            _LOG.warning("%s", loss)
        self.rig = self._setup.rig
        self._skipped: Counter[str] = Counter()
        self._cures: set[str] = set()
        self._base_frame = inputs.base_frame
        self._reader = MessageReader(self._setup, self._base_frame)
        self._streams: dict[str, tuple[str, str]] = {}
        for topics in self._setup.cameras:
            self._streams[topics.picture.name] = ("frame", topics.name)
            if topics.labels:
                self._streams[topics.labels] = ("labels", topics.name)
        if self.rig.has_odometry:
            self._streams[self._layout.odometry] = ("odometry", "")
        if self._layout.fix:
            self._streams[self._layout.fix] = ("fix", "")
        self._infos = {topics.info for topics in self._setup.cameras if topics.info}

    @property
    def num_pictures(self) -> int:
        """Return the number of camera pictures in the recording."""
        return sum(c.picture.num_messages for c in self._setup.cameras)

    def describe(self) -> list[str]:
        """Return sentences that say what was found."""
        lines = [f"rosbag2 {self.name}: {self.duration_s:.1f} s, {len(self._counts)} topics"]
        for topics, camera in zip(self._setup.cameras, self.rig.cameras, strict=True):
            x, y, z = camera.T_base_cam[:3, 3]
            labels = f", labels from {topics.labels}" if topics.labels else ""
            lines.append(
                f"camera {camera.name}: {camera.width_px}x{camera.height_px}, "
                f"{camera.distortion}, {topics.picture.num_messages} pictures from "
                f"{topics.picture.name}, at ({x:.2f}, {y:.2f}, {z:.2f}) m in base_link{labels}"
            )
        for what, topic in (("odometry", self._layout.odometry), ("GNSS", self._layout.fix)):
            lines.append(f"{what}: {topic}, {self._counts[topic]}" if topic else f"{what}: none")
        links = len(self._setup.tree)
        lines.append(f"extrinsics: {f'{links} fixed links of TF' if links else 'no TF'}")
        return lines + [f"note: {remark}" for remark in (*self._losses, *self.rig.remarks)]

    def remarks(self) -> tuple[str, ...]:
        """Return what was lost, what the last iteration skipped, and what it took otherwise."""
        skipped = sorted(self._skipped.items())
        remarks = [*self._losses, *sorted(self._cures)]
        remarks += [f"{n} messages not used: {why}" for why, n in skipped]
        if self._reader.num_integrated:
            remarks.append(f"the poses of {self._layout.odometry} are empty: its twists are used")
        return tuple(remarks)

    def __iter__(self) -> Iterator[Item]:
        """Yield the items in order of header stamps.

        Raises:
            InputError: the file is damaged somewhere; what came before it was yielded.
        """
        self._skipped.clear()
        self._cures.clear()
        self._reader = MessageReader(self._setup, self._base_frame)
        gate = StampGate()
        with RosbagFile(self.path) as bag:
            for entry in in_stamp_order(self._entries(bag)):
                kind, camera = self._streams[entry.stream]
                reason = self._refusal(entry, gate)
                if not reason:
                    item = self._item(bag, entry, kind, camera)
                    if not isinstance(item, str):
                        yield item
                        continue
                    reason = item
                if kind == "frame":
                    yield Dropped(camera, entry.stamp_ns, reason)
                else:
                    self._skip(entry.stream, reason)
            self._note_losses(bag.losses)

    def _note_losses(self, losses: tuple[str, ...]) -> None:
        """Say what turned out to be broken only when it was read."""
        for loss in losses:
            if loss not in self._losses:
                _LOG.warning("%s", loss)
        self._losses = losses or self._losses

    def _skip(self, topic: str, reason: str) -> None:
        what = f"{topic}: {reason}"
        if what not in self._skipped:
            _LOG.warning("message not used, %s (further ones are counted)", what)
        self._skipped[what] += 1

    def _entries(self, bag: RosbagFile) -> Iterator[Entry]:
        first: dict[str, bytes] = {}
        for i, (topic, msgtype, raw) in enumerate(bag.messages({*self._streams, *self._infos})):
            if topic in self._infos:
                calibration = bytes(raw[_AFTER_STAMP:])
                if first.setdefault(topic, calibration) != calibration:
                    self._skip(topic, "it differs from the first one, which holds for all")
                continue
            stamp_ns = header_stamp_ns(raw)
            rank = _RANKS[self._streams[topic][0]]
            yield Entry(0 if stamp_ns is None else stamp_ns, rank, i, topic, (msgtype, raw))

    @staticmethod
    def _refusal(entry: Entry, gate: StampGate) -> str:
        if entry.stamp_ns <= 0:
            return "no_stamp"
        return "stamp_ahead" if entry.is_leap else gate.refuse(entry.stream, entry.stamp_ns)

    def _item(self, bag: RosbagFile, entry: Entry, kind: str, camera: str) -> Item | str:
        """Return the item of a message, or the reason why there is none."""
        msgtype, raw = entry.payload
        message = bag.parse(raw, msgtype)
        if message is None:
            return "decode_error"
        made = self._reader.item(kind, camera, entry.stamp_ns, message)
        if isinstance(made, Dropped) and made.reason == "unknown_encoding":
            self._cures.add(encoding_cure(entry.stream, message))
        return made
