"""What became of the pictures of a run, and what the run took: for `run.json` and the report."""

from __future__ import annotations

from dataclasses import dataclass, field


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
