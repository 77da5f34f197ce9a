"""What became of the pictures of a run, and what the run took: for `run.json` and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from seg2d3d_ros.types import Cluster, Dropped, Frame, Item, Odometry, Rig

_LONG_NS = 1_000_000_000
_LONG_AGO_NS = -(1 << 62)
_UNUSUAL = 5
# A camera that sends such pictures is not silent, and their stamps are sound.
_SPOILT = frozenset({"size_mismatch", "bad_size", "unknown_encoding", "decode_error"})


@dataclass(frozen=True)
class FrameCounts:
    """Pictures of one camera: received = processed + sum(dropped).

    Attributes:
        received: Pictures that came in.
        processed: Pictures used for geometry.
        dropped: Pictures that were not used, by reason.
        segmentation: Pictures by segmentation status (`ok`, `no_labels`, …); sums to processed or
            more.
    """

    received: int
    processed: int
    dropped: dict[str, int] = field(default_factory=dict)
    segmentation: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunReport:
    """What a run did, for `run.json` and the report.

    Attributes:
        source: Name of the recording or `live`.
        backend: Segmentation backend that was used.
        frames: Counts per camera.
        seconds: Busy seconds per stage.
        counts: Further counters by name.
        wall_s: Seconds from the first item to the finished map.
        recording_s: Seconds of recording between the first and last picture.
        peak_memory_mib: Largest resident memory of the process.
        config: Effective configuration as nested plain values.
        classes: Class names by id, as far as the backend knows them.
        remarks: Sentences about assumptions and findings.
    """

    source: str
    backend: str
    frames: dict[str, FrameCounts]
    seconds: dict[str, float]
    counts: dict[str, float]
    wall_s: float
    recording_s: float
    peak_memory_mib: float
    config: dict[str, dict[str, object]]
    classes: dict[int, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def real_time_factor(self) -> float:
        """Return seconds of recording mapped per second of work."""
        return self.recording_s / self.wall_s if self.wall_s > 0 else 0.0


@dataclass
class Pauses:
    """The longest pause of one sensor: what looks like a plug that was pulled.

    Attributes:
        first_ns: Stamp of the first message.
        last_ns: Stamp of the newest message.
        usual_ns: Shortest time between two messages.
        from_ns: Stamp of the message before the longest pause.
        longest_ns: Its length.
    """

    first_ns: int
    last_ns: int
    usual_ns: int = _LONG_NS
    from_ns: int = 0
    longest_ns: int = 0

    def go_on(self, stamp_ns: int) -> None:
        """Take the stamp of a message, or of the end; those that do not go on are left out."""
        pause_ns = stamp_ns - self.last_ns
        if pause_ns > 0:
            self.usual_ns = min(self.usual_ns, pause_ns)
            if pause_ns > self.longest_ns:
                self.from_ns, self.longest_ns = self.last_ns, pause_ns
            self.last_ns = stamp_ns

    def is_strange(self, pause_ns: int) -> bool:
        """Return whether a pause is long by itself and for this sensor."""
        return pause_ns > max(_LONG_NS, _UNUSUAL * self.usual_ns)


class Silences:
    """Remembers the longest pause of each sensor, to say after the run which ones fell silent."""

    def __init__(self) -> None:
        """Start before the first picture."""
        self._pauses: dict[str, Pauses] = {}
        self._first_ns, self._last_ns = 1 << 62, 0

    def hear(self, camera: str, stamp_ns: int) -> None:
        """Take the stamp of a picture."""
        self._first_ns = min(self._first_ns, stamp_ns)
        self._last_ns = max(self._last_ns, stamp_ns)
        self._take(f"camera {camera}", stamp_ns)

    def hear_odometry(self, stamp_ns: int) -> None:
        """Take the stamp of a message of the odometry."""
        self._take("odometry", stamp_ns)

    def _take(self, sensor: str, stamp_ns: int) -> None:
        self._pauses.setdefault(sensor, Pauses(stamp_ns, stamp_ns)).go_on(stamp_ns)

    def remarks(self) -> list[str]:
        """Return sentences about sensors that sent nothing for long, not yet, or no more."""
        said = []
        for sensor, pauses in sorted(self._pauses.items()):
            late_ns = pauses.first_ns - self._first_ns
            if pauses.last_ns > pauses.first_ns and pauses.is_strange(late_ns):
                said.append(f"{sensor} sent nothing in the first {late_ns * 1e-9:.1f} s")
            so_far = replace(pauses)
            so_far.go_on(self._last_ns)
            if so_far.is_strange(so_far.longest_ns):
                at_s = (so_far.from_ns - self._first_ns) * 1e-9
                what = f"for {so_far.longest_ns * 1e-9:.1f} s"
                what = what if pauses.longest_ns == so_far.longest_ns else "any more"
                said.append(f"{sensor} sent nothing {what} after {at_s:.1f} s")
        return said

    @property
    def span_s(self) -> float:
        """Return the seconds between the first and the last picture."""
        return max(0.0, (self._last_ns - self._first_ns) * 1e-9)


class NewPictures:
    """Tells which pictures clusters use for the first time: they share some with each other."""

    def __init__(self) -> None:
        """Start before the first cluster."""
        self._session, self._last_ns = -1, _LONG_AGO_NS

    def of(self, cluster: Cluster) -> Iterator[tuple[str, int]]:
        """Yield camera and stamp of each picture that no cluster before this one used."""
        if cluster.session != self._session:  # after a jump back in time stamps come again
            self._session, self._last_ns = cluster.session, _LONG_AGO_NS
        for frame in cluster.frames:
            if frame.stamp_ns > self._last_ns:
                for camera, stamp_ns in zip(frame.cameras, frame.picture_stamps_ns, strict=True):
                    yield cluster.rig.cameras[camera].name, stamp_ns
        if cluster.frames:
            self._last_ns = cluster.frames[-1].stamp_ns


class Accounts:
    """Counts pictures so that received = processed + dropped by reason, per camera."""

    def __init__(self, rig: Rig) -> None:
        """Start at zero for every camera."""
        self._rig = rig
        self._received: Counter[str] = Counter()
        self._processed: Counter[str] = Counter()
        self._dropped: dict[str, Counter[str]] = {}
        self._new = NewPictures()
        self._silences = Silences()

    def received(self, item: Item) -> None:
        """Count an incoming item."""
        if isinstance(item, Frame | Dropped):
            self._received[item.camera] += 1
        if isinstance(item, Frame) or (isinstance(item, Dropped) and item.reason in _SPOILT):
            self._silences.hear(item.camera, item.stamp_ns)
        elif isinstance(item, Odometry):
            self._silences.hear_odometry(item.stamp_ns)

    def mapped(self, cluster: Cluster) -> None:
        """Count what a cluster used for the first time, and what it says was dropped."""
        self._processed.update(camera for camera, _ in self._new.of(cluster))
        for dropped in cluster.dropped:
            self._dropped.setdefault(dropped.camera, Counter())[dropped.reason] += 1

    def counts(self, segmentation: dict[str, Counter[str]]) -> dict[str, FrameCounts]:
        """Return the counts per camera."""
        names = sorted(
            {c.name for c in self._rig.cameras} | set(self._received) | set(self._dropped)
        )
        return {
            name: FrameCounts(
                received=self._received[name],
                processed=self._processed[name],
                dropped=dict(sorted(self._dropped.get(name, Counter()).items())),
                segmentation={
                    str(k): v for k, v in sorted(segmentation.get(name, Counter()).items())
                },
            )
            for name in names
        }

    def remarks(self) -> list[str]:
        """Return sentences about sensors that sent nothing for long, or no more."""
        return self._silences.remarks()

    @property
    def recording_s(self) -> float:
        """Return the seconds between the first and the last picture."""
        return self._silences.span_s
