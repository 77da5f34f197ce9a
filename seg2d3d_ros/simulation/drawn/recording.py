"""A real drive and a drawing become a bag with fallible masks, and its truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.segmentation.classes import BUILDING
from seg2d3d_ros.simulation.bag import BagWriter
from seg2d3d_ros.simulation.drawn.drawing import Drawing
from seg2d3d_ros.simulation.drawn.samples import DrawnSamples, describe_house
from seg2d3d_ros.simulation.drawn.sight import Sight
from seg2d3d_ros.simulation.drawn.survey import Survey, in_color
from seg2d3d_ros.simulation.masks import mask_owners, publish_masks
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.recording import Summary
from seg2d3d_ros.simulation.recording_folder import new_recording
from seg2d3d_ros.simulation.sensors import FixSample, OdometrySample, fix_samples
from seg2d3d_ros.simulation.truth import Place, TruthWriter
from seg2d3d_ros.types import FloatArray, Frame, Odometry

# What of the options of `simulate` means something for a real drive.
USED_OPTIONS = (
    "seed", "labels", "label_every", "mask_noise", "missed", "split", "merged", "ragged_px",
    "holes", "min_mask_px", "compressed", "jpeg_quality", "dropped", "odometry", "gnss",
    "gnss_rate_hz", "gnss_sigma_m", "storage",
)  # fmt: skip


def record(
    survey: Survey,
    drawing: Drawing,
    out: str | Path,
    options: SimulationOptions,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Write `out/bag` and `out/truth`: real pictures and odometry, masks by the drawing.

    Pictures and odometry are those of the recording; fixes are true positions with noise, because
    those of a reference system are the truth. Masks and their faults come from the drawing.

    Args:
        survey: The drive.
        drawing: Its houses, in the survey's map.
        out: Folder of the recording; made if need be.
        options: Of these, `USED_OPTIONS` are heeded.
        progress: Called with the number of pictures done.

    Raises:
        InputError: the folder holds a recording already, fixes are wanted without an origin, or
            no picture lies within poses and drawing.
    """
    with new_recording(Path(out)) as folder:
        first_ns, last_ns = _span(survey, drawing)
        if survey.origin is None:
            options = dataclasses.replace(options, gnss=False)
        writer = TruthWriter(folder / "truth", Place(np.eye(4), survey.origin))
        with BagWriter(folder / "bag", first_ns, options) as bag:
            bag.add_static_transforms(survey.source.rig, antenna_base=np.zeros(3))
            recorder = _Recorder(survey, drawing, options, bag, writer)
            recorder.record(first_ns, last_ns, progress)
        stamps = sorted(recorder.stamps_ns)
        way = survey.poses(stamps)[:, :3, 3]
        path_m = float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum())
        used = {name: getattr(options, name) for name in USED_OPTIONS}
        houses = [describe_house(drawing, house) for house in drawing.houses]
        num_buildings = writer.write(
            houses, recorder.samples.points(), path_m, {"drive": drawing.drive, **used}
        )
    return Summary(
        recorder.num_pictures,
        recorder.num_dropped,
        num_buildings,
        (stamps[-1] - stamps[0]) * 1e-9,
        path_m,
    )


def _span(survey: Survey, drawing: Drawing) -> tuple[int, int]:
    """Return the stamp of the first picture within poses and drawing, and the end of both."""
    low, high = drawing.pictures_ns or (0, 2**63 - 1)
    for frame, _ in survey.frames():
        if low <= frame.stamp_ns <= high:
            return frame.stamp_ns, min(high, int(survey.stamps_ns[-1]))
    raise InputError(
        f"no picture of {survey.source.name} lies between the stamps {low} and {high} of the "
        "drawing and within the true poses; is it the drive that was drawn?"
    )


class _Recorder:
    """Takes the items of a drive in the order of stamps into bag and truth."""

    def __init__(
        self,
        survey: Survey,
        drawing: Drawing,
        options: SimulationOptions,
        bag: BagWriter,
        truth: TruthWriter,
    ) -> None:
        self._survey, self._options = survey, options
        self._bag, self._truth = bag, truth
        self._sight = Sight(drawing, survey)
        self.samples = DrawnSamples(drawing)
        self.num_pictures = self.num_dropped = 0
        self.stamps_ns: set[int] = set()
        self._num_seen: dict[str, int] = {}
        self._last: Odometry | None = None

    def record(self, first_ns: int, last_ns: int, progress: Callable[[int], None] | None) -> None:
        """Record everything between two stamps."""
        fixes = _fixes(self._survey, first_ns, last_ns, self._options)
        lost = np.random.default_rng([self._options.seed, 51])
        for item in self._survey.source:
            if not first_ns <= item.stamp_ns <= last_ns:
                continue
            while fixes and first_ns + round(fixes[0].time_s * 1e9) <= item.stamp_ns:
                self._bag.add_fix(fixes.pop(0))
            self._bag.advance(item.stamp_ns)
            if isinstance(item, Odometry) and self._options.odometry:
                self._add_odometry(item, first_ns)
            elif isinstance(item, Frame):
                self.stamps_ns.add(item.stamp_ns)
                if lost.random() < self._options.dropped:
                    self.num_dropped += 1
                else:
                    self._add_picture(item)
                if progress is not None:
                    progress(1)

    def _add_odometry(self, item: Odometry, start_ns: int) -> None:
        before, self._last = self._last or item, item
        step = transforms.invert(before.T_odom_base) @ item.T_odom_base
        dt_s = max((item.stamp_ns - before.stamp_ns) * 1e-9, 1e-3)
        covariance = item.twist_covariance
        sample = OdometrySample(
            (item.stamp_ns - start_ns) * 1e-9,
            item.T_odom_base,
            float(step[0, 3] / dt_s),
            transforms.yaw_rad(step) / dt_s,
            np.zeros((6, 6)) if covariance is None else covariance,
        )
        self._bag.add_odometry(sample)

    def _add_picture(self, frame: Frame) -> None:
        camera = self._survey.camera(frame.camera)
        T_map_base = self._survey.poses([frame.stamp_ns])[0]
        objects = self._sight.see(frame, T_map_base)
        class_of = self._sight.surfaces.class_of
        house = np.where(class_of[objects] == BUILDING, objects, 0)
        self._bag.add_picture(camera, frame.stamp_ns, in_color(frame))
        self._truth.add_picture(frame.stamp_ns, camera.name, T_map_base, house)
        self.samples.see(house, camera, T_map_base @ camera.T_base_cam)
        self.num_pictures += 1
        index = self._num_seen.get(frame.camera, 0)
        self._num_seen[frame.camera] = index + 1
        if self._options.labels and index % self._options.label_every == 0:
            self._add_labels(frame, objects, house, index)

    def _add_labels(self, frame: Frame, objects: NDArray, house: NDArray, index: int) -> None:
        camera = self._survey.source.rig.index(frame.camera)
        rng = np.random.default_rng([54, self._options.seed, camera, index])
        labels = publish_masks(rng, objects, self._sight.surfaces.class_of, self._options)
        self._bag.add_labels(self._survey.camera(frame.camera), frame.stamp_ns, labels)
        self._truth.add_masks(frame.stamp_ns, frame.camera, mask_owners(labels, house))


def _fixes(
    survey: Survey, first_ns: int, last_ns: int, options: SimulationOptions
) -> list[FixSample]:
    """Return noisy fixes of base_link, times counted from the first picture."""
    if not options.gnss or survey.origin is None:
        return []
    rng = np.random.default_rng([options.seed, 33])
    times_s = np.arange(0.13, (last_ns - first_ns) * 1e-9, 1.0 / options.gnss_rate_hz)
    sigma = options.gnss_sigma_m * np.array([1.0, 1.0, 2.0])
    stamps = first_ns + np.rint(times_s * 1e9).astype(np.int64)
    noisy: FloatArray = survey.poses(stamps)[:, :3, 3] + sigma * rng.normal(size=(len(times_s), 3))
    return fix_samples(times_s, noisy, sigma, survey.origin)
